"""The README, typed as it stands: its tour runs, and every line that it shows is said; its own file is taken.

Numbers, ids, times and the space between columns may be others. `…` in the README stands for what is left out: as
a line for any lines, at a line's end for the rest of it.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from kato.language import read
from machine import ROOT, Machine

README = (ROOT / "README.md").read_text(encoding="utf-8")
READS = re.compile(r"kato (ls|ps|why|logs)\b|curl -s http\S+$")
"""Commands that change nothing: what they show may take a moment to come true."""
PATIENCE = 60.0
PKILL = """
pkill() {  # those of this cell only, the oldest first; nothing else on this machine
  for each in $(pgrep "${@: -2}"); do
    grep -qszF -- "$KATO_DATA" "/proc/$each/environ" || continue
    kill -9 "$each"
    [[ "$2" != -o ]] || return 0
  done
}
"""
OTHERWISE = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[\w-]+-[0-9a-f]{6}\b"), "NODE"),
    (re.compile(r"/[\w/.-]+/(?=[\w.]+\.(py|yaml)\b)"), "FOLDER/"),
    (re.compile(r"\d+"), "0"),
    (re.compile(r"\s+"), " "),
)


class Step(NamedTuple):
    """A command, and the lines that it is shown to print."""

    command: str
    shown: tuple[str, ...]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def tour() -> Iterator[Step]:
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield Step(command, tuple(line for line in shown if line.strip() not in ("", "…")))


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    shutil.copytree(ROOT / "examples", machine.root / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("examples", "examples/voting", "examples/hello"):
        (machine.root / folder).chmod(0o755)
    try:
        yield machine
    finally:
        machine.close()


def test_the_tour_says_what_the_readme_shows(machine: Machine) -> None:
    for step in tour():
        deadline = time.monotonic() + PATIENCE
        missing = unsaid(machine, step)
        while missing and READS.match(step.command) and time.monotonic() < deadline:
            time.sleep(0.1)  # a poll of another process, with a deadline
            missing = unsaid(machine, step)
        assert not missing, f"$ {step.command}\ndid not say\n{missing}\n{machine.log()}"
    assert not machine.processes()


def unsaid(machine: Machine, step: Step) -> str:
    """The first line that is shown and not said, with all that is said; empty where there is none."""
    done = subprocess.run(
        ["bash", "-c", PKILL + here(machine, step.command)],
        env=machine.env,
        cwd=machine.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    said = [plain(line) for line in done.stdout.splitlines()]
    for line in step.shown:
        wanted = plain(here(machine, line))
        if not any(is_said(wanted, each) for each in said):
            return f"{wanted}\nbut\n{done.stdout}"
    return ""


def here(machine: Machine, text: str) -> str:
    """The README's words for the cell of this test."""
    for default, own in (("/var/lib/kato", str(machine.data)), ("127.0.0.1:8180", machine.api)):
        text = text.replace(default, own)
    api, ingress = (address.rpartition(":")[2] for address in (machine.api, machine.ingress))
    return text.replace("localhost:8180", f"localhost:{api}").replace(":8181", f":{ingress}")


def plain(line: str) -> str:
    """A line without what is another in every run."""
    for pattern, word in OTHERWISE:
        line = pattern.sub(word, line)
    return line.strip()


def is_said(wanted: str, said: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("…") else said == wanted


def test_the_tour_is_told_in_full() -> None:
    """Every command that the README is to show is in it, so that an empty tour cannot pass."""
    typed = "\n".join(step.command for step in tour())
    for word in ("up", "ls", "ps", "plan", "scale", "restart", "rollback", "why", "rm", "logs", "down"):
        assert f"kato {word}" in typed


def test_its_own_file_is_taken() -> None:
    (text,) = blocks("yaml")
    manifest = read(text, path="/srv/shop/compose.yaml", environ={}, files=lambda _: None)
    assert [app.id for app in manifest.apps] == ["/shop/web"]
    assert not manifest.warnings
