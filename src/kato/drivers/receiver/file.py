"""Lines at the end of a file; one that somebody has moved away, to rotate it, is begun anew."""

import asyncio
import os
from typing import Self

from kato.model.errors import DriverError


class Driver:
    """One file, closed to others where this makes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._rest = b""

    @classmethod
    async def open(cls, where: str) -> Self:
        """Nothing is made before there is something to write."""
        return cls(where)

    async def take(self, lines: bytes) -> None:
        """Appends. What a full disk has taken of them is not written again."""
        try:
            await asyncio.to_thread(self._append, lines)
        except OSError as error:
            raise DriverError(f"{self._path} cannot be written to: {error.strerror}.") from error

    def _append(self, lines: bytes) -> None:
        left = memoryview(self._rest or lines)
        self._reopen()
        try:
            while left:
                left = left[os.write(self._file, left) :]
        finally:
            self._rest = bytes(left)

    def _reopen(self) -> None:
        try:
            known = os.stat(self._path)
            if self._file >= 0 and os.path.samestat(known, os.fstat(self._file)):
                return
        except FileNotFoundError:
            pass
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        # Not to wait, as for who reads a named pipe: nobody could end a thread that does.
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(self._path, how, 0o600)

    async def close(self) -> None:
        """Lets go."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
