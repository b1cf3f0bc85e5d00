"""The check that each promise names a test that ran: it fails the run where one did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import pytest

def test_kept(): ...
def test_broken(): assert False
@pytest.mark.skip
def test_skipped(): ...
@pytest.mark.parametrize("n", [1, 2])
def test_each(n): ...
"""


@pytest.mark.parametrize(
    ("named", "chosen", "code", "told"),
    [
        (("test_kept", "test_each"), "kept or each", 0, ()),
        (("test_kept", "test_each"), "kept", 1, ("test_each",)),
        (("test_skipped",), "skipped", 1, ("test_skipped",)),
        (("test_broken", "test_kept"), "broken or kept", 1, ("test_broken",)),
        (("test_gone",), "kept", 1, ("test_gone",)),
        ((), "kept", 1, ()),
    ],
)
def test_a_promise_without_its_test_fails_the_run(
    tmp_path: Path, named: tuple[str, ...], chosen: str, code: int, told: tuple[str, ...]
) -> None:
    done = run(tmp_path, named, chosen)
    assert done.returncode == code, done.stdout
    lost = [f"tests/test_it.py::{name}" for name in told]
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith("A promise")] == lost


def test_without_root_what_was_skipped_is_told_and_what_is_broken_fails(tmp_path: Path) -> None:
    done = run(tmp_path, ("test_skipped", "test_kept"), "skipped or kept", "--rootless")
    assert done.returncode == 0 and "1 of the tests that promises name were skipped" in done.stdout
    assert run(tmp_path, ("test_skipped", "test_broken"), "skipped or broken", "--rootless").returncode == 1
    assert run(tmp_path, ("test_gone",), "kept", "--rootless").returncode == 1


def run(folder: Path, named: tuple[str, ...], chosen: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    for each in ("tests", "docs"):
        (folder / each).mkdir(exist_ok=True)
    shutil.copy(CONFTEST, folder / "tests")
    (folder / "tests" / "test_it.py").write_text(TESTS)
    lines = [f"| It does | `tests/test_it.py::{name}` |" for name in named]
    (folder / "docs" / "promises.md").write_text("\n".join(lines))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--promises", *flags, "-p", "no:cacheprovider", "-k", chosen],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
