"""The master: while it leads, it looks at the mirror, lets `plan` decide, and commits. It never acts on machines.

Links are served by `agents.Agents` and `borders.Borders`, whether this master leads or not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Set

import structlog

from kato.loop import Loop, Pass, Told
from kato.master.commit import Committer
from kato.master.leader import Term, elect, keep
from kato.master.told import told
from kato.model.action import Plan
from kato.model.errors import LeadershipLost
from kato.model.world import World
from kato.plan import Recall, decide
from kato.store import Store
from kato.store.mirror import Mirror

log = structlog.get_logger()

Decide = Callable[[World, float, Recall], Awaitable[Plan]]


async def decide_inline(world: World, now: float, recall: Recall) -> Plan:
    """Decides in the caller's own turn: for the simulation."""
    return decide(world, now, recall)


async def decide_in_thread(world: World, now: float, recall: Recall) -> Plan:
    """Decides beside the event loop, so that keeping the leader's lease never waits for it."""
    return await asyncio.to_thread(decide, world, now, recall)


class Master:
    """One master of a cell. clock: epoch seconds. dark: the nodes that are judged not to answer."""

    def __init__(
        self,
        *,
        store: Store,
        mirror: Mirror,
        id: str,
        address: str,
        clock: Callable[[], float],
        dark: Callable[[], Set[str]] = frozenset,
        decide: Decide = decide_in_thread,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._id = id
        self._address = address
        self._clock = clock
        self._dark = dark
        self._decide = decide

    async def run(self) -> None:
        """Waits to lead, leads, and waits again, until cancelled."""
        while True:
            term = await elect(self._store, self._mirror, self._id, self._address)
            log.info("this master leads", epoch=term.epoch)
            # In a task of its own, since a TaskGroup that fails just as it is cancelled swallows the cancellation.
            reign = asyncio.create_task(self._reign(term))
            try:
                await asyncio.wait((reign,))
            finally:
                reign.cancel()
                await asyncio.gather(reign, return_exceptions=True)
            try:
                reign.result()
            except* LeadershipLost as lost:
                log.warning("this master leads no more", why=str(lost.exceptions[0]))

    async def _reign(self, term: Term) -> None:
        committer = Committer(self._store, self._mirror, term.epoch)
        recall = Recall()

        async def step() -> Pass:
            return await self._step(committer, recall)

        loop = Loop("plan", step)
        async with asyncio.TaskGroup() as group:
            group.create_task(keep(term))
            group.create_task(self._wake(loop))
            group.create_task(loop.run())

    async def _step(self, committer: Committer, recall: Recall) -> Pass:
        world = self._mirror.world(dark=self._dark())
        now = self._clock()
        plan = await self._decide(world, now, recall)
        if plan.actions and not await committer.commit(plan, world, self._clock()):
            return Pass((Told("the world moved on; looking again"),), again_in=0)
        again_in = None if plan.wake_at is None else max(plan.wake_at - self._clock(), 0)
        return Pass(tuple(told(plan, world)), again_in)

    async def _wake(self, loop: Loop) -> None:
        while True:
            await self._mirror.reached(self._mirror.revision + 1)
            loop.wake()
