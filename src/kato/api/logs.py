"""A task's or an app's name comes in; its output, from whichever agents have it, goes out as lines of JSON."""

import asyncio
import codecs
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence

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
        self._lines: deque[bytes] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reading: set[str] = set()

    async def find(self, name: str) -> str:
        """The task of that id, also one that has gone and is kept, or the app of that path. NotFound."""
        world = self._mirror.world()
        failed = (each.last_failure for each in world.launches.values())
        if any(name in tasks for tasks in world.tasks.values()) or any(
            each and each.task == name for each in failed
        ):
            return name
        id = absolute("/" + name)
        if id in world.apps or id in world.tasks:
            return id
        if any(each.task == name for each in await self._calls.kept()):
            return name
        raise NotFound(f"There is neither an app nor a task {name!r}")

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """Every piece as one line, until all was read or, when it follows, until the client or the api goes."""
        reading = asyncio.create_task(self._read(name))
        reading.add_done_callback(lambda _: self._news.set())
        ending = asyncio.create_task(self._ended.wait())
        ending.add_done_callback(lambda _: reading.cancel())
        try:
            while self._lines or not reading.done():
                if not self._lines:
                    self._news.clear()
                    await self._news.wait()
                    continue
                line = self._lines.popleft()
                self._room.set()
                yield line
            if not reading.cancelled():
                reading.result()
        finally:
            reading.cancel()
            ending.cancel()

    async def _read(self, name: str) -> None:
        """Reads from every task, and from those that come later where it follows an app."""
        async with asyncio.TaskGroup() as group:
            with self._mirror.changes() as changes:
                self._start(name, group)
                while self._follow and name.startswith("/"):
                    await anext(changes)
                    self._start(name, group)

    def _start(self, name: str, group: asyncio.TaskGroup) -> None:
        for task in self._tasks(name) if name.startswith("/") else (name,):
            if task not in self._reading:
                self._reading.add(task)
                for stream in self._streams:
                    group.create_task(self._pump(task, stream))

    def _tasks(self, app: str) -> Collection[str]:
        """An app's tasks; where it has none at the moment, the one that failed last."""
        world = self._mirror.world()
        launches = world.launches.get(app)
        failure = launches.last_failure if launches else None
        return world.tasks.get(app) or ((failure.task,) if failure else ())

    async def _pump(self, task: str, stream: str) -> None:
        """One stream of one task; an agent that has it no more ends it."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end within a character
        with contextlib.suppress(NotFound, Unavailable, DriverError):
            async for piece in self._calls.output(task, stream, tail=self._tail, follow=self._follow):
                await self._put(_line(piece, decoder.decode(piece.data)))

    async def _put(self, line: bytes) -> None:
        """Queues a line once there is room for it."""
        while len(self._lines) >= _WAITING:
            self._room.clear()
            await self._room.wait()
        self._lines.append(line)
        self._news.set()


def _line(piece: Output, text: str) -> bytes:
    return encode({"task": piece.task, "stream": piece.stream, "offset": piece.offset, "text": text}) + b"\n"
