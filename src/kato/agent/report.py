"""Statuses to the master: each change of each task flows in; batches of the newest flow out, until committed."""

import asyncio
from collections.abc import Iterable

import structlog

from kato.model.errors import Unavailable
from kato.model.link import AgentLink
from kato.model.task import Status

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

log = structlog.get_logger()


class Reporter:
    """Never makes a worker wait. While a report is under way, newer statuses of a task replace older ones."""

    def __init__(self, link: AgentLink) -> None:
        self._link = link
        self._due: dict[str, Status] = {}
        self._woken = asyncio.Event()

    def say(self, *statuses: Status) -> None:
        """Takes statuses to report."""
        for status in statuses:
            self._due[status.task] = status
        self._woken.set()

    async def run(self) -> None:
        """Reports until cancelled; what could not be handed over is said again, later."""
        pause = SHORTEST_PAUSE
        while True:
            await self._woken.wait()
            self._woken.clear()
            batch, self._due = tuple(self._due.values()), {}
            try:
                await self._link.report(batch)
                pause = SHORTEST_PAUSE
            except (Unavailable, OSError) as error:
                log.warning("statuses are kept until a master takes them", count=len(batch), why=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                self._again(batch)

    def _again(self, batch: Iterable[Status]) -> None:
        for status in batch:
            self._due.setdefault(status.task, status)
        self._woken.set()
