"""What lines are appended to may be no file at all."""

import os
from pathlib import Path

import pytest

from kato.drivers.receiver.file import Driver
from kato.model.errors import DriverError


async def test_a_named_pipe_holds_up_nothing_and_gets_all_that_somebody_reads(tmp_path: Path) -> None:
    path, lines = tmp_path / "pipe", b"0123456789abcdef" * 8192
    os.mkfifo(path)
    driver = await Driver.open(str(path))
    with pytest.raises(DriverError, match="cannot be written to"):
        await driver.take(lines)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(DriverError, match="cannot be written to"):
        await driver.take(lines)  # a pipe has not room for all of it
    had = os.read(reader, len(lines))
    while len(had) < len(lines):
        try:
            await driver.take(lines)
        except DriverError:
            assert len(had) < len(lines)
        had += os.read(reader, len(lines))
    assert had == lines
    await driver.close()
    os.close(reader)
