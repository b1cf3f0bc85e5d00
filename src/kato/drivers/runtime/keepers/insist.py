"""That a wish to stop is carried out: wishes with their grace flow in; keepers that were kept from it go on, or
are killed, once the grace is over.

A task that runs as its keeper's user can stop its keeper (SIGSTOP), which then ends nothing.
"""

import asyncio
import contextlib
import signal

from kato.drivers.runtime.keepers.keeper import urge
from kato.drivers.runtime.keepers.record import Record

OVERDUE = 3.0
"""Seconds past its grace after which it is asked why a task still runs."""
AGAIN = 1.0
"""Seconds until that is asked again."""


class Insistence:
    """One driver's. overdue: seconds past the grace."""

    def __init__(self, overdue: float) -> None:
        self._overdue = overdue
        self._due: dict[str, asyncio.TimerHandle] = {}

    def expect(self, record: Record, grace: float) -> None:
        """Expects that a task ends within `grace` seconds; an earlier wish that is due sooner stands."""
        loop, waiting = asyncio.get_running_loop(), self._due.get(record.task)
        seconds = grace + self._overdue
        if waiting is not None and waiting.when() <= loop.time() + seconds:
            return
        self.forget(record.task)
        self._due[record.task] = loop.call_later(seconds, self._ask, record, signal.SIGCONT)

    def forget(self, task: str) -> None:
        """Expects nothing of a task any more."""
        if waiting := self._due.pop(task, None):
            waiting.cancel()

    def close(self) -> None:
        """Expects nothing of any task. The keepers' own deadlines stand."""
        for task in tuple(self._due):
            self.forget(task)

    def _ask(self, record: Record, wish: signal.Signals) -> None:
        """A stopped keeper goes on; one that was stopped again is killed, and nobody knows its task's end."""
        with contextlib.suppress(OSError):  # no descriptors: asked again
            if not record.locked():
                self._due.pop(record.task, None)
                return
            if urge(record, wish):
                wish = signal.SIGKILL
        self._due[record.task] = asyncio.get_running_loop().call_later(AGAIN, self._ask, record, wish)
