"""What waits to be shipped, and what was: lines go in, as much as there is room for; batches go out, and how far
each stream was shipped stays on the disk.
"""

import asyncio
import contextlib
from collections import deque
from pathlib import Path

import msgspec

from kato.agent import durable
from kato.model.link import Reached

ROOM = 4 << 20
"""Bytes that may wait: then tasks' output stays where it lies, and lines of the log are dropped."""
BATCH = 256 << 10
"""Bytes that are handed over at once, about."""
FILE = "shipped.json"

Source = tuple[str, str]
"""A task and a stream of it."""


class Parcel(msgspec.Struct, frozen=True):
    """One line. of: where it is from, None for the cell's log; reached: how far that stream is shipped with it."""

    line: bytes
    of: Source | None = None
    reached: Reached = Reached()


class Parcels:
    """A bounded queue. dropped: bytes that were not taken, or that went before they could be."""

    def __init__(self) -> None:
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self.dropped = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()

    def offer(self, parcel: Parcel) -> None:
        """Takes it, or drops it where there is no room. Never waits."""
        if self._bytes >= ROOM:
            self.dropped += len(parcel.line)
            return
        self._waiting.append(parcel)
        self._bytes += len(parcel.line)
        self._news.set()

    async def put(self, parcel: Parcel) -> None:
        """Takes it once there is room: half of it is the log's alone, which cannot wait."""
        while self._bytes >= ROOM // 2:
            self._room.clear()
            await self._room.wait()
        self.offer(parcel)

    async def batch(self) -> list[Parcel]:
        """The oldest ones, once there are any."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        found, size = [], 0
        while self._waiting and size < BATCH:
            found.append(self._waiting.popleft())
            size += len(found[-1].line)
        return found

    def done(self, batch: list[Parcel]) -> None:
        """They are out: their room is free."""
        self._bytes -= sum(len(parcel.line) for parcel in batch)
        self._room.set()

    @property
    def empty(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._bytes


class Mark(msgspec.Struct):
    """How far one stream was shipped. over: all of it, and nothing more can come."""

    reached: Reached = Reached()
    over: bool = False


class _File(msgspec.Struct):
    """`shipped.json`. saved: epoch seconds; marks: by task, then stream."""

    saved: float
    marks: dict[str, dict[str, Mark]]


class Marks:
    """How far each stream was shipped, over restarts. saved: when that was last written, 0.0 for never."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._marks: dict[str, dict[str, Mark]] = {}
        self.saved = 0.0
        self.changed = False
        with contextlib.suppress(OSError, msgspec.DecodeError):
            known = msgspec.json.decode(self._path.read_bytes(), type=_File)
            self.saved, self._marks = known.saved, known.marks

    def of(self, source: Source) -> Mark | None:
        """Of one stream; None where nothing of it was ever shipped."""
        return self._marks.get(source[0], {}).get(source[1])

    def at(self, source: Source) -> Mark:
        """Of one stream, to be moved on."""
        self.changed = True
        return self._marks.setdefault(source[0], {}).setdefault(source[1], Mark())

    @property
    def count(self) -> int:
        """Of how many tasks."""
        return len(self._marks)

    def forget(self, kept: set[str]) -> set[str]:
        """Drops, and tells, the tasks that are shipped whole and not in `kept`."""
        over = {task for task, marks in self._marks.items() if all(mark.over for mark in marks.values())} - kept
        for task in over:
            del self._marks[task]
        return over

    async def save(self, now: float) -> None:
        """Writes them down. OSError."""
        self.changed, content = False, msgspec.json.encode(_File(now, self._marks))
        await asyncio.to_thread(durable.write, self._path, content)
        self.saved = now
