"""The agents' server end: a node's assignments go down; its facts and statuses come up and are committed.

On one machine an agent holds `Agents` itself, so that the link is a function call; over a network a stream carries
the same words to it.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import structlog
from msgspec.structs import replace

from kato.model.conversation import Command, Said, Typing
from kato.model.errors import Compacted, DriverError, NotFound, StoreUnavailable, Unavailable
from kato.model.link import AgentCalls, Assignment, Assignments, Output, Pull, Reached, RemovedTask, Sample
from kato.model.node import Node
from kato.model.secret import given
from kato.model.task import Status, Task
from kato.model.volume import NamedVolume
from kato.plan import environment, upgrades
from kato.store import MAX_TXN_OPERATIONS, Compare, Put, Store, keys
from kato.store.changes import Changes
from kato.store.mirror import Mirror

Found = TypeVar("Found")

log = structlog.get_logger()

BATCH = MAX_TXN_OPERATIONS // 4
"""Statuses of one transaction: each takes a put and at most three compares."""
RETRY = 0.2
"""Seconds until statuses are written again that the store did not take."""


class Stream:
    """One node's link. `changed` is set when its assignments may be others."""

    def __init__(self, node: Node, calls: AgentCalls) -> None:
        self.node = node
        self.calls = calls
        self.changed = asyncio.Event()
        self.assigned: dict[str, Assignment] = {}


class Report(NamedTuple):
    """A status on its way, and who waits for it to be committed."""

    status: Status
    committed: asyncio.Future[None]


class Agents:
    """Serves the agents of one master, whose id, written to `links/<node>`, fences what a node says."""

    def __init__(self, *, store: Store, mirror: Mirror, master: str, cell: keys.Cell) -> None:
        self._store = store
        self._mirror = mirror
        self._master = master
        self._cell = cell
        self._streams: dict[str, Stream] = {}
        self._tasks: defaultdict[str, dict[str, Task]] = defaultdict(dict)
        """By node, those whose end is not written down."""
        self._reports: list[Report] = []
        self._reported = asyncio.Event()

    async def run(self) -> None:
        """Follows the mirror and writes statuses, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._write_reports())

    # -- assignments down -----------------------------------------------------------------------------------

    async def assignments(self, node: Node, calls: AgentCalls) -> AsyncIterator[Assignments]:
        """Registers the node, then yields its complete list whenever that changes."""
        stream = self._streams[node.id] = Stream(node, calls)
        sent: tuple[object, ...] | None = None
        link = Put(keys.link(node.id), keys.encode(self._master))
        answer = await self._store.txn([], [link, Put(keys.node(node.id), keys.encode(node))])
        await self._mirror.reached(answer.revision)
        try:
            while True:
                stream.changed.clear()
                epoch = self._mirror.created(keys.LEADER)
                tasks, world = self._tasks.get(stream.node.id, {}).values(), self._mirror.world()
                items, newer = self._items(stream), upgrades(world.apps, tasks)
                secrets = {app.id: given(app, world.secrets) for app in newer if app.secrets}
                now = (epoch, items, newer, secrets)
                if epoch and now != sent:
                    sent, cell = now, self._cell
                    yield Assignments(
                        cell.incarnation, epoch, self._mirror.revision, items, cell.id, newer, secrets
                    )
                await stream.changed.wait()
        finally:
            if self._streams.get(node.id) is stream:
                del self._streams[node.id]

    def _items(self, stream: Stream) -> tuple[Assignment, ...]:
        """What a node is to look after. A task whose end is written down is not: an agent that starts anew, and
        has no record of it, must not start it again.
        """
        tasks = self._tasks.get(stream.node.id, {}).values()
        stream.assigned = {each.task.id: each for each in self._assigned(stream, tasks)}
        return tuple(stream.assigned.values())

    def _assigned(self, stream: Stream, tasks: Iterable[Task]) -> Iterator[Assignment]:
        world = self._mirror.world()
        for task in tasks:
            known = stream.assigned.get(task.id)
            former = task.incarnation < self._cell.incarnation
            if known is not None:
                yield known if known.task is task else replace(known, task=task, former=former)
            elif app := world.spec(task.app, task.version):
                env, secrets = environment(app, task, stream.node, world), given(app, world.secrets)
                yield Assignment(task, app, env, former, secrets)
            else:
                log.error("a task's app version is gone; it is not assigned", task=task.id, version=task.version)

    async def _follow(self) -> None:
        while True:
            with self._mirror.changes() as changes:
                self._look()
                try:
                    async for change in changes:
                        self._take(change)
                except Compacted:
                    continue

    def _look(self) -> None:
        """Begins anew from the mirror as it is."""
        self._tasks.clear()
        for tasks in self._mirror.world().tasks.values():
            for task in tasks.values():
                self._put(task)
        self._wake(list(self._streams))

    def _take(self, changes: Changes) -> None:
        touched: set[str] = set()
        for key, before, now in changes.items:
            room = key.partition("/")[0]
            if room == "tasks":
                task = now or before
                self._tasks[task.node].pop(task.id, None)
                if now is not None:
                    self._put(now)
                touched.add(task.node)
            elif room == "status" and now is not None and now.state.ended:
                self._tasks[now.node].pop(now.task, None)
                touched.add(now.node)
            elif room in ("leader", "apps", "deployments", "secrets"):
                touched.update(self._streams)
        self._wake(touched)

    def _put(self, task: Task) -> None:
        status: Status | None = self._mirror.get(keys.status(task.node, task.id))
        if status is None or not status.state.ended:
            self._tasks[task.node][task.id] = task

    def _wake(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            if node in self._streams:
                self._streams[node].changed.set()

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        """A task's output, from the agent that has it (AgentCalls, for the api). All agents are asked for one
        that was forgotten: they keep output for a while.
        """
        holding = [each for each in self._streams.values() if task in self._tasks.get(each.node.id, ())]
        for each in holding or list(self._streams.values()):
            try:
                async for piece in each.calls.output(task, stream, tail=tail, follow=follow, since=since):
                    yield piece
                return
            except NotFound:
                continue
        raise NotFound(f"No node that answers has the output of a task {task!r}.")

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command beside a task, by the agent that has it (AgentCalls, for the api)."""
        for each in self._streams.values():
            if task in self._tasks.get(each.node.id, ()):
                async with contextlib.aclosing(each.calls.exec(task, command, typing)) as said:
                    async for word in said:
                        yield word
                return
        raise NotFound(f"No node that answers runs a task {task!r}. See: kato ps")

    async def _of_all(self, ask: Callable[[AgentCalls], Awaitable[Sequence[Found]]]) -> Sequence[Found]:
        """What all agents say together; one that does not answer says nothing."""
        found: list[Found] = []
        for each in list(self._streams.values()):
            with contextlib.suppress(Unavailable, DriverError):
                found += await ask(each.calls)
        return found

    async def pulls(self) -> Sequence[Pull]:
        """What every agent that answers brings just now (AgentCalls, for the api)."""
        return await self._of_all(lambda calls: calls.pulls())

    async def kept(self) -> Sequence[RemovedTask]:
        """What every agent that answers keeps of tasks that have gone (AgentCalls, for the api)."""
        return await self._of_all(lambda calls: calls.kept())

    async def stats(self) -> Sequence[Sample]:
        """What the tasks of every agent that answers use now (AgentCalls, for the api)."""
        return await self._of_all(lambda calls: calls.stats())

    async def volumes(self) -> Sequence[NamedVolume]:
        """The named volumes of every agent that answers (AgentCalls, for the api)."""
        return await self._of_all(lambda calls: calls.volumes())

    async def remove_volume(self, name: str) -> None:
        """Removes a named volume, wherever one is (AgentCalls, for the api). NotFound where none is."""
        removed = False
        for each in list(self._streams.values()):
            with contextlib.suppress(NotFound):
                await each.calls.remove_volume(name)
                removed = True
        if not removed:
            raise NotFound(f"No node that answers has a volume {name}. See: kato volumes")

    # -- facts up -------------------------------------------------------------------------------------------

    async def update(self, node: Node) -> None:
        """Replaces the node's facts. Unavailable where another master serves it by now."""
        answer = await self._store.txn([self._served(node.id)], [Put(keys.node(node.id), keys.encode(node))])
        if not answer.done:
            raise _served_elsewhere(node.id)
        await self._mirror.reached(answer.revision)

    async def report(self, statuses: Sequence[Status]) -> None:
        """Hands statuses to the writer; returns once they are committed or moot (their task is forgotten).

        Unavailable where another master serves the node by now.
        """
        loop = asyncio.get_running_loop()
        waiting = [Report(status, loop.create_future()) for status in statuses]
        self._reports += waiting
        self._reported.set()
        await asyncio.gather(*(each.committed for each in waiting))

    async def _write_reports(self) -> None:
        while True:
            await self._reported.wait()
            self._reported.clear()
            while self._reports:
                batch, self._reports = self._reports[:BATCH], self._reports[BATCH:]
                try:
                    await self._write(batch)
                except StoreUnavailable as error:
                    log.warning("statuses are kept until the store answers", why=str(error))
                    self._reports = batch + self._reports
                    await asyncio.sleep(RETRY)

    async def _write(self, batch: Sequence[Report]) -> None:
        newest = {each.status.task: each.status for each in sorted(batch, key=lambda each: each.status.seq)}
        news = [status for status in newest.values() if self._is_news(status)]
        if news and not await self._commit(news):
            for status in news:
                while self._serves(status.node) and self._is_news(status) and not await self._commit([status]):
                    continue  # the mirror shows by now what else was written
        for each in batch:
            if each.committed.done():
                continue
            if self._serves(each.status.node):
                each.committed.set_result(None)
            else:
                each.committed.set_exception(_served_elsewhere(each.status.node))

    def _is_news(self, status: Status) -> bool:
        """Whether its task still stands and nothing newer, and no end, is written down."""
        if not self._mirror.modified(keys.task(status.node, status.task)):
            return False
        standing: Status | None = self._mirror.get(keys.status(status.node, status.task))
        return standing is None or (standing.seq < status.seq and not standing.state.ended)

    async def _commit(self, statuses: Sequence[Status]) -> bool:
        """One transaction; False where a task was forgotten meanwhile (a status must not outlive it), or another
        master serves a node.
        """
        served = [self._served(node) for node in sorted({status.node for status in statuses})]
        standing = [Compare(keys.task(status.node, status.task), "version", ">", 0) for status in statuses]
        known = [keys.status(status.node, status.task) for status in statuses]
        # Else a write that was given up, and lands late, would put back what a newer one has replaced.
        unchanged = [Compare(key, "modified", "=", self._mirror.modified(key)) for key in known]
        puts = [Put(key, keys.encode(status)) for key, status in zip(known, statuses, strict=True)]
        answer = await self._store.txn([*served, *standing, *unchanged], puts)
        await self._mirror.reached(answer.revision)
        return answer.done

    def _serves(self, node: str) -> bool:
        return bool(self._mirror.get(keys.link(node)) == self._master)

    def _served(self, node: str) -> Compare:
        return Compare(keys.link(node), "value", "=", keys.encode(self._master))


def _served_elsewhere(node: str) -> Unavailable:
    return Unavailable(f"Another master serves node {node} by now. Dial again.")
