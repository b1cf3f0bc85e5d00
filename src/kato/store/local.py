"""Verbs of the store port flow in; answers flow out once SQLite has made them durable, many with one fsync.

Everything is read from memory. The file is written by one thread, and owned by one process at a time.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from kato.model.errors import StoreFull, StoreRefused, StoreUnavailable
from kato.store import Committed, Compare, Events, KeyValue, Op, Range
from kato.store.ballast import SIZE, Ballast
from kato.store.cellfile import NO_ROOM, CellFile, no_room
from kato.store.engine import Engine, HeldLease, Watch
from kato.store.ledger import Ledger

T = TypeVar("T")


class LocalStore:
    """A store in one file of this machine."""

    exclusive = True

    def __init__(
        self, path: Path, file: CellFile, ledger: Ledger, writer: ThreadPoolExecutor, lock: int, ballast: Ballast
    ) -> None:
        self._file = file
        self._ballast = ballast
        self._ledger = ledger
        self._writer = writer
        self._lock = lock
        self._open = True
        self._path = path
        self._begun = False
        self._engine = Engine(ledger, self._persist)

    @classmethod
    async def open(cls, address: str, ballast: int = SIZE) -> Self:
        """Opens the file at a path, or makes it, closed to other users; keys under a lease go at once.

        ballast: bytes of what room is made with on a full disk. Raises StoreFull, and StoreRefused where the file
        is damaged, newer, or held by another process; it is left untouched then.
        """
        path = Path(address).absolute()
        room = Ballast(path.parent, ballast)
        async with AsyncExitStack() as undo:
            writer = ThreadPoolExecutor(1, thread_name_prefix="kato-store")
            undo.callback(writer.shutdown, wait=False)
            lock = own(path)
            undo.callback(os.close, lock)
            loop = asyncio.get_running_loop()
            if room.short:
                room.give()
            file, ledger = await loop.run_in_executor(writer, _with_room, path, room, partial(CellFile.open, path))
            undo.callback(file.close)
            store = cls(path, file, ledger, writer, lock, room)
            await store._engine.drop_leased()
            undo.pop_all()
        return store

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return self._ledger.get(key)

    async def range(self, prefix: str) -> Range:
        self._check()
        return self._ledger.range(prefix)

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        self._check()
        return await self._engine.txn(compares, ops)

    async def lease(self, ttl: float) -> HeldLease:
        self._check()
        return self._engine.grant(ttl, self._check)

    async def room(self, *, urgent: bool) -> bool:
        self._check()
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._room, urgent)

    def watch(self, prefix: str, since: int) -> Watch:
        return Watch(self._engine, prefix, since, self._check)

    async def close(self) -> None:
        """Finishes the writes under way, and lets go of the file."""
        if not self._open:
            return
        self._open = False
        await self._engine.close()
        await asyncio.get_running_loop().run_in_executor(self._writer, self._file.close)
        self._writer.shutdown(wait=False)
        os.close(self._lock)

    async def _persist(self, revisions: Sequence[Events]) -> None:
        if revisions:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._write, revisions, self._ledger.compacted)

    def _write(self, revisions: Sequence[Events], compacted: int) -> None:
        write = partial(self._file.write, revisions, compacted)
        if self._begun:
            write()
        else:
            _with_room(self._path, self._ballast, write)
            self._begun = True
        self._ballast.roomy()

    def _room(self, urgent: bool) -> bool:
        if self._ballast.roomy():
            return True
        if urgent:
            self._ballast.give()
        return urgent

    def _check(self) -> None:
        if not self._open:
            raise StoreUnavailable("The store is closed.")


def _with_room(path: Path, room: Ballast, act: Callable[[], T]) -> T:
    """What a start does. A disk that fills meanwhile is given room for as long as there is some. StoreFull."""
    while True:
        try:
            return act()
        except StoreFull as error:
            if not room.give():
                raise no_room(path, starting=True) from error


def own(path: Path) -> int:
    """The lock beside the store, held as long as the descriptor is open. It names its holder, for a person.

    StoreRefused where another process holds it.
    """
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(path) from error
        raise StoreRefused(
            f"The store {path} cannot be opened: {error.strerror} ({error.filename}). Choose a folder that this "
            "user may write to."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise StoreRefused(
            f"The store {path} is in use by {f'process {holder}' if holder else 'another process'}. Stop that "
            "cell, or give this one a folder of its own."
        ) from None
    with suppress(OSError):  # on a full disk nobody learns who holds it
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock
