"""A task's or an app's name comes in; its output, from whichever agents have it, goes out as lines of JSON."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from kato.api.answers import encode
from kato.model.errors import DriverError, NotFound, Unavailable
from kato.model.ids import absolute
from kato.model.link import AgentCalls, Output
from kato.store.mirror import Mirror

_WAITING = 64
"""Pieces that may wait for a slow client before the agents wait too."""


class Logs:
    """One request for output. ended: set when the api goes down."""

    def __init__(
        self,
        mirror: Mirror,
        calls: AgentCalls,
        *,
        streams: Sequence[str],
        tail: int | None,
        follow: bool,
        ended: asyncio.Event,
    ) -> None:
        self._mirror = mirror
        self._calls = calls
        self._streams = streams
        self._tail = tail
        self._follow = follow
        self._ended = ended
        self._pieces: asyncio.Queue[Output | None] = asyncio.Queue(_WAITING)
        self._reading: set[str] = set()

    def find(self, name: str) -> str:
        """The task of that id, or the app of that path. NotFound."""
        world = self._mirror.world()
        if any(name in tasks for tasks in world.tasks.values()):
            return name
        id = absolute("/" + name)
        if id in world.apps or id in world.tasks:
            return id
        raise NotFound(f"There is neither an app nor a task {name!r}")

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """Every piece as one line, until all was read or, when it follows, until the client or the api goes."""
        reading = asyncio.create_task(self._read(name))
        ending = asyncio.create_task(self._end())
        try:
            while (piece := await self._pieces.get()) is not None:
                yield _line(piece)
            if reading.done():
                await reading
        finally:
            reading.cancel()
            ending.cancel()

    async def _end(self) -> None:
        await self._ended.wait()
        await self._pieces.put(None)

    async def _read(self, name: str) -> None:
        """Reads from every task, and from those that come later where it follows an app."""
        try:
            async with asyncio.TaskGroup() as group:
                with self._mirror.changes() as changes:
                    self._start(name, group)
                    while self._follow and name.startswith("/"):
                        await anext(changes)
                        self._start(name, group)
        finally:
            await self._pieces.put(None)

    def _start(self, name: str, group: asyncio.TaskGroup) -> None:
        tasks = self._mirror.world().tasks.get(name, {}) if name.startswith("/") else (name,)
        for task in tasks:
            if task not in self._reading:
                self._reading.add(task)
                for stream in self._streams:
                    group.create_task(self._pump(task, stream))

    async def _pump(self, task: str, stream: str) -> None:
        """One stream of one task; an agent that has it no more ends it."""
        with contextlib.suppress(NotFound, Unavailable, DriverError):
            async for piece in self._calls.output(task, stream, tail=self._tail, follow=self._follow):
                await self._pieces.put(piece)


def _line(piece: Output) -> bytes:
    text = piece.data.decode("utf-8", "replace")
    return encode({"task": piece.task, "stream": piece.stream, "offset": piece.offset, "text": text}) + b"\n"
