"""The border role: views of frontends flow in from the link, what the balancer made of them flows back.

It keeps its last view while the masters are gone, applies only the newest of several, and looks again, soon and
then less often, while a server that drains still has sessions.
"""

import asyncio

import msgspec
import structlog

from kato.border.listen import listen
from kato.drivers.balancer import Balancer, Supervised
from kato.loop import Loop, Pass
from kato.model.errors import DriverError
from kato.model.frontend import BorderAck, Frontends, shape_of
from kato.model.link import BorderLink

SOON, LATE = 0.05, 0.25
"""Seconds between two looks at draining sessions: at first, and at most."""
GATHERS = 0.1
"""Seconds for which changes are gathered at most where they come one after the other, as in a start of many."""

log = structlog.get_logger()


class Border:
    """One node's border. Time comes from the running loop alone."""

    def __init__(self, link: BorderLink, balancer: Balancer, node: str) -> None:
        self._link = link
        self._balancer = balancer
        self._node = node
        self._view: Frontends | None = None
        self._applied = BorderAck(node=node, seq=-1)
        self._said: BorderAck | None = None
        self._shape: tuple[Frontends | None, str] = (None, "")
        self._rest = SOON
        self._loop = Loop("border", self.step, GATHERS)

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._loop.run())
            if isinstance(self._balancer, Supervised):
                group.create_task(self._supervise(self._balancer))

    async def step(self) -> Pass:
        """Applies the newest view, and says what is true now if that is news to the masters."""
        if self._view is None:
            return Pass()
        view = self._view
        if self._shape[0] is not view:
            self._shape = view, shape_of(view.services)
        try:
            ack = await self._balancer.apply(view)
        except DriverError as error:
            await self._say(msgspec.structs.replace(self._applied, problems=(str(error),), shape=self._shape[1]))
            raise
        ack = msgspec.structs.replace(ack, shape=self._shape[1])
        fresh = ack.seq != self._applied.seq
        self._applied = ack
        await self._say(ack)
        self._rest = SOON if fresh else min(self._rest * 1.25, LATE)
        return Pass(again_in=self._rest if any(ack.sessions.values()) else None)

    async def _say(self, ack: BorderAck) -> None:
        """Acknowledges, unless only the number of sessions is another: no plan waits for anything but none."""
        if self._said is None or _meaning(ack) != _meaning(self._said):
            for problem in ack.problems:
                if self._said is None or problem not in self._said.problems:
                    log.warning("not all is served", problem=problem)
            await self._link.acknowledge(ack)
            self._said = ack

    async def _listen(self) -> None:
        """Keeps the newest view, and dials again when the link breaks."""
        async for view in listen(lambda: self._link.frontends(self._node)):
            self._view = view
            self._loop.wake()

    async def _supervise(self, balancer: Supervised) -> None:
        """Passes on that the balancer itself wants to be looked at."""
        while True:
            await balancer.due()
            self._loop.wake()


def _meaning(ack: BorderAck) -> BorderAck:
    """An acknowledgement with its counts of sessions cut to none or some."""
    return msgspec.structs.replace(ack, sessions={task: int(open > 0) for task, open in ack.sessions.items()})
