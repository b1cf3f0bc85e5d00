"""Shipping: what tasks write and what the cell logs flow in; lines of JSON flow out to one receiver.

Tasks' output waits where their runtime keeps it until the receiver takes it, so that a slow one costs no memory
and holds up nobody; what a runtime has rotated away meanwhile is lost, and counted. The cell's log waits in
memory: what does not fit is lost, and counted.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from kato.agent.parcels import Marks, Parcel, Parcels, Source
from kato.drivers.receiver import Receiver
from kato.model.errors import DriverError, NotFound
from kato.model.link import AgentCalls, Output, Reached
from kato.model.task import Status, TaskState

STREAMS = ("stdout", "stderr")
LONGEST = 64 << 10
"""Bytes of a line; what is longer becomes several."""
SAVED = 1.0
"""Seconds between two writings of how far all was shipped: what may be shipped twice after a kill."""
LAST = 2.0
"""Seconds that what waits may take when the cell ends."""
MANY = 1000
"""Tasks that are remembered before it is looked which of them need not be."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

log = structlog.get_logger()


class Shipper:
    """Ships everything of one node. clock: epoch seconds. folder: where it remembers how far it was."""

    def __init__(self, receiver: Receiver, *, node: str, folder: Path, clock: Callable[[], float]) -> None:
        self._receiver = receiver
        self._node = node
        self._clock = clock
        self._marks = Marks(folder)
        self._parcels = Parcels()
        self._first = not self._marks.saved
        self._known: set[str] = set()
        self._heard: list[tuple[str, str | None]] = []
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.shipped = 0
        self.connected = True

    @property
    def dropped(self) -> int:
        """Bytes that never reached the receiver."""
        return self._parcels.dropped

    # -- what comes -----------------------------------------------------------------------------------------

    def log(self, line: str) -> None:
        """Takes a line of the cell's log, from any thread. It never waits."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._parcels.offer, Parcel(line.encode() + b"\n"))

    def hear(self, status: Status) -> None:
        """A task has something to say from its start on."""
        if status.state is not TaskState.STAGING and status.state is not TaskState.STARTING:
            self._begin(status.task, status.app)

    def _begin(self, task: str, app: str | None) -> None:
        if task not in self._known:
            self._known.add(task)
            self._heard.append((task, app))
            self._news.set()

    # -- life -----------------------------------------------------------------------------------------------

    async def run(self, calls: AgentCalls) -> None:
        """Ships until cancelled; what waits then has a moment to go."""
        sending = asyncio.create_task(self._send())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._save(calls))
                await self._begin_kept(calls)
                while True:
                    for task, app in self._heard:
                        for stream in STREAMS:
                            group.create_task(self._read(calls, (task, stream), app))
                    self._heard.clear()
                    self._news.clear()
                    await self._news.wait()
        finally:
            await self._end(sending)

    async def _begin_kept(self, calls: AgentCalls) -> None:
        """What tasks wrote that ended while nobody shipped, or of which not all was shipped."""
        for each in await calls.kept():
            marks = [self._marks.of((each.task, stream)) for stream in STREAMS]
            fresh = not self._first and (each.ended or 0.0) >= self._marks.saved - SAVED
            if fresh or any(mark and not mark.over for mark in marks):
                self._begin(each.task, None)

    async def _forget(self, calls: AgentCalls) -> None:
        """Keeps no note of tasks that are shipped whole and kept no more."""
        kept = {each.task for each in await calls.kept()}
        self._known -= self._marks.forget(kept)

    async def _end(self, sending: asyncio.Task[None]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST if self.connected else 0.0):
                while not self._parcels.empty and not sending.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._marks.save(self._clock())

    async def _save(self, calls: AgentCalls) -> None:
        """Writes down how far all was shipped; a full disk costs that alone."""
        most = MANY
        while True:
            await asyncio.sleep(SAVED)
            if self._marks.count > most:
                await self._forget(calls)
                most = max(MANY, 2 * self._marks.count)
            if self._marks.changed:
                try:
                    await self._marks.save(self._clock())
                except OSError as error:
                    log.warning("how far output was shipped is not kept", why=str(error))

    # -- reading --------------------------------------------------------------------------------------------

    async def _read(self, calls: AgentCalls, source: Source, app: str | None) -> None:
        """All of one stream, from where it was shipped to."""
        task, stream = source
        pause, mark = SHORTEST_PAUSE, self._marks.at(source)
        if mark.over:
            return
        cut = _Cut(mark.reached, new=self._first)
        about = {"node": self._node, **({"app": app} if app else {}), "task": task, "stream": stream}
        while True:
            since = cut.reached if cut.begun else None
            try:
                async for piece in calls.output(task, stream, tail=None, follow=True, since=since):
                    if missed := cut.missed(piece):
                        self._parcels.dropped += missed
                        log.warning("output is gone before it was shipped", task=task, of=stream, bytes=missed)
                    for line, when, reached in cut.lines(piece):
                        record = _record(about, line, when or self._clock())
                        await self._parcels.put(Parcel(record, source, reached))
                    await asyncio.sleep(0)  # a long backlog is not the only thing that this node has to do
                break
            except NotFound:
                break  # nothing is kept of it
            except DriverError as error:
                log.warning("output cannot be shipped now", task=task, why=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                cut.forget()
        if (rest := cut.rest()) is not None:
            line, when, reached = rest
            await self._parcels.put(Parcel(_record(about, line, when or self._clock()), source, reached))
        await self._parcels.put(Parcel(b"", source, cut.reached))

    # -- sending --------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            batch = await self._parcels.batch()
            if lines := b"".join(parcel.line for parcel in batch):
                await self._take(lines)
            self.shipped += len(lines)
            for parcel in batch:
                if parcel.of is not None:
                    mark = self._marks.at(parcel.of)
                    mark.reached, mark.over = parcel.reached, not parcel.line
            self._parcels.done(batch)

    async def _take(self, lines: bytes) -> None:
        pause = SHORTEST_PAUSE
        while True:
            try:
                await self._receiver.take(lines)
                if not self.connected:
                    log.info("what is shipped is received again", dropped=self.dropped)
                self.connected = True
                return
            except DriverError as error:
                if self.connected:
                    log.warning("what is shipped is not received; it waits", why=str(error))
                self.connected = False
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)


Line = tuple[bytes, float | None, Reached]
"""A line, when it came in epoch seconds, and how far its stream is read with it."""


class _Cut:
    """Cuts pieces of a stream into lines."""

    def __init__(self, reached: Reached, *, new: bool) -> None:
        """new: nothing was ever shipped, so that what is gone already is not missed."""
        self.reached = reached
        self.begun = reached != Reached()
        self._next: int | None = None if new and not self.begun else reached.offset
        self._rest = b""
        self._time: int | None = None

    def missed(self, piece: Output) -> int:
        """Bytes that rotation took before this piece."""
        gap = 0 if self._next is None else piece.offset - self._next
        self._next = piece.offset + len(piece.data)
        return max(gap, 0)

    def lines(self, piece: Output) -> Iterable[Line]:
        """What a piece completes."""
        at = piece.offset - len(self._rest)
        text, self._rest = self._rest + piece.data, b""
        self._time = piece.time
        for part in _split(text):
            if not part.endswith(b"\n") and len(part) < LONGEST:
                self._rest = part
                return
            at += len(part)
            yield self._line(part, at)

    def rest(self) -> Line | None:
        """What has no newline, once nothing more comes."""
        if not self._rest:
            return None
        text, self._rest = self._rest, b""
        return self._line(text, self.reached.offset + len(text))

    def forget(self) -> None:
        """What was read of a line that was not completed is read again."""
        self._rest, self._next = b"", self.reached.offset

    def _line(self, text: bytes, end: int) -> Line:
        self.begun, self.reached = True, Reached(end, self._time)
        return text, None if self._time is None else self._time / 1e9, self.reached


def _split(text: bytes) -> list[bytes]:
    """By newlines alone: a bare return ends no line."""
    lines = text.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _record(about: dict[str, str], line: bytes, when: float) -> bytes:
    time = datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
    return msgspec.json.encode({"time": time, **about, "text": text}) + b"\n"
