"""The ends of containers: the engine's events flow in, the Exit of each one that somebody waits for flows out; and
whether the engine answers at all.

One connection serves all tasks. When it breaks, every container that is waited for is looked at again, so that no
end is missed. An engine that is silent says nothing of ends: whether its containers go on, the kernel knows.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from kato.drivers.runtime import Exit
from kato.drivers.runtime.docker.engine import NOT_FOUND, Engine, Rejected, lines
from kato.model.errors import DriverError

PAUSE = 0.5
"""Seconds before an engine that does not answer is asked again."""

GRACE = 3.0
"""Seconds that a container whose processes are gone may wait for its engine to say how it ended."""

OVERLAP = 5
"""Seconds of events that are heard again with a new connection: an engine answers before it begins to listen."""

WENT = "Its engine went away, and it with it."

log = structlog.get_logger()


class Ends:
    """Watches the containers that `filters` lets through; the first who waits begins it."""

    def __init__(self, engine: Engine, filters: str, exit: Callable[[Mapping[str, Any]], Exit]) -> None:
        """exit: from the description of an ended container to how it ended."""
        self._engine = engine
        self._filters = filters
        self._exit = exit
        self._clock = time.time
        self._first: dict[str, tuple[int, str]] = {}
        self._gone: dict[str, float] = {}
        self.silence: str | None = None
        self.changed: Callable[[], None] = lambda: None
        self._awaited: dict[str, asyncio.Future[Exit]] = {}
        self._watch: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begins to listen."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._run())

    def know(self, name: str, pid: int, id: str) -> None:
        """The first process of a container that runs, where it can be seen: an engine may run elsewhere."""
        if not _gone(pid, id):
            self._first[name] = (pid, id)

    def first(self, name: str) -> tuple[int, str] | None:
        """The first process of a container, and the container's id; None where that cannot be seen."""
        return self._first.get(name)

    def expect(self, name: str) -> None:
        """Before a container is started: its end is heard, and need not be asked for."""
        self.begin()
        if name not in self._awaited:
            self._awaited[name] = asyncio.get_running_loop().create_future()

    async def of(self, name: str) -> Exit:
        """How the container `name` ended, once it has. DriverError where there is none."""
        if name not in self._awaited:
            self.expect(name)
            await self._look(name)
        if (end := self._awaited.get(name)) is None:
            raise DriverError(f"docker: there is no container {name} here.")
        return await asyncio.shield(end)

    def forget(self, name: str) -> None:
        """After a container's removal."""
        self._first.pop(name, None)
        self._gone.pop(name, None)
        if (end := self._awaited.pop(name, None)) is not None:
            end.cancel()

    async def close(self) -> None:
        """Those who wait are cancelled."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for name in [*self._awaited]:
            self.forget(name)

    async def _look(self, name: str) -> None:
        """Asks how a container is that someone waits for, and tells them where it has ended."""
        try:
            about = await self._engine.ask("GET", f"/containers/{name}/json")
        except Rejected as error:
            if error.status != NOT_FOUND:
                raise
            about = None
        end = self._awaited.get(name)
        if end is None or end.done():
            return
        if about is None:
            self.forget(name)
        elif about["State"]["Status"] in ("exited", "dead"):
            end.set_result(self._exit(about))

    async def _look_at_all(self) -> None:
        for name in [name for name, end in self._awaited.items() if not end.done()]:
            await self._look(name)

    async def _heard(self, line: bytes | None) -> None:
        """An event; one that is too long to be kept is of nobody knows whom."""
        if line is None:
            await self._look_at_all()
        else:
            await self._look(msgspec.json.decode(line)["Actor"]["Attributes"]["name"])

    async def _run(self) -> None:
        """Looks at an event's container; with every new connection at all, and events begin a little before."""
        while True:
            try:
                query: dict[str, str | int] = {"filters": self._filters, "since": int(self._clock()) - OVERLAP}
                async with self._engine.open("GET", "/events", query=query) as events:
                    self._tell(None)
                    self._gone.clear()
                    await self._look_at_all()
                    async with contextlib.aclosing(lines(events)) as told:
                        async for line in told:
                            await self._heard(line)
            except DriverError as error:
                if self.silence is not None:  # for a pause already: whoever places tasks has heard it by now
                    self._end_those_gone()
                self._tell(str(error))
            except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:  # it is no event
                log.warning("the ends of containers are not heard", why=repr(error), again_in=PAUSE)
            await asyncio.sleep(PAUSE)

    def _tell(self, silence: str | None) -> None:
        """Says it where it is new whether the engine answers."""
        if (before := self.silence) == silence:
            return
        self.silence = silence
        if silence is None or before is None:
            log.warning("the engine answers again" if silence is None else "the engine is silent", why=silence)
        self.changed()

    def _end_those_gone(self) -> None:
        """The engine is silent, and these of its containers do not go on without it. One that starts again is
        given a moment to tell how they ended."""
        now = asyncio.get_running_loop().time()
        for name, (pid, id) in [*self._first.items()]:
            end = self._awaited.get(name)
            if end is None or end.done() or not _gone(pid, id):
                self._gone.pop(name, None)
            elif now - self._gone.setdefault(name, now) >= GRACE:
                end.set_result(Exit(ended=self._clock(), message=WENT, rebooted=True))


def _gone(pid: int, id: str) -> bool:
    """Whether a process is none any more of the container with that id: its cgroup is called by it."""
    try:
        with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as cgroup:
            return id.encode() not in cgroup.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
