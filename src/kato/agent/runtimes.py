"""The runtimes of one node: drivers flow in; those that have told which tasks they run flow out, one by one, and
what keeps the others. An engine that is not there yet, or not now, holds up no other.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import msgspec
import structlog

from kato.agent.edge import Edge
from kato.drivers.runtime import Carried, Found, Runtime
from kato.model.errors import DriverError, DriverMissing
from kato.model.node import Node

SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
PATIENCE = 1.0
"""Seconds that a node's first words wait for its runtimes."""

Hear = Callable[[Runtime, Mapping[str, Found]], None]

log = structlog.get_logger()


class Runtimes:
    """Meets each runtime once. There is no starting a task before: what is not known would be started again."""

    def __init__(self, known: Mapping[str, Runtime]) -> None:
        self._known = known
        self._met: dict[str, Runtime] = {}
        self._missing: dict[str, str] = {}

    def __getitem__(self, name: str) -> Runtime | None:
        """The runtime of that name once it is met."""
        return self._met.get(name)

    @property
    def all(self) -> tuple[Runtime, ...]:
        """Every one, met or not: what a task once wrote can be read all the same."""
        return tuple(self._known.values())

    def waits_for(self, name: str) -> bool:
        """Whether a task of runtime `name` has to wait until it is met."""
        return name in self._known and name not in self._met

    def facts(self, node: Node) -> Node:
        """`node` with what the runtimes that work can do and cannot, and why the others do not, those too whose
        engine has fallen silent: sentences behind the name of the runtime that they are about.
        """
        silent = {
            name: f"Its engine is silent: {words}"
            for name, runtime in self._met.items()
            if isinstance(runtime, Carried) and (words := runtime.silence) is not None
        }
        works = {name: runtime for name, runtime in self._met.items() if name not in silent}
        return msgspec.structs.replace(
            node,
            runtimes=tuple(works),
            powers=tuple(sorted({power for runtime in works.values() for power in runtime.powers})),
            notes=(
                *(f"{name}: {note}" for name, runtime in works.items() for note in runtime.notes),
                *(f"{name}: {why}" for name, why in {**self._missing, **silent}.items()),
            ),
        )

    async def meet(self, group: asyncio.TaskGroup, hear: Hear) -> None:
        """Begins to meet them all, each in its own time; returns when each has answered once, whatever that was,
        or patience is over.
        """
        answered = {name: asyncio.Event() for name in self._known}
        for name, event in answered.items():
            group.create_task(self._meet(name, hear, event.set))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for event in answered.values():
                    await event.wait()
        for name in self._known.keys() - self._met.keys() - self._missing.keys():
            why = f"It has not told within {PATIENCE:g} s what it runs. Until then its tasks are left alone."
            log.warning("a runtime does not answer yet", runtime=name, why=why)
            self._missing[name] = why

    async def _meet(self, name: str, hear: Hear, answered: Callable[[], None]) -> None:
        runtime, pause, edge = self._known[name], SHORTEST_PAUSE, Edge(name)
        while name not in self._met:
            try:
                with edge.guard():
                    found = await runtime.found()
                self._missing.pop(name, None)
                self._met[name] = runtime
                hear(runtime, found)
                answered()
            except DriverError as error:
                if self._missing.get(name) != str(error):
                    level = log.info if isinstance(error, DriverMissing) else log.warning
                    level("a runtime cannot be used yet; asking again", runtime=name, why=str(error))
                self._missing[name] = str(error)
                answered()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
