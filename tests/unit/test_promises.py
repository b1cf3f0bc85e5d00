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
    for folder in ("tests", "docs"):
        (tmp_path / folder).mkdir()
    shutil.copy(CONFTEST, tmp_path / "tests")
    (tmp_path / "tests" / "test_it.py").write_text(TESTS)
    lines = [f"| It does | `tests/test_it.py::{name}` |" for name in named]
    (tmp_path / "docs" / "promises.md").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--promises", "-p", "no:cacheprovider", "-k", chosen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    lost = [f"tests/test_it.py::{name}" for name in told]
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith("A promise")] == lost
