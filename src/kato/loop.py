"""The one loop: something changed or its time came; look, decide, act; say what was done; back off when it fails.

It knows no room. A pass is a coroutine function that returns a `Pass`; whoever wants another calls `wake`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog

from kato.model.errors import KatoError, LeadershipLost

SHORTEST_REST, LONGEST_REST = 0.02, 1.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

log = structlog.get_logger()


class Told(msgspec.Struct, frozen=True):
    """One thing that was done, as a sentence, and the ids that it is about."""

    sentence: str
    ids: Mapping[str, str] = {}


class Pass(msgspec.Struct, frozen=True):
    """What one pass did (nothing, where nothing is told), and in how many seconds it wants to be called again."""

    told: tuple[Told, ...] = ()
    again_in: float | None = None


class Backoff:
    """Seconds to pause after failures in a row: 0.1, then twice as long each time, at most 5."""

    def __init__(self) -> None:
        self._next = SHORTEST_PAUSE

    def longer(self) -> float:
        """The pause after one more failure."""
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
        return pause

    def reset(self) -> None:
        """After a success."""
        self._next = SHORTEST_PAUSE


class Loop:
    """Calls `step` when woken or when it asked to be, and never twice at once.

    The first wake is acted on at once. In a burst it rests between passes for as long as the last one took, at
    least 20 ms and at most 1 s, so that it never takes more than half of a core and events gather meanwhile.
    gathers: seconds to which the least rest grows in a long burst, twice as long each time.
    """

    def __init__(self, name: str, step: Callable[[], Awaitable[Pass]], gathers: float = SHORTEST_REST) -> None:
        self.name = name
        self._step = step
        self._gathers = gathers
        self._least = SHORTEST_REST
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Asks for another pass, soon."""
        self._woken.set()

    async def run(self) -> None:
        """Runs until cancelled. LeadershipLost ends it; every other error is logged, and tried again later."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff()
        while True:
            self._woken.clear()
            began = clock()
            try:
                done = await self._step()
            except LeadershipLost:
                raise
            except Exception as error:
                pause = backoff.longer()
                self._complain(error, pause)
                await asyncio.sleep(pause)
                continue
            backoff.reset()
            for each in done.told:
                log.info(each.sentence, loop=self.name, **each.ids)
            took = clock() - began
            await self._rest_until_woken(took, done.again_in)

    async def _rest_until_woken(self, took: float, again_in: float | None) -> None:
        await asyncio.sleep(min(max(took, self._least), LONGEST_REST))
        self._least = min(2 * self._least, self._gathers) if self._woken.is_set() else SHORTEST_REST
        try:
            async with asyncio.timeout(again_in if again_in is None else max(again_in, 0)):
                await self._woken.wait()
        except TimeoutError:
            return

    def _complain(self, error: Exception, again_in: float) -> None:
        if isinstance(error, KatoError):
            log.warning(str(error), loop=self.name, again_in=again_in)
        else:
            log.exception("a pass failed", loop=self.name, again_in=again_in)
