"""The README, typed as it stands: its tour runs, and every line that it shows is said; its own file is taken."""

import shutil
from collections.abc import Iterator

import pytest

from kato.language import read
from machine import ROOT, Machine
from tour import blocks, steps, typed

README = (ROOT / "README.md").read_text(encoding="utf-8")


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
    typed(machine, README)
    machine.until(lambda: not machine.processes())


def test_the_tour_is_told_in_full() -> None:
    """Every command that the README is to show is in it, so that an empty tour cannot pass."""
    shown = "\n".join(step.command for step in steps(README))
    for word in ("up", "ls", "ps", "plan", "scale", "restart", "rollback", "why", "rm", "logs", "down"):
        assert f"kato {word}" in shown


def test_its_own_file_is_taken() -> None:
    (text,) = blocks(README, "yaml")
    manifest = read(text, path="/srv/shop/compose.yaml", environ={}, files=lambda _: None)
    assert [app.id for app in manifest.apps] == ["/shop/web"]
    assert not manifest.warnings
