"""Verbs of the store port flow in; answers flow out of memory, on asyncio alone, so also on a clock that jumps.

Several stores may share one Engine, as nodes share one etcd. Each can be cut off, and each can fail at a write.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from kato.model.errors import StoreUnavailable
from kato.store import Committed, Compare, KeyValue, Op, Range
from kato.store.engine import Engine, HeldLease, Watch


class Faults(Protocol):
    """What can befall the writes of one store, by their number from 1 on.

    Both may wait, which is latency, or raise: StoreUnavailable is an unknown outcome.
    """

    async def before(self, write: int) -> None:
        """Nothing is written yet."""
        ...

    async def after(self, write: int) -> None:
        """It is committed, and its writer has not heard of it."""
        ...


@dataclass(frozen=True)
class FailAt:
    """Faults that lose one write, or the answer to it."""

    write: int
    when: Literal["before", "after"]

    async def before(self, write: int) -> None:
        if self.when == "before" and write == self.write:
            raise StoreUnavailable(f"Write {write} was lost on its way to the store.")

    async def after(self, write: int) -> None:
        if self.when == "after" and write == self.write:
            raise StoreUnavailable(f"The answer to write {write} was lost on its way from the store.")


class MemoryStore:
    """One client of a store in memory. Its verbs give way to other tasks, as those of a real store do."""

    exclusive = False

    def __init__(self, engine: Engine | None = None, faults: Faults | None = None) -> None:
        self.engine = engine or Engine()
        self.faults = faults
        self.writes = 0
        self._lost = ""

    @classmethod
    async def open(cls, address: str) -> Self:
        """A store of its own, which goes with the process. There is nothing to name in `address`."""
        return cls()

    async def get(self, key: str) -> KeyValue | None:
        await self._turn()
        return self.engine.ledger.get(key)

    async def range(self, prefix: str) -> Range:
        await self._turn()
        return self.engine.ledger.range(prefix)

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        await self._turn()
        self.writes += bool(ops)
        write, faults = self.writes, self.faults if ops else None
        if faults:
            await faults.before(write)
            self._check()
        answer = await self.engine.txn(compares, ops)
        if faults:
            await faults.after(write)
        await self._turn()
        return answer

    async def lease(self, ttl: float) -> HeldLease:
        await self._turn()
        return self.engine.grant(ttl, self._check)

    async def room(self, *, urgent: bool) -> bool:
        await self._turn()
        return True

    def watch(self, prefix: str, since: int) -> Watch:
        return Watch(self.engine, prefix, since, self._check)

    def cut(self) -> None:
        """Nothing reaches the store from here on, and no answer comes back; its leases run out by time."""
        self._lost = "The store is cut off. It will be tried again."
        self.engine.wake()

    def heal(self) -> None:
        """Undoes `cut`."""
        self._lost = ""

    async def close(self) -> None:
        """Lets go. What others share goes on."""
        self._lost = "The store is closed."
        self.engine.wake()

    async def _turn(self) -> None:
        self._check()
        await asyncio.sleep(0)
        self._check()

    def _check(self) -> None:
        if self._lost:
            raise StoreUnavailable(self._lost)
