"""What a cell lets others in by is made whole, by one at a time, and by nobody for somebody else."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kato.access import AUTHORITY, TOKEN, Access
from kato.cli.upkeep.certify import certify
from kato.cli.words.place import Place
from kato.config import Config
from kato.model.errors import InvalidInput

NOBODY = 65534
CERTIFY = (sys.executable, "-m", "kato", "certify")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="only root can act for another user"
)


@pytest.fixture
def reached() -> Iterator[Path]:
    """A folder that every user reaches."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_several_at_once_leave_one_certificate_with_its_key(tmp_path: Path) -> None:
    words = [*CERTIFY, "--data", str(tmp_path), "--new-token"]
    at_once = [subprocess.Popen([*words, f"{name}.example"], stdout=subprocess.DEVNULL) for name in "abc"]
    assert [each.wait() for each in at_once] == [0, 0, 0]
    assert names(tmp_path / "access") == {"ca.key", "ca.pem", "server.key", "server.pem", TOKEN}
    Access.open(Config(data=tmp_path, https=True))


def test_who_was_killed_leaves_no_key_behind_and_no_certificate_without_its_key(tmp_path: Path) -> None:
    place, access = Place(data=str(tmp_path)), tmp_path / "access"
    certify("a.example", place=place)
    key = (access / "server.key").read_bytes()
    (access / ".making-1").mkdir()
    (access / ".making-1" / "ca.key").write_text("a key")
    (access / ".server.key.new").write_text("half a key")
    certify("b.example", place=place)
    assert names(access) == {"ca.key", "ca.pem", "server.key", "server.pem", TOKEN}
    assert (access / "server.key").read_bytes() == key, "else there is a moment in which it is another one's"
    (access / "server.key").write_text("no key")
    certify(place=place)
    Access.open(Config(data=tmp_path, https=True))


def test_an_authority_without_its_key_is_not_exchanged_unasked(tmp_path: Path) -> None:
    certify("a.example", place=Place(data=str(tmp_path)))
    before = (tmp_path / "access" / AUTHORITY).read_bytes()
    (tmp_path / "access" / "ca.key").unlink()
    with pytest.raises(InvalidInput, match=r"ca\.key is gone.*rm "):
        certify("b.example", place=Place(data=str(tmp_path)))
    assert (tmp_path / "access" / AUTHORITY).read_bytes() == before


@needs_root
def test_root_makes_another_users_as_that_user(reached: Path) -> None:
    roots, data = reached / "roots", reached / "data"
    roots.mkdir(0o755)
    (roots / "shadow").touch(0o600)
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    (data / "access").symlink_to(roots)
    said = subprocess.run(
        [*CERTIFY, "--data", str(data), "a.example"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1 and "Permission denied" in said.stderr
    assert names(roots) == {"shadow"} and (roots / "shadow").stat().st_uid == 0
    (data / "access").unlink()
    subprocess.run([*CERTIFY, "--data", str(data), "a.example"], stdout=subprocess.DEVNULL, check=True)
    assert {each.stat().st_uid for each in (data / "access").iterdir()} == {NOBODY}
    assert {each.stat().st_mode & 0o777 for each in (data / "access").iterdir()} == {0o600}
