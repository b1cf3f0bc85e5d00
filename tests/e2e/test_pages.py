"""The pages of docs/, typed as they stand on cells of their own: what they show is what is said."""

from pathlib import Path

import pytest

from machine import ROOT, Machine
from tour import steps, typed

PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "```console" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_is_said(page: Path, machine: Machine) -> None:
    typed(machine, page.read_text(encoding="utf-8"))
    assert not machine.processes()


def test_the_guide_shows_every_day() -> None:
    """Every command of daily use is in it, so that an empty page cannot pass."""
    shown = "\n".join(step.command for step in steps((ROOT / "docs" / "guide.md").read_text(encoding="utf-8")))
    for word in ("validate", "convert", "secrets", "exec", "inspect", "wait", "backup", "restore", "debug"):
        assert f"kato {word}" in shown
