"""Room kept for the day when the disk is full: a folder flows in; a file that holds blocks, or gave some back, is
there.

A task can fill the disk that its cell lives on, and what ends it has to be written too. So the cell keeps a file
there and gives half of what is left of it back where it is needed: for a wish that makes room, and for a start. It
takes all of it again once there is room. What only writes on, as a status, is not given any: it would go to the
task that fills the disk.
"""

import os
from contextlib import suppress
from pathlib import Path

import structlog

FILE = "ballast"
SIZE = 16 * 2**20
LEAST = 4 * 2**20
"""Bytes that must be free beside it, or the disk is called full."""
CRUMB = 2**20
"""Bytes of a ballast that is given away whole."""

log = structlog.get_logger()


class Ballast:
    """The file in one folder. One thread at a time. size: bytes of a whole one."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self._path = folder / FILE
        self._size = size

    @property
    def held(self) -> int:
        """Bytes of the disk that it holds."""
        try:
            return min(self._path.stat().st_size, self._size)
        except OSError:
            return 0

    @property
    def short(self) -> bool:
        """Whether the disk has no room beside a whole ballast."""
        return self._free() - self._owed < LEAST

    def roomy(self) -> bool:
        """Whether it has; makes the ballast whole then."""
        if self.short:
            return False
        return not self._owed or self._take()

    def give(self) -> bool:
        """Gives half of what is left back to the disk; False where nothing is left."""
        held = self.held
        if not held:
            return False
        log.warning("the disk is full: room that was kept for this is given back", bytes=held // 2)
        with suppress(OSError):
            if held > CRUMB:
                os.truncate(self._path, held // 2)
            else:
                self._path.unlink()
        return True

    def _take(self) -> bool:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size)
            finally:
                os.close(file)
        except OSError:  # somebody else was quicker to take the room
            with suppress(OSError):
                self._path.unlink()
            return False
        return True

    @property
    def _owed(self) -> int:
        return self._size - self.held

    def _free(self) -> int:
        disk = os.statvfs(self._path.parent)
        return disk.f_frsize * (disk.f_bavail if os.geteuid() else disk.f_bfree)
