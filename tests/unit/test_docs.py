"""The documents: every file that they name is there, and ARCHITECTURE.md shows the rooms that stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
NAMED = re.compile(r"`((?:src|tests|docs|bench|examples|[a-z]+)/[\w./-]*\w)`")
ROOM = re.compile(r"^ {6}([\w.]+)/? ", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_command_that_no_test_types_says_why(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    shown = text.count("\n```sh\n")
    told = re.findall(r"^<!-- not typed: (.+) -->\n\n```sh\n", text, re.MULTILINE)
    assert len(told) == shown, (
        "write before each block of ```sh: <!-- not typed: why, and which test does the same -->"
    )
    for each in re.findall(r"tests/[\w/]+\.py", " ".join(told)):
        assert (ROOT / each).exists(), each


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_is_there(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text(encoding="utf-8"))
    files = [each for each in named if each.rpartition(".")[2] in ("py", "c", "md") or each.startswith("tests/")]
    assert files
    for each in files:
        assert (ROOT / each).exists() or (ROOT / "src" / "kato" / each).exists(), each


def test_the_rooms_that_are_shown_are_those_that_stand() -> None:
    shown = ROOM.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    standing = {
        path.name
        for path in (ROOT / "src" / "kato").iterdir()
        if not path.name.startswith("_") and (path.is_dir() or path.suffix == ".py")
    }
    assert set(shown) == standing
    assert len(shown) == len(standing)
