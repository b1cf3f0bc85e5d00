"""Containers that are to end: a wish with its grace flows in, what the engine is asked flows out, again and again
where it is silent.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from kato.drivers.runtime.docker.engine import ANSWER, CONFLICT, NOT_FOUND, Engine, unless
from kato.model.errors import DriverError

AGAIN, LONGEST_AGAIN = 0.5, 5.0
"""Seconds until an engine that did not stop a container is asked again: twice as long each time."""

log = structlog.get_logger()


class Stops:
    """Of one node's containers, by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asking: dict[str, set[asyncio.Task[None]]] = {}

    def ask(self, name: str, grace: float) -> None:
        """Asks the engine, which goes on though the cell dies. It counts whole seconds; the exact one is ours."""
        path, whole = f"/containers/{name}", math.ceil(grace)
        stop = partial(self._engine.ask, "POST", f"{path}/stop", within=whole + ANSWER, t=whole)
        kill = partial(self._engine.ask, "POST", f"{path}/kill")
        for delay, act in ((0.0, stop), (grace, kill)):
            asking = asyncio.create_task(_until_heard(name, delay, act))
            group = self._asking.setdefault(name, set())
            group.add(asking)
            asking.add_done_callback(group.discard)

    def forget(self, name: str) -> None:
        """It has ended."""
        for asking in self._asking.pop(name, set()):
            asking.cancel()

    async def close(self) -> None:
        """What the engine has heard goes on."""
        asking = [each for some in self._asking.values() for each in some]
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def _until_heard(name: str, delay: float, act: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.sleep(delay)
    pause = AGAIN
    while True:
        try:
            with unless(NOT_FOUND, CONFLICT):  # it has ended, or nobody knows it
                await act()
            return
        except DriverError as error:
            log.warning("a container was not stopped", container=name, why=str(error), again_in=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_AGAIN)
