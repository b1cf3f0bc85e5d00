"""The agent of one node: a link's assignments and the runtimes' tasks flow in; statuses and facts flow out.

It looks (what is wished, what the runtimes know), decides (`step`) and acts (one worker a task). It never opens
the store. Tasks outlive it: when it ends they go on, and the next agent adopts them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from kato.agent.checks import Probe
from kato.agent.images import Images
from kato.agent.journal import Journal
from kato.agent.report import Reporter
from kato.agent.runtimes import Runtimes
from kato.agent.volumes import remove, sizes, there
from kato.agent.worker import Context, Worker
from kato.drivers.runtime import Carried, Exec, Found, Holds, Pulls, Runtime, Stats
from kato.model.conversation import Command, Said, Typing
from kato.model.errors import Conflict, DriverError, DriverMissing, NotFound, Unavailable
from kato.model.link import AgentLink, Assignment, Assignments, Output, Pull, Reached, RemovedTask, Sample, Used
from kato.model.node import Node
from kato.model.task import Status
from kato.model.volume import NamedVolume, named_volumes

SURVEY_EVERY = 5.0
"""Seconds between two looks at the facts of the machine."""
SHORTEST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

log = structlog.get_logger()


class Agent:
    """Looks after the tasks of one node.

    node: the first facts. facts: the facts as they are now; asked every 5 s, and sent when they changed. `taken`
    of both may name ports of our own, which the agent leaves out. runtimes: by name. clock: epoch seconds.
    folder: where it keeps its journal, and runtimes their volumes, over restarts; None for nowhere.
    hear: told of each status, too.
    """

    def __init__(
        self,
        *,
        node: Node,
        link: AgentLink,
        runtimes: Mapping[str, Runtime],
        facts: Callable[[], Node],
        probe: Probe,
        clock: Callable[[], float],
        folder: Path | None = None,
        hear: Callable[[Status], None] = lambda status: None,
    ) -> None:
        self._node = node
        self._link = link
        self._runtimes = Runtimes(runtimes)
        self._news = asyncio.Event()
        self._images = Images(self._runtimes, self._news.set)
        self._facts = facts
        self._volumes = folder / "volumes" if folder else None
        self._at_volumes = asyncio.Lock()
        self._journal = Journal(folder, clock())
        self._reporter = Reporter(link)
        self._hear = hear
        self._context = Context(self._say, self._journal, probe, clock, node.address)
        self._workers: dict[str, Worker] = {}
        self._adopted: dict[str, tuple[Runtime, Found]] = {}
        self._wishes: Mapping[str, Assignment] | None = None
        self._ours: set[int] = set()
        self._group: asyncio.TaskGroup

    async def run(self) -> None:
        """Runs until cancelled; its tasks go on. An error of its own that nobody expected ends it, loudly."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._runtimes.meet(group, self._adopt)
            self._node = self._runtimes.facts(self._node)
            group.create_task(self._reporter.run())
            group.create_task(self._survey())
            await self._follow()

    def _say(self, status: Status) -> None:
        self._reporter.say(status)
        self._hear(status)

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        """A task's output, from the runtime that knows it (AgentCalls). NotFound where none does."""
        for runtime in self._knowing(task):
            try:
                async for piece in runtime.output(task, stream, tail=tail, follow=follow, since=since):
                    yield piece
                return
            except NotFound:
                continue
        raise NotFound(f"Node {self._node.id} has no output of a task {task!r}.")

    async def kept(self) -> Sequence[RemovedTask]:
        """The tasks that have gone and whose output is kept (AgentCalls)."""
        return [each for runtime in self._runtimes.all for each in await runtime.kept()]

    async def pulls(self) -> Sequence[Pull]:
        """The images that its runtimes bring just now (AgentCalls)."""
        return [
            each for runtime in self._runtimes.all if isinstance(runtime, Pulls) for each in await runtime.pulls()
        ]

    async def stats(self) -> Sequence[Sample]:
        """What the tasks here use now (AgentCalls); nothing of those whose runtime cannot tell."""
        pids: dict[str, dict[str, int]] = {}
        for worker in self._workers.values():
            if worker.runtime is not None and worker.pid is not None:
                pids.setdefault(worker.runtime.name, {})[worker.task] = worker.pid
        found: dict[str, Used] = {}
        at = time.monotonic()
        for runtime in self._runtimes.all:
            if isinstance(runtime, Stats) and (asked := pids.get(runtime.name)):
                try:
                    found |= await runtime.stats(asked)
                except DriverError as error:
                    log.warning("what tasks use is not told", runtime=runtime.name, why=str(error))
        return [Sample(at, found)]

    async def volumes(self) -> Sequence[NamedVolume]:
        """The named volumes of this node (AgentCalls)."""
        async with self._at_volumes:  # the cell has few threads, and each look may take one for minutes
            found = await asyncio.to_thread(sizes, self._volumes) if self._volumes else ()
        return [NamedVolume(self._node.id, name, size) for name, size in found]

    async def remove_volume(self, name: str) -> None:
        """Removes one with all that is in it (AgentCalls). NotFound, Conflict where a task or an engine has it."""
        async with self._at_volumes:
            if using := [each.task for each in self._workers.values() if name in named_volumes(each.holds)]:
                raise Conflict(f"The volume {name} is in use by {', '.join(sorted(using))}. See: kato ps")
            if self._volumes is None:
                raise NotFound(f"There is no volume {name}.")
            await asyncio.to_thread(there, self._volumes, name)
            for runtime in self._runtimes.all:
                if isinstance(runtime, Holds):
                    with contextlib.suppress(DriverMissing):  # no engine has it
                        await runtime.let_go(name)
            await asyncio.to_thread(remove, self._volumes, name)

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command beside a task (AgentCalls). NotFound where it is none of this node's."""
        worker = self._workers.get(task)
        if worker is None or worker.runtime is None:
            raise NotFound(f"Node {self._node.id} has no task {task!r}.")
        runtime = worker.runtime
        if not isinstance(runtime, Exec):
            raise DriverError(f"The runtime {runtime.name} can run no command beside a task.")
        async with contextlib.aclosing(runtime.exec(task, command, typing)) as said:
            async for each in said:
                yield each

    def _knowing(self, task: str) -> tuple[Runtime, ...]:
        worker = self._workers.get(task)
        if worker is not None and worker.runtime is not None:
            return (worker.runtime,)
        return self._runtimes.all

    # -- adoption -------------------------------------------------------------------------------------------

    def _adopt(self, runtime: Runtime, found: Mapping[str, Found]) -> None:
        """Takes over what a runtime runs; what was wished before it was met is looked at again."""
        if isinstance(runtime, Carried):
            runtime.hear(self._news.set)
        self._adopted |= {task: (runtime, each) for task, each in found.items()}
        if self._wishes is not None:
            self._distribute(self._wishes)

    # -- assignments ----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Takes lists from a master; when the link breaks, dials again. Tasks go on meanwhile."""
        pause = SHORTEST_PAUSE
        while True:
            why = "it ended"
            lists = self._link.assignments(self._node, self)
            try:
                async for assignments in lists:
                    await self._obey(assignments)
                    pause = SHORTEST_PAUSE
            except (Unavailable, OSError) as error:
                why = str(error)
            finally:
                if isinstance(lists, AsyncGenerator):
                    await lists.aclose()  # a link that is left lets go now, not after the next one has begun
            log.warning("the link to the master broke; tasks go on", why=why, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._reporter.say(*(worker.status for worker in self._workers.values() if worker.status))

    async def _obey(self, assignments: Assignments) -> None:
        """Hands each wish to its worker; what a newer complete list does not name is stopped and removed."""
        cell, age = assignments.cell, assignments.age
        if self._journal.outdated(cell, age):
            log.warning("an outdated list was refused", age=age, newest=self._journal.age)
            return
        if self._journal.cell and cell != self._journal.cell:
            log.warning("another cell speaks; its lists begin anew", cell=cell, before=self._journal.cell)
        wishes = {wish.task.id: wish for wish in assignments.items}
        known = self._workers.keys() | self._adopted.keys()
        await self._journal.accept(cell, age, wishes.keys(), changed=wishes.keys() != known)
        self._ours |= _ports(wishes)
        self._wishes = wishes
        self._distribute(wishes)
        self._images.want(assignments.upgrades, assignments.secrets, self._group)

    def _distribute(self, wishes: Mapping[str, Assignment]) -> None:
        for task in (self._workers.keys() | self._adopted.keys()) - wishes.keys():
            self._assign(task, None)
        for task, wish in wishes.items():
            self._assign(task, wish)

    def _assign(self, task: str, wish: Assignment | None) -> None:
        if worker := self._workers.get(task):
            worker.assign(wish)
            return
        runtime, found = self._adopted.pop(task, (None, None))
        if runtime is None and wish is not None:
            if self._runtimes.waits_for(wish.app.runtime):
                return
            runtime = self._runtimes[wish.app.runtime]
        worker = Worker(task, runtime=runtime, context=self._context, wish=wish, found=found)
        self._workers[task] = worker
        self._group.create_task(self._run_worker(worker))

    async def _run_worker(self, worker: Worker) -> None:
        await worker.run()
        del self._workers[worker.task]

    # -- facts ----------------------------------------------------------------------------------------------

    async def _survey(self) -> None:
        """Sends the node's facts when they have changed: with news of an image, else every 5 s. What could not be
        looked up or sent is so with the next look."""
        sent = self._node
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SURVEY_EVERY):
                    await self._news.wait()
            self._news.clear()
            try:
                self._node = self._facts_now()
            except OSError as error:
                log.warning("facts of the node stay as they were: they cannot be looked up", why=str(error))
            if self._node == sent:
                continue
            try:
                await self._link.update(self._node)
                sent = self._node
            except (Unavailable, OSError) as error:
                log.warning("facts of the node are kept until a master takes them", why=str(error))

    def _facts_now(self) -> Node:
        node = self._runtimes.facts(self._without_ours(self._facts()))
        return msgspec.structs.replace(node, images=self._images.known)

    def _without_ours(self, node: Node) -> Node:
        """`node` without the ports of our tasks and of their apps' services among `taken`. A port that was ours
        stays so until nobody listens on it: a balancer lets go of a port a little after its app has gone.
        """
        wishes = {worker.task: worker.wish for worker in self._workers.values() if worker.wish}
        self._ours = (self._ours & set(node.taken)) | _ports(wishes)
        return msgspec.structs.replace(node, taken=tuple(port for port in node.taken if port not in self._ours))


def _ports(wishes: Mapping[str, Assignment]) -> set[int]:
    ours: set[int] = set()
    for wish in wishes.values():
        ours.update(wish.task.ports, (port.service for port in wish.app.ports))
    return ours
