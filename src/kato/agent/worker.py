"""One task's worker: what is wished for it and what becomes of it flow in; moves go to its runtime, statuses flow
out. Everything about one task is serial here, and different tasks do not wait for each other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import structlog

from kato.agent.checks import CheckedTask, Probe, watch_health, watch_readiness
from kato.agent.edge import Edge
from kato.agent.journal import Journal
from kato.agent.step import Look, Move, news, step
from kato.agent.told import told
from kato.drivers.runtime import Found, Launch, Runtime
from kato.model.app import App
from kato.model.errors import DriverError, DriverMissing
from kato.model.link import Assignment
from kato.model.secret import unfit
from kato.model.task import Health, Response, Status, TaskState

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a move that its runtime could not do is tried again; doubled each time it fails in a row."""
ORPHAN_GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL for a task of which no app is known (Mesos' default)."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Context:
    """What all workers of an agent share. say: takes a status to report. address: where host ports are reached."""

    say: Callable[[Status], None]
    journal: Journal
    probe: Probe
    clock: Callable[[], float]
    address: str


class Worker:
    """Takes one task from its first assignment, or its adoption, to the removal of its record.

    runtime: None where this node has none of the kind that the app needs.
    """

    def __init__(
        self,
        task: str,
        *,
        runtime: Runtime | None,
        context: Context,
        wish: Assignment | None,
        found: Found | None = None,
    ) -> None:
        self.task = task
        self.runtime = runtime
        self.wish = wish
        self._app = wish.app if wish else None
        self.status: Status | None = None
        self._context = context
        self._edge = Edge(task)
        self._found = found
        self._adopted = found is not None
        self._error: DriverError | None = None
        self._asked = False
        self._pause = SHORTEST_PAUSE
        self._grace = ORPHAN_GRACE
        self._health: tuple[Health, ...] = ()
        self._ready = False
        self._responses: tuple[Response, ...] = ()
        self._unheard: set[int | str] = set()
        self._changed = asyncio.Event()
        self._group: asyncio.TaskGroup
        self._watches: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """Its first process, while it runs."""
        return self._found.pid if self._found is not None and self._found.exit is None else None

    @property
    def holds(self) -> tuple[App, ...]:
        """The app that it runs, or is about to run; none where that has ended, or nobody knows which it was."""
        over = self.status is not None and self.status.state.ended
        return () if self._app is None or over else (self._app,)

    def assign(self, wish: Assignment | None) -> None:
        """Hands over what is wished now; None once a newer complete list is without this task."""
        if wish is not self.wish:
            self.wish = wish
            self._app = wish.app if wish else self._app
            self._changed.set()

    async def run(self) -> None:
        """Returns when the task is gone and its record removed. Cancelled, it leaves the task running."""
        moves: dict[Move, Callable[[], Awaitable[None]]] = {
            Move.START: self._start,
            Move.WAIT: self._wait,
            Move.STOP: self._stop,
            Move.REMOVE: self._remove,
        }
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._watch()
            while True:
                self._bind()
                self._changed.clear()
                now = step(self._look(), self._context.clock())
                self._report(now.status)
                if now.move is Move.LEAVE:
                    break
                await moves[now.move]()
            self._end_checks()

    def _bind(self) -> None:
        """What is logged from here on, here and below, is about this task."""
        about = {"app": self.wish.task.app, "node": self.wish.task.node} if self.wish else {}
        structlog.contextvars.bind_contextvars(task=self.task, **about)

    # -- looking --------------------------------------------------------------------------------------------

    def _look(self) -> Look:
        if self.wish is not None:
            self._grace = self.wish.app.kill_grace
        return Look(
            wish=self.wish,
            found=self._found,
            error=self._error,
            status=self.status,
            asked=self._asked,
            health=self._health,
            ready=self._ready,
            responses=self._responses,
        )

    def _report(self, status: Status | None) -> None:
        """Says what is new. That an adopted task runs is said only with a first result of every check, so that
        its public health does not flap when an agent starts again.
        """
        if status is None or not news(self.status, status):
            return
        if status.state is TaskState.RUNNING and self._adopted and self._unheard:
            return
        for sentence in told(self.status, status):
            log.info(sentence)
        self.status = msgspec.structs.replace(status, seq=self._context.journal.next_seq())
        self._context.say(self.status)

    # -- moves ----------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        assert self.wish is not None
        try:
            if self.runtime is None:
                raise DriverMissing(f"This node has no runtime {self.wish.app.runtime!r}.")
            wish = self.wish
            if words := unfit(wish.app, wish.secrets):
                raise DriverError(words)
            launch = Launch(
                task=self.task, app=wish.app, env=wish.env, ports=wish.task.ports, secrets=wish.secrets
            )
            with self._edge.guard():
                self._found = await self.runtime.start(launch)
        except DriverError as error:
            log.warning("a task could not be started", why=str(error))
            self._error = error
            return
        self._watch()

    async def _wait(self) -> None:
        await self._changed.wait()

    async def _stop(self) -> None:
        assert self.runtime is not None
        self._end_checks()
        try:
            with self._edge.guard():
                await self.runtime.stop(self.task, self._grace)
            self._asked = True
            self._pause = SHORTEST_PAUSE
        except DriverError as error:
            await self._back_off(error)

    async def _remove(self) -> None:
        self._end_checks()
        try:
            if self.runtime is not None:
                with self._edge.guard():
                    await self.runtime.remove(self.task)
            self._found = self._error = None
        except DriverError as error:
            await self._back_off(error)

    async def _back_off(self, error: DriverError) -> None:
        """A runtime's trouble is its own: said, waited for, and then the step decides what to try again."""
        log.warning("a runtime failed; trying again", why=str(error), again_in=self._pause)
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    # -- watching -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Waits for the end of a running task, and checks it where there is a wish to check it by."""
        if self._found is None or self._found.exit is not None or self.runtime is None:
            return
        self._group.create_task(self._hear_exit(self.runtime, self._found))
        if self.wish is None or self.wish.task.goal == "stop":
            return
        started, now = self._found.started, self._context.clock()
        age = max(0.0, now - (self.wish.task.created if started is None else started))
        task = CheckedTask(
            wish=_checked(self.wish, self._found),
            runtime=self.runtime,
            address=self._context.address,
            born=asyncio.get_running_loop().time() - age,
            adopted=self._adopted,
            probe=self._context.probe,
            clock=self._context.clock,
            edge=self._edge,
            pid=self._found.pid,
        )
        self._begin_checks(task)

    def _begin_checks(self, task: CheckedTask) -> None:
        checks = range(len(task.app.health_checks))
        self._health = tuple(Health() for _ in checks)
        self._ready = self._context.journal.was_ready(self.task)
        self._unheard = set(checks)
        self._watches = [self._group.create_task(watch_health(task, n, self._hear_health)) for n in checks]
        if task.app.readiness_checks and not self._ready:
            self._unheard.add("ready")
            watch = watch_readiness(task, self._latch, self._hear_readiness)
            self._watches.append(self._group.create_task(watch))

    async def _hear_exit(self, runtime: Runtime, found: Found) -> None:
        pause = SHORTEST_PAUSE  # its own, so that a stop need not wait as long
        while True:
            try:
                with self._edge.guard():
                    exit = await runtime.wait(self.task)
                break
            except DriverError as error:
                log.warning("a task's end is not watched now", why=str(error), again_in=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        self._found = msgspec.structs.replace(found, exit=exit)
        self._end_checks()
        self._changed.set()

    def _hear_health(self, index: int, health: Health) -> None:
        self._health = (*self._health[:index], health, *self._health[index + 1 :])
        self._heard(index)

    def _hear_readiness(self, responses: tuple[Response, ...]) -> None:
        self._responses = responses
        self._heard("ready")

    def _heard(self, what: int | str) -> None:
        self._unheard.discard(what)
        self._changed.set()

    async def _latch(self) -> bool:
        """Whether readiness is latched. What is not durable is not said: the next agent would take it back."""
        try:
            await self._context.journal.latch(self.task)
        except OSError as error:
            log.warning("readiness is not kept yet; trying again", why=str(error))
            return False
        self._ready = True
        return True

    def _end_checks(self) -> None:
        """Ends the checks; a task that ends or is being stopped is not asked how it is."""
        for watch in self._watches:
            watch.cancel()
        self._watches = []


def _checked(wish: Assignment, found: Found) -> Assignment:
    """`wish` with the check of the task's image, where its app has none."""
    if found.check is None or wish.app.health_checks:
        return wish
    return msgspec.structs.replace(wish, app=msgspec.structs.replace(wish.app, health_checks=(found.check,)))
