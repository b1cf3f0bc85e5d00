# `make demo` and `make test` set up what they need on a fresh Debian 12 or Ubuntu 24.04; a second run costs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

venv := .venv
bin := $(CURDIR)/$(venv)/bin
export PATH := $(bin):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Under sudo tasks run as the caller, who must be able to read the environment that root made.
pip := umask 022; $(venv)/bin/python -m pip

# Tests that need root are skipped without it, which CI does not permit.
rootless := $(if $(CI),,$(if $(filter 0,$(shell id -u)),,--rootless))

.PHONY: help demo test check docs bench sim chaos guest clean

help:
	@echo "make demo   run the voting example (Ctrl-C ends it and leaves nothing)"
	@echo "make test   run all tests"
	@echo "make check  ruff, mypy --strict, import-linter, and the documentation as 'make docs' builds it"
	@echo "make docs   the documentation as a site, in build/site"
	@echo "make bench  measure; one JSON line a figure"
	@echo "make sim    the simulation, 200 seeds"
	@echo "make chaos  the simulation on other seeds, until one breaks a promise"
	@echo "            SHORT=1 makes the last three short: fewer runs of every case"
	@echo "make guest  limits under cgroup v2, in a machine with a kernel of its own (QEMU, as root)"
	@echo "make clean  remove the environment and what was built"

demo: .stamp-demo
	@kato up examples/voting || (( $$? == 130 ))  # Ctrl-C is how it is meant to end

test: .stamp-test
	@pytest -n 2 --dist loadfile --promises $(rootless)

check: .stamp-test .stamp-docs
	ruff check
	ruff format --check
	mypy
	mypy tests/wire/conftest.py
	mypy tests/e2e/conftest.py
	lint-imports
	mkdocs build --strict

# Not --quiet: with it mkdocs overlooks its own warnings.
docs: .stamp-docs
	@mkdocs build --strict
	@echo "build/site/index.html"

# With SHORT=1, as in CI, counts and durations shrink and no case is dropped.

bench: .stamp-test .stamp-rivals
	@python -m bench

sim: .stamp-test
	@python -m kato.sim --seeds $(if $(SHORT),20,200)

chaos: .stamp-test
ifdef SHORT
	@python -m kato.sim --first 1001 --seeds 20
else
	@for (( first = RANDOM; ; first += 50 )); do python -m kato.sim --first $$first --seeds 50; done
endif

guest: .stamp-test .stamp-packages-guest
	@PYTHONPATH=src:tests python tests/guest.py

clean:
	rm -rf $(venv) .stamp-* build dist src/kato/drivers/runtime/keeper
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# What `make bench` compares with. One that cannot be had is missed by the benchmark, which says so.

.stamp-rivals: .stamp-packages-test bench/rivals.txt
	@packages="runit s6 daemontools"; ( $(install) ) || echo "Some rivals of the keeper are left out." >&2
	@python3 -m venv --clear build/rivals
	@if build/rivals/bin/python -m pip install -q --no-deps --require-hashes -r bench/rivals.txt; \
	  then touch $@; else echo "supervisor is left out: it cannot be installed." >&2; fi

# System packages: those of packages.txt under `# demo`, under that and `# test`, or under `# guest`, and only where
# one is missing.

.stamp-packages-demo: packages.txt
	@packages="$$(sed -n '/^# demo/,/^# test/ {/^[^#]/p}' packages.txt)"; $(install)
	@touch $@

.stamp-packages-test: packages.txt
	@packages="$$(sed -n '/^# guest/q; /^[^#]/p' packages.txt)"; $(install)
	@touch $@

.stamp-packages-guest: packages.txt
	@packages="$$(sed -n '/^# guest/,$$ {/^[^#]/p}' packages.txt)"; $(install)
	@touch $@

define install
missing=(); \
for package in $$packages; do \
  [[ "$$(dpkg-query -W -f='$${Status}' "$$package" 2>/dev/null || true)" == "install ok installed" ]] \
    || missing+=("$$package"); \
done; \
if (( $${#missing[@]} )); then \
  root=(); \
  if (( EUID )); then root=(sudo); fi; \
  if ! command -v apt-get >/dev/null || { (( EUID )) && ! command -v sudo >/dev/null; }; then \
    echo "These packages are missing: $${missing[*]}. Install them as root (apt-get install $${missing[*]})," \
      "then run make again." >&2; \
    exit 1; \
  fi; \
  echo "Installing $${missing[*]}"; \
  quiet=("$${root[@]}" env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq -o=Dpkg::Use-Pty=0); \
  "$${quiet[@]}" install --no-install-recommends -y "$${missing[@]}" >/dev/null 2>&1 \
    || { "$${quiet[@]}" update && \
         "$${quiet[@]}" install --no-install-recommends -y "$${missing[@]}" >/dev/null; }; \
fi
endef

# The environment: every wheel by its hash, then Káto itself from here. A checkout that was moved needs a new one.

ifneq ($(strip $(file <.stamp-venv)),$(strip $(CURDIR)))
.PHONY: .stamp-venv
endif

.stamp-venv: .stamp-packages-demo requirements/run.txt requirements/demo.txt build_keeper.py pyproject.toml \
             $(wildcard src/kato/drivers/runtime/keepers/*.[ch])
	@echo "Setting up $(venv)"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Káto needs Python 3.11 or later; this is " + sys.version)'
	@$(pip) --version >/dev/null 2>&1 && grep -qF "$(CURDIR)/$(venv)" $(venv)/bin/activate \
	  || python3 -m venv --clear $(venv)
	@$(pip) install -q --require-hashes -r requirements/run.txt
	@$(pip) install -q --require-hashes -r requirements/demo.txt
	@$(pip) install -q --no-build-isolation --no-deps -e .
	@umask 022; echo "$(CURDIR)" > $@

.stamp-demo: .stamp-venv
	@touch $@

.stamp-test: .stamp-packages-test .stamp-venv requirements/test.txt requirements/otel.txt
	@$(pip) install -q --require-hashes -r requirements/test.txt
	@$(pip) install -q --require-hashes -r requirements/otel.txt
	@touch $@

.stamp-docs: .stamp-venv requirements/docs.txt
	@$(pip) install -q --require-hashes -r requirements/docs.txt
	@touch $@
