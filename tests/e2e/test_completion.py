"""Completion by the real shells, of a cell that runs."""

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from machine import SLOW, Machine, running

pytestmark = pytest.mark.xdist_group("completion")

COMPOSE = """
name: pair
services:
  left: {command: exec sleep 1000, x-kato: {runtime: process}}
  lower: {command: exec sleep 1000, x-kato: {runtime: process}}
"""
PATIENCE = 60.0
BASH = """
source <(kato completion bash)
COMP_WORDS=(%s) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_kato
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Machine]:
    with running(COMPOSE) as machine:
        yield machine


def offered(machine: Machine, shell: str, line: str) -> set[str]:
    """What bash or fish offers at the end of a line."""
    assert shutil.which(shell), f"{shell} is missing: apt-get install {shell}"
    if shell == "fish":
        words = ["fish", "--no-config", "-c", f"kato completion fish | source; complete -C '{line}'"]
    else:
        words = ["bash", "--norc", "-c", BASH % (line if line[-1] != " " else line + "''")]
    environ = {**machine.env, "HOME": str(machine.root)}
    said = subprocess.run(words, env=environ, cwd=machine.root, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return {each.partition("\t")[0] for each in said.stdout.split("\n")} - {""}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_offers_what_fits(running: Machine, shell: str) -> None:
    def fits(line: str) -> set[str]:
        return offered(running, shell, line)

    assert fits("kato ro") == {"rollback"}
    assert {"up", "ls", "exec", "completion"} <= fits("kato ")
    assert fits("kato scale ") == {"left", "lower"}
    assert fits("kato scale lo") == {"lower"}
    assert fits("kato why /pair/le") == {"/pair/left"}
    assert fits("kato logs pair_") == {"pair_left.1", "pair_lower.1"}
    assert fits("kato ps pa") == {"pair"}
    assert fits("kato why /pa") == {"/pair", "/pair/left", "/pair/lower"}
    assert fits("kato exec l") == {"left", "lower"}
    assert {"left", "pair_left.1", running.tasks()[0]["slaveId"]} <= fits("kato inspect ")
    assert fits("kato ls --w") == {"--watch"}
    assert fits("kato ls -o ") == {"table", "json", "yaml"}
    assert fits("kato completion z") == {"zsh"}
    assert fits("kato help e") == {"environment", "events", "exec", "exit-codes"}
    assert fits("kato scale --api 127.0.0.1:1 l") == set(), "no cell, and no word of it"
    if shell == "fish":  # bash itself offers files where nothing fits
        assert "compose.yaml" in fits("kato up comp")


def test_zsh_completes_on_its_terminal(running: Machine) -> None:
    assert shutil.which("zsh"), "zsh is missing: apt-get install zsh"
    (running.root / "zsh").mkdir()
    (running.root / "zsh" / ".zshrc").write_text(
        "PS1=READY; unset zle_bracketed_paste; autoload -U compinit; compinit -u -D\n"
        "source <(kato completion zsh)\n"
    )
    environ = {**running.env, "ZDOTDIR": str(running.root / "zsh"), "TERM": "dumb"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-i"],
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=running.root,
        start_new_session=True,
    ) as zsh:
        os.close(theirs)
        try:
            _until(ours, b"READY")
            for typed, becomes in (
                (b"kato rollb\t", b"kato rollback "),
                (b"lo\t", b"lower "),
                (b"\x15kato logs pair_le\t", b"pair_left.1 "),
                (b"\x15kato ls --wa\t", b"--watch "),
                (b"\x15kato ls -o j\t", b"json "),
            ):
                os.write(ours, typed)
                _until(ours, becomes)
        finally:
            zsh.kill()
            os.close(ours)


def _until(terminal: int, word: bytes) -> None:
    said, deadline = b"", time.monotonic() + PATIENCE
    while word not in said:
        assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], said
        with suppress(BlockingIOError):
            said += os.read(terminal, 4096)


def test_names_are_there_within_200_ms(running: Machine) -> None:
    took = []
    for _ in range(5):
        began = time.monotonic()
        said = subprocess.check_output(["kato", "__complete", "tasks", "logs", ""], env=running.env, text=True)
        took.append(time.monotonic() - began)
    assert said.split() == ["left", "lower", "pair_left.1", "pair_lower.1"]
    assert min(took) < 0.2 * SLOW
    slow = "['aiohttp', 'cyclopts', 'rich', 'asyncio']"
    trail = f"import sys, kato.cli.complete; print([each for each in {slow} if each in sys.modules])"
    words = [shutil.which("python3", path=running.env["PATH"]) or "python3", "-c", trail]
    assert subprocess.check_output(words, env=running.env, text=True, cwd=Path("/")) == "[]\n"
