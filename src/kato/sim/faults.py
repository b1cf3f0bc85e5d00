"""One life's way to the store that all share: writes flow in; they land late, or after their writer was told that
nobody knows, or are the last that it does.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar
from typing import Literal

from kato.store import Committed, Compare, Op
from kato.store.engine import Engine, HeldLease
from kato.store.memory import MemoryStore

WRITER: ContextVar[object] = ContextVar("WRITER", default=None)
"""In whose name the store is written to, while it is; None where it acts by itself."""

When = Literal["before", "after"]


class SharedEngine(Engine):
    """The store in memory. Its own timers stop with none of its clients."""

    def _arm(self, lease: HeldLease) -> None:
        Context().run(super()._arm, lease)


class DistantStore(MemoryStore):
    """A client of the store. sign: what WRITER is while a write of now is committed. crash: ends its life."""

    def __init__(
        self, engine: SharedEngine, rng: random.Random, sign: Callable[[], object], crash: Callable[[], None]
    ) -> None:
        super().__init__(engine)
        self._rng = rng
        self._sign = sign
        self._crash = crash
        self._last: tuple[int, When] | None = None
        self._slow = (0.0, 0.0)
        self._parted = asyncio.Event()

    def crash_at(self, write: int, when: When) -> None:
        """Ends the life at its `write`-th write from now on, before or after it is committed."""
        self._last = (self.writes + write, when)

    def slow(self, seconds: float, most: float) -> None:
        """From now on, for so long, every way there and every way back takes up to `most` seconds."""
        self._slow = (asyncio.get_running_loop().time() + seconds, most)

    def mend(self) -> None:
        """No more faults but a cut."""
        self._last, self._slow = None, (0.0, 0.0)

    def cut(self) -> None:
        super().cut()
        self._parted.set()

    def heal(self) -> None:
        super().heal()
        self._parted.clear()

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        await self._turn()
        self.writes += bool(ops)
        await self._end_at("before")
        answer = await self._travel(compares, ops)
        await self._end_at("after")
        await self._turn()
        return answer

    async def _travel(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        """What is under way lands though its writer is cut off meanwhile, stops or ends."""
        context = Context()
        context.run(WRITER.set, self._sign())
        landing = self._land(compares, ops, self._delay())
        flight = asyncio.get_running_loop().create_task(landing, context=context)
        flight.add_done_callback(_heard)
        parted = asyncio.ensure_future(self._parted.wait())
        try:
            await asyncio.wait((flight, parted), return_when=asyncio.FIRST_COMPLETED)
        finally:
            parted.cancel()
        self._check()
        answer = await flight
        await asyncio.sleep(self._delay())
        return answer

    async def _land(self, compares: Sequence[Compare], ops: Sequence[Op], delay: float) -> Committed:
        await asyncio.sleep(delay)
        return await self.engine.txn(compares, ops)

    def _delay(self) -> float:
        until, most = self._slow
        return self._rng.uniform(0.0, most) if asyncio.get_running_loop().time() < until else 0.0

    async def _end_at(self, when: When) -> None:
        if self._last is not None and when == self._last[1] and self.writes >= self._last[0]:
            self._crash()
            await asyncio.get_running_loop().create_future()


def _heard(flight: asyncio.Task[Committed]) -> None:
    """Its writer may be gone; what became of it is nobody's then."""
    if not flight.cancelled():
        flight.exception()
