"""Room kept for the day when the disk is full: a folder flows in; files that hold blocks and inodes, or gave some
back, are there.

A task can fill the disk that its cell lives on, and what ends it has to be written too. So the cell keeps a file
there, and some empty ones for a disk that takes no more files, and gives half of what is left back where it is
needed: for a wish that makes room, and for a start. It takes all of it again once there is room. What only writes
on, as a status, is not given any: it would go to the task that fills the disk.
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
FILES = 16
"""Empty files of a whole ballast, and how many must be free beside them."""

log = structlog.get_logger()


class Ballast:
    """The files in one folder. One thread at a time. size: bytes of a whole one."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self._path = folder / FILE
        self._size = size
        self._spares: list[Path] | None = None

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
        return self._short_of_bytes or self._short_of_files

    def roomy(self) -> bool:
        """Whether it has; makes the ballast whole then."""
        if self.short:
            return False
        return (not self._owed or self._take()) and (len(self._empty) >= FILES or self._take_files())

    def give(self) -> bool:
        """Gives half of what is left, of what the disk is short of, back to it; False where nothing is left."""
        files = self._short_of_files and self._give_files()
        return (self._short_of_bytes and self._give_bytes()) or files

    def _give_bytes(self) -> bool:
        held = self.held
        if not held:
            return False
        log.warning("the disk is full: room that was kept for this is given back", bytes=held // 2)
        with suppress(OSError):
            if held > CRUMB:
                os.truncate(self._path, held // 2)
            else:
                self._path.unlink()
        return self.held < held

    def _give_files(self) -> bool:
        given = self._empty[len(self._empty) // 2 :]
        if not given:
            return False
        log.warning("the disk takes no more files: some that were kept for this are removed", files=len(given))
        for spare in given:
            spare.unlink(missing_ok=True)
            self._empty.remove(spare)
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

    def _take_files(self) -> bool:
        for spare in (self._path.with_name(f"{FILE}.{n}") for n in range(1, FILES + 1)):
            try:
                spare.touch(0o600)
            except OSError:
                return False
            if spare not in self._empty:
                self._empty.append(spare)
        return True

    @property
    def _empty(self) -> list[Path]:
        """The empty files that are there, as this process knows them."""
        if self._spares is None:
            self._spares = sorted(self._path.parent.glob(f"{FILE}.[0-9]*"))
        return self._spares

    @property
    def _owed(self) -> int:
        return self._size - self.held

    @property
    def _short_of_bytes(self) -> bool:
        disk = os.statvfs(self._path.parent)
        free = disk.f_frsize * (disk.f_bavail if os.geteuid() else disk.f_bfree)
        return free - self._owed < LEAST

    @property
    def _short_of_files(self) -> bool:
        disk = os.statvfs(self._path.parent)
        if not disk.f_files:  # it counts none
            return False
        free = disk.f_favail if os.geteuid() else disk.f_ffree
        return free - (FILES - len(self._empty)) < FILES
