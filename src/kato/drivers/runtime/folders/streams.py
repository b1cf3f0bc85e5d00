"""A task's output as the keeper writes it: files named by the offset of their first byte (`stdout.0`,
`stdout.10485760`), and beside each when its pieces came (`times.stdout.0`), flow in; pieces with their offset in
the stream and their time flow out, across rotation and removal.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from kato.model.errors import DriverError

PIECE = 65536
PAIRS = 4096
"""Times that are read at once."""
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A task of the cell's own user may put a pipe or a link there: neither holds the cell up."""
_MODIFY, _CLOSE_WRITE, _CREATE, _OVERFLOW = 0x2, 0x8, 0x100, 0x4000
_HEADER = struct.Struct("iIII")
_PAIR = struct.Struct("qq")


class Stream:
    """One stream of one task. It holds the folder open, so that removing the task does not cut a reader off."""

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    def _bases(self) -> list[int]:
        names = (name.rpartition(".") for name in os.listdir(self._folder))
        return sorted(int(base) for name, _, base in names if name == self._name and base.isdecimal())

    def _read(self, base: int, offset: int, size: int) -> bytes:
        try:
            file = os.open(f"{self._name}.{base}", _READ, dir_fd=self._folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return b""
            raise
        try:
            plain = stat.S_ISREG(os.fstat(file).st_mode)
            return os.pread(file, size, offset - base) if plain else b""
        finally:
            os.close(file)

    def _times(self, base: int, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Of a file: where its pieces begin that lie between two offsets, and when each came, in nanoseconds since
        the epoch. The first may begin before; nothing where it is not known, as of an older keeper's task."""
        try:
            file = os.open(f"times.{self._name}.{base}", _READ, dir_fd=self._folder)
        except OSError:
            return
        try:
            about = os.fstat(file)
            low, high = 0, about.st_size // _PAIR.size if stat.S_ISREG(about.st_mode) else 0
            count = high
            while low < high:  # the first pair behind `first`: a file may have half a million
                middle = (low + high) // 2
                offset, _ = _PAIR.unpack(os.pread(file, _PAIR.size, middle * _PAIR.size))
                low, high = (middle + 1, high) if offset <= first else (low, middle)
            for place in range(max(low - 1, 0), count, PAIRS):
                data = os.pread(file, PAIRS * _PAIR.size, place * _PAIR.size)
                for offset, time in _PAIR.iter_unpack(data[: len(data) - len(data) % _PAIR.size]):
                    if offset >= end:
                        return
                    yield offset, time
        finally:
            os.close(file)

    def timed(self, offset: int) -> Iterator[tuple[int, int | None, bytes]]:
        """As `read`, in pieces that came at one time each: (offset, nanoseconds since the epoch, data)."""
        for first, data in self.read(offset):
            base = max((each for each in self._bases() if each <= first), default=first)
            at, when = 0, None
            for begins, time in self._times(base, first, first + len(data)):
                if begins > first + at:
                    yield first + at, when, data[at : begins - first]
                    at = begins - first
                when = time
            yield first + at, when, data[at:]

    def _end(self, base: int) -> int:
        with contextlib.suppress(FileNotFoundError):
            return base + os.stat(f"{self._name}.{base}", dir_fd=self._folder, follow_symlinks=False).st_size
        return base

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        """Pieces (offset, data) from `offset` to the present end. What rotation took is skipped: the first offset
        is then higher than asked for."""
        while True:
            bases = self._bases()
            base = max((each for each in bases if each <= offset), default=None)
            data = b"" if base is None else self._read(base, offset, PIECE)
            if data:
                yield offset, data
                offset += len(data)
                continue
            later = [each for each in bases if each > offset]
            if not later:
                return
            offset = later[0]

    def tail(self, lines: int) -> int:
        """The offset at which the last `lines` lines begin, as far as they are kept."""
        bases = self._bases()
        if not bases:
            return 0
        end = at = self._end(bases[-1])
        if lines == 0:
            return end
        for base in reversed(bases):
            while at > base:
                start = max(base, at - PIECE)
                data = self._read(base, start, at - start)
                newline = data.rfind(b"\n", 0, end - 1 - start)  # the last byte's newline begins no line
                while newline >= 0:
                    lines -= 1
                    if lines == 0:
                        return start + newline + 1
                    newline = data.rfind(b"\n", 0, newline)
                at = start
        return bases[0]


class Changes:
    """The kernel's word on changed folders (inotify), without polling. One a driver, on the running loop."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _refused("inotify_init1")
        self._listeners: dict[int, set[asyncio.Event]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._hear)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    @contextlib.contextmanager
    def of(self, folder: Path) -> Iterator[asyncio.Event]:
        """An event that is set whenever a file in the folder is made, written or closed."""
        mask = _MODIFY | _CLOSE_WRITE | _CREATE
        watch: int = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
        if watch < 0:
            raise _refused("inotify_add_watch")
        changed = asyncio.Event()
        self._listeners.setdefault(watch, set()).add(changed)
        try:
            yield changed
        finally:
            listeners = self._listeners[watch]
            listeners.discard(changed)
            if not listeners:
                del self._listeners[watch]
                self._libc.inotify_rm_watch(self._fd, watch)

    def _hear(self) -> None:
        data = os.read(self._fd, PIECE)
        at = 0
        while at < len(data):
            watch, what, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            # Where the kernel's queue was full, nobody knows whose changes it dropped.
            heard = self._listeners if what & _OVERFLOW else (watch,)
            for changed in (each for one in heard for each in self._listeners.get(one, ())):
                changed.set()


def _refused(call: str) -> DriverError:
    return DriverError(
        f"Output cannot be followed: {call}: {os.strerror(ctypes.get_errno())}. Raise fs.inotify.max_user_watches "
        "or fs.inotify.max_user_instances (sysctl), or read without following."
    )
