"""What is read of an image's files before its container starts."""

from pathlib import Path

import pytest

from kato.drivers.runtime.oci.volumes import LONGEST, text_in
from kato.model.errors import DriverError


def test_a_file_of_users_that_no_machine_has_is_not_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    with (tmp_path / "etc/passwd").open("w") as file:
        file.write("root:x:0:0::/root:/bin/sh\n")
        file.truncate(64 << 30)
    with pytest.raises(DriverError, match=r"/etc/passwd has more than 1 MiB.*Make the image with a shorter one"):
        text_in(tmp_path, "etc/passwd")


def test_one_as_long_as_may_be_is_read_and_none_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "group").write_bytes(b"x" * LONGEST)
    assert len(text_in(tmp_path, "group")) == LONGEST
    assert text_in(tmp_path, "passwd") == ""
