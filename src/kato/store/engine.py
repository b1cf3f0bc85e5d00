"""Verbs of the store port flow in; answers flow out once `persist` has made them durable, many with one write.

It is what `memory` and `local` share: order, leases on the loop's clock, and watches that read the history.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Self

from kato.model.errors import NotFound, StoreUnavailable
from kato.store import Committed, Compare, Delete, Events, Op, Put
from kato.store.ledger import Ledger
from kato.store.limits import check

Persist = Callable[[Sequence[Events]], Awaitable[None]]
Check = Callable[[], None]
"""Raises StoreUnavailable where a store is closed or cut off."""

SWEEP_AGAIN = 1.0
"""Seconds until the keys of an ended lease are removed anew, when the disk did not take it."""


class _Waiting(NamedTuple):
    answer: Committed
    events: Events | None
    told: asyncio.Future[Committed]


class Engine:
    """One store's state on one event loop. Without `persist` a revision is committed when it is decided.

    observers: called with each revision as it is committed, before anyone hears of it. They do not raise.
    """

    def __init__(self, ledger: Ledger | None = None, persist: Persist | None = None) -> None:
        self.ledger = ledger or Ledger()
        self.observers: list[Callable[[Events], None]] = []
        self._persist = persist
        self._waiting: list[_Waiting] = []
        self._flusher: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._lease_ids = itertools.count(1)
        self._leases: dict[int, asyncio.TimerHandle] = {}
        self._sweepers: set[asyncio.Task[None]] = set()

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        """As the port says. An answer never depends on a write that could still be lost."""
        check(compares, ops)
        done = self.ledger.holds(compares)
        if done:
            for op in ops:
                if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                    raise _over(op.lease)
        return await self._settle(done, self.ledger.stage(ops) if done else None)

    async def drop_leased(self, lease: int | None = None) -> None:
        """Removes the keys of one lease, or of all, in one revision."""
        await self._settle(True, self.ledger.stage(Delete(key) for key in self.ledger.leased(lease)))

    def grant(self, ttl: float, check: Check) -> "HeldLease":
        """A new lease of `ttl` seconds."""
        lease = HeldLease(self, next(self._lease_ids), ttl, check)
        self._arm(lease)
        return lease

    def renew(self, lease: "HeldLease") -> None:
        """Starts its seconds anew; NotFound where it is over."""
        self._take(lease.id)
        self._arm(lease)

    async def revoke(self, lease: "HeldLease") -> None:
        """Ends it now; NotFound where it is over."""
        self._take(lease.id)
        try:
            await self.drop_leased(lease.id)
        except StoreUnavailable:
            self._sweep(lease.id)
            raise

    async def news(self) -> None:
        """Returns at the next commit, or when `wake` is called."""
        await self._news.wait()

    def wake(self) -> None:
        """Makes every watch look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def close(self) -> None:
        """Finishes what is on its way. Leases end here; whoever opens the store next drops their keys."""
        for timer in self._leases.values():
            timer.cancel()
        self._leases.clear()
        for sweeper in self._sweepers:
            sweeper.cancel()
        if self._flusher:
            await self._flusher
        self.wake()

    async def _settle(self, done: bool, events: Events | None) -> Committed:
        answer = Committed(done, self.ledger.newest)
        if self._persist is None:
            if events:
                self._publish(events)
            return answer
        if events is None and self.ledger.newest == self.ledger.revision:
            return answer
        # A refusal waits too: it was decided on changes that are not durable yet.
        told: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(answer, events, told))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush(self._persist))
        return await told

    async def _flush(self, persist: Persist) -> None:
        """Group commit: whatever gathers while one write is on its way goes with the next."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await persist([waiting.events for waiting in batch if waiting.events])
            except Exception as error:  # whatever it was, those who wait must hear it
                self._fail([*batch, *self._waiting], error)
            else:
                for waiting in batch:
                    if waiting.events:
                        self._publish(waiting.events)
                    if not waiting.told.done():
                        waiting.told.set_result(waiting.answer)
        self._flusher = None

    def _fail(self, all: Sequence[_Waiting], error: Exception) -> None:
        self._waiting = []
        self.ledger.abandon()
        for waiting in all:
            if not waiting.told.done():
                waiting.told.set_exception(error)

    def _publish(self, events: Events) -> None:
        self.ledger.commit(events)
        for observe in self.observers:
            observe(events)
        self.wake()

    def _arm(self, lease: "HeldLease") -> None:
        loop = asyncio.get_running_loop()
        self._leases[lease.id] = loop.call_later(lease.ttl, self._expire, lease.id)

    def _take(self, lease: int) -> None:
        timer = self._leases.pop(lease, None)
        if timer is None:
            raise _over(lease)
        timer.cancel()

    def _expire(self, lease: int) -> None:
        del self._leases[lease]
        self._sweep(lease)

    def _sweep(self, lease: int) -> None:
        sweeper = asyncio.create_task(self._swept(lease))
        self._sweepers.add(sweeper)
        sweeper.add_done_callback(self._sweepers.discard)

    async def _swept(self, lease: int) -> None:
        while True:
            try:
                return await self.drop_leased(lease)
            except StoreUnavailable:
                await asyncio.sleep(SWEEP_AGAIN)


class HeldLease:
    """A lease on an engine. `check` says whether its holder still reaches the store."""

    def __init__(self, engine: Engine, id: int, ttl: float, check: Check) -> None:
        self.id = id
        self.ttl = ttl
        self._engine = engine
        self._check = check

    async def keep_alive(self) -> float:
        """Renews it; the seconds left. NotFound where it is over."""
        self._check()
        self._engine.renew(self)
        return self.ttl

    async def revoke(self) -> None:
        """Ends it and removes its keys. NotFound where it is over."""
        self._check()
        await self._engine.revoke(self)


class Watch:
    """What changes under a prefix, read from the history at the reader's own pace."""

    def __init__(self, engine: Engine, prefix: str, since: int, check: Check) -> None:
        self._engine = engine
        self._prefix = prefix
        self._at = since
        self._check = check

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Events:
        while True:
            self._check()
            while self._at < self._engine.ledger.revision:
                events = self._engine.ledger.events(self._at + 1)
                self._at += 1
                items = tuple(event for event in events.items if event.key.startswith(self._prefix))
                if items:
                    return Events(events.revision, items)
            await self._engine.news()


def _over(lease: int) -> NotFound:
    return NotFound(f"Lease {lease} is over. Ask for a new one.")
