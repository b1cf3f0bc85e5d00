"""A task's, an app's or a group's name comes in; its output, from whichever agents have it, goes out as lines of
JSON in the order of time: what is there already strictly so, what comes meanwhile within a moment.
"""

import asyncio
import codecs
import contextlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence

from kato.api.answers import encode
from kato.model.errors import DriverError, NotFound, Unavailable
from kato.model.ids import absolute
from kato.model.link import AgentCalls, Output, Reached
from kato.store.mirror import Mirror

_WAITING = 64
"""Pieces that may wait for a slow client before the agents wait too."""
HOLD = 0.05
"""Seconds that what comes is held back, for what came before it elsewhere and takes longer."""
_LONG = 3600.0


class _Source:
    """One stream of one task, and how far it was read."""

    def __init__(self, task: str, stream: str) -> None:
        self.task, self.stream = task, stream
        self.reached: Reached | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end within a character

    def line(self, piece: Output) -> bytes:
        """What is said of a piece that was read."""
        self.reached = piece.end
        said = {"task": piece.task, "stream": piece.stream, "offset": piece.offset}
        time = None if piece.time is None else piece.time / 1e9
        return encode({**said, "time": time, "text": self._decoder.decode(piece.data)}) + b"\n"


class Logs:
    """One request for output. ended: set when the api goes down. since: epoch seconds; what came before that is
    left out, where it is known when it came."""

    def __init__(
        self,
        mirror: Mirror,
        calls: AgentCalls,
        *,
        streams: Sequence[str],
        tail: int | None,
        follow: bool,
        ended: asyncio.Event,
        since: float | None = None,
    ) -> None:
        self._mirror = mirror
        self._calls = calls
        self._streams = streams
        self._tail = tail
        self._since = None if since is None else round(since * 1e9)
        self._follow = follow
        self._ended = ended
        self._held: list[tuple[int, int, float, bytes]] = []
        """Of each piece: its time, its number, when it may go at the latest, and its line."""
        self._newest = self._count = 0
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._known: set[str] = set()

    async def find(self, name: str) -> str:
        """The task of that id, also one that has gone and is kept, or the app or group of that path. NotFound."""
        world = self._mirror.world()
        failed = (each.last_failure for each in world.launches.values())
        if any(name in tasks for tasks in world.tasks.values()) or any(
            each and each.task == name for each in failed
        ):
            return name
        id = absolute("/" + name)
        if id in world.apps or id in world.tasks or self._beneath(id):
            return id
        if any(each.task == name for each in await self._calls.kept()):
            return name
        raise NotFound(f"There is no app, group or task {name!r}")

    async def lines(self, name: str) -> AsyncIterator[bytes]:
        """Every piece as one line, until all was read or, when it follows, until the client or the api goes."""
        reading = asyncio.create_task(self._read(name))
        reading.add_done_callback(lambda _: self._news.set())
        ending = asyncio.create_task(self._ended.wait())
        ending.add_done_callback(lambda _: reading.cancel())
        try:
            while self._held or not reading.done():
                self._news.clear()
                if (wait := self._wait(reading)) > 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._news.wait()
                    continue
                *_, line = heapq.heappop(self._held)
                self._room.set()
                yield line
            if not reading.cancelled():
                reading.result()
        finally:
            reading.cancel()
            ending.cancel()

    def _wait(self, reading: asyncio.Task[None]) -> float:
        """Seconds until the first piece may go: none where nothing more can come before it."""
        if not self._held:
            return _LONG
        if reading.done() or len(self._held) >= _WAITING:
            return 0.0
        return self._held[0][2] - asyncio.get_running_loop().time()

    async def _read(self, name: str) -> None:
        """Reads from every task what is there, and then, where it follows, what comes, also from those that come
        later where it is an app or a group."""
        async with asyncio.TaskGroup() as group:
            with self._mirror.changes() as changes:
                sources = self._new(name)
                await self._merge(sources)
                while self._follow:
                    for source in sources:
                        group.create_task(self._pump(source))
                    if not name.startswith("/"):
                        return
                    await anext(changes)
                    sources = self._new(name)

    def _new(self, name: str) -> list[_Source]:
        tasks = [
            each for each in (self._tasks(name) if name.startswith("/") else (name,)) if each not in self._known
        ]
        self._known.update(tasks)
        return [_Source(task, stream) for task in tasks for stream in self._streams]

    def _tasks(self, name: str) -> Collection[str]:
        """The tasks of an app, or of all apps of a group."""
        world = self._mirror.world()
        apps = [name] if name in world.apps or name in world.tasks else self._beneath(name)
        return [task for app in apps for task in self._of(app)]

    def _beneath(self, group: str) -> Collection[str]:
        world = self._mirror.world()
        return [app for app in {*world.apps, *world.tasks} if app.startswith(f"{group.rstrip('/')}/")]

    def _of(self, app: str) -> Collection[str]:
        """An app's tasks; where it has none at the moment, the one that failed last."""
        world = self._mirror.world()
        launches = world.launches.get(app)
        failure = launches.last_failure if launches else None
        return world.tasks.get(app) or ((failure.task,) if failure else ())

    async def _merge(self, sources: Sequence[_Source]) -> None:
        """What streams hold now, the oldest first."""
        async with contextlib.AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(
                    contextlib.aclosing(self._pieces(source, self._tail, follow=False))
                )
                for source in sources
            ]
            heads: list[tuple[int, int, Output]] = []
            for n, first in enumerate(await asyncio.gather(*(anext(reader, None) for reader in readers))):
                if first is not None:
                    heads.append((first.time or 0, n, first))
            heapq.heapify(heads)
            while heads:
                time, n, piece = heads[0]
                await self._put(sources[n].line(piece), time, hold=0.0)
                if (after := await anext(readers[n], None)) is None:
                    heapq.heappop(heads)
                else:  # what has no time came with what was before it
                    heapq.heapreplace(heads, (after.time or time, n, after))

    async def _pump(self, source: _Source) -> None:
        """What a stream says from where it was read to."""
        tail = None if source.reached else self._tail
        async for piece in self._pieces(source, tail, follow=True):
            await self._put(source.line(piece), piece.time or 0, hold=HOLD)

    async def _pieces(self, source: _Source, tail: int | None, *, follow: bool) -> AsyncGenerator[Output, None]:
        """One stream of one task; an agent that has it no more ends it."""
        with contextlib.suppress(NotFound, Unavailable, DriverError):
            reading = self._calls.output(
                source.task, source.stream, tail=tail, follow=follow, since=source.reached
            )
            async for piece in reading:
                if self._since is not None and piece.time is not None and piece.time < self._since:
                    source.reached = piece.end
                    continue
                yield piece

    async def _put(self, line: bytes, time: int, *, hold: float) -> None:
        """Queues a line once there is room for it. What has no time comes behind all that has."""
        while len(self._held) >= _WAITING:
            self._room.clear()
            await self._room.wait()
        self._newest = max(self._newest, time)
        self._count += 1
        due = asyncio.get_running_loop().time() + hold
        heapq.heappush(self._held, (time or self._newest, self._count, due, line))
        self._news.set()
