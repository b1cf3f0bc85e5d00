"""Changes of the mirror and what requests did come in; each listener's own queue of encoded events goes out.

Nothing is encoded while nobody listens. A listener that falls behind is dropped, as Marathon does.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Any

import structlog

from kato.api.answers import encode
from kato.api.events import Told, attached, events
from kato.model.errors import Compacted
from kato.store.changes import Change
from kato.store.mirror import Mirror

log = structlog.get_logger()

MOST_QUEUED = 1024
"""Events that may wait for one listener."""
KEEP_ALIVE = 8.0
"""Seconds of silence after which an empty line is sent."""


class Listener:
    """One client of the stream. kinds: the event types that it wants, none named for all."""

    def __init__(self, remote: str, kinds: Collection[str], light: bool) -> None:
        self.remote = remote
        self.light = light
        self.over = False
        self._kinds = frozenset(kinds)
        self._queue: deque[bytes] = deque()
        self._woken = asyncio.Event()

    def wants(self, kind: str) -> bool:
        """Whether it asked for this type of event."""
        return not self._kinds or kind in self._kinds

    def offer(self, kind: str, line: bytes) -> None:
        """Queues an event; never waits. Too many waiting end it."""
        if self.over or not self.wants(kind):
            return
        if len(self._queue) >= MOST_QUEUED:
            log.warning("a listener of the event stream was too slow and is dropped", remote=self.remote)
            self._queue.clear()
            self.end()
            return
        self._queue.append(line)
        self._woken.set()

    def end(self) -> None:
        """Lets its stream end."""
        self.over = True
        self._woken.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """Events as they come, and an empty line in every silence."""
        while not self.over or self._queue:
            if self._queue:
                waiting = b"".join(self._queue)
                self._queue.clear()
                yield waiting
                continue
            self._woken.clear()
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._woken.wait()
            except TimeoutError:
                yield b"\n"


class Stream:
    """The events of one cell. clock: epoch seconds."""

    def __init__(self, *, mirror: Mirror, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._clock = clock
        self._listeners: list[Listener] = []
        self.closed = asyncio.Event()

    def attach(self, remote: str, kinds: Collection[str], light: bool) -> Listener:
        """A new listener, who hears of itself first."""
        listener = Listener(remote, kinds, light)
        self._listeners.append(listener)
        self.publish(attached(remote, self._clock()))
        if self.closed.is_set():
            listener.end()
        return listener

    def detach(self, listener: Listener) -> None:
        """The listener has gone."""
        listener.end()
        self._listeners.remove(listener)
        self.publish(attached(listener.remote, self._clock(), gone=True))

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def publish(self, event: dict[str, Any], *, light: bool | None = None) -> None:
        """Hands an event to those who listen: all, or those with or without light plans."""
        line: bytes | None = None
        for listener in self._listeners:
            if light is None or listener.light is light:
                kind = str(event["eventType"])
                line = line or b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(event))
                listener.offer(kind, line)

    def close(self) -> None:
        """Ends every stream, now and later: the api goes down."""
        self.closed.set()
        for listener in self._listeners:
            listener.end()

    async def run(self) -> None:
        """Tells of every change, until cancelled."""
        while True:
            with self._mirror.changes() as changes:
                known = Told(self._mirror.world())
                try:
                    async for step in changes:
                        for change in step.items:
                            self._tell(change, known)
                except Compacted:
                    log.warning("the event stream fell behind the store; some events were not told")

    def _tell(self, change: Change, known: Told) -> None:
        known.learn(change)
        if self._listeners:
            world, now = self._mirror.world(), self._clock()
            for light in {listener.light for listener in self._listeners}:
                wants = partial(self._wanted, light)
                for event in events(change, known, world, now, light=light, wants=wants):
                    self.publish(event, light=light)
        known.forget(change)

    def _wanted(self, light: bool, kind: str) -> bool:
        """Whether anybody, with or without light plans, asked for a type of event."""
        return any(each.light is light and each.wants(kind) for each in self._listeners)
