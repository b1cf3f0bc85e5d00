"""The border's other half: views of names flow in from the link, and the name server answers by the newest."""

import asyncio

from kato.border.listen import listen
from kato.drivers.dns import Answering
from kato.loop import Loop, Pass
from kato.model.link import NamesLink
from kato.model.names import Names


class NameServer:
    """One node's name server. It answers by its last view while the masters are gone."""

    def __init__(self, link: NamesLink, dns: Answering, node: str) -> None:
        self._link = link
        self._dns = dns
        self._node = node
        self._view: Names | None = None
        self._loop = Loop("names", self.step)

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._loop.run())

    async def step(self) -> Pass:
        """Hands the newest view to the driver."""
        if self._view is not None:
            await self._dns.apply(self._view)
        return Pass()

    async def _listen(self) -> None:
        async for view in listen(lambda: self._link.names(self._node)):
            self._view = view
            self._loop.wake()
