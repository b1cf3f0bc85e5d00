"""The agents' and borders' server end: assignments and views go down, facts come up and are committed in batches.

On one machine an agent and a border hold the `Hub` itself, so that the link is a function call; over a network
a stream carries the same words to it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog

from kato.model.errors import NotFound, StoreUnavailable
from kato.model.frontend import BorderAck, Frontends
from kato.model.link import AgentCalls, Assignment, Assignments, Output
from kato.model.node import Node
from kato.model.task import Status, Task
from kato.model.world import World
from kato.plan import environment, frontends
from kato.store import MAX_TXN_OPERATIONS, Compare, Op, Put, Store, keys
from kato.store.mirror import Mirror

log = structlog.get_logger()

BATCH = MAX_TXN_OPERATIONS // 2
"""Statuses of one transaction: each takes a compare and a put."""


class Hub:
    """Serves the links of one master. id: the master's, written to `links/<node>`."""

    def __init__(self, *, store: Store, mirror: Mirror, id: str, incarnation: int) -> None:
        self._store = store
        self._mirror = mirror
        self._id = id
        self._incarnation = incarnation
        self._calls: dict[str, AgentCalls] = {}
        self._assigned: dict[str, Assignment] = {}
        self._reports: list[tuple[Status, asyncio.Future[None]]] = []
        self._reported = asyncio.Event()

    # -- agents ---------------------------------------------------------------------------------------------

    async def assignments(self, node: Node, calls: AgentCalls) -> AsyncIterator[Assignments]:
        """Registers the node, then yields its complete list whenever that changes."""
        sent: tuple[int, tuple[Assignment, ...]] | None = None
        await self.update(node)
        self._calls[node.id] = calls
        try:
            while True:
                world = self._mirror.world()
                epoch = self._mirror.created(keys.LEADER)
                if epoch and (epoch, items := self._items(world, node.id)) != sent:
                    sent = (epoch, items)
                    yield Assignments(self._incarnation, epoch, world.revision, items)
                await self._mirror.reached(world.revision + 1)
        finally:
            self._calls.pop(node.id, None)

    def _items(self, world: World, node: str) -> tuple[Assignment, ...]:
        """What a node is to look after. A task whose end is written down is not: an agent that starts anew, and
        has no record of it, must not start it again.
        """
        mine = [
            task
            for app, tasks in world.tasks.items()
            for task in tasks.values()
            if task.node == node and not _ended(world, app, task)
        ]
        known = self._assigned
        self._assigned = {task.id: self._assignment(known.get(task.id), task, world) for task in mine}
        return tuple(self._assigned[task.id] for task in mine)

    @staticmethod
    def _assignment(known: Assignment | None, task: Task, world: World) -> Assignment:
        if known is not None:
            return known if known.task is task else Assignment(task, known.app, known.env)
        app = world.spec(task.app, task.version)
        if app is None:
            raise NotFound(f"Version {task.version} of {task.app} is gone, but task {task.id} needs it.")
        return Assignment(task, app, environment(app, task, world.nodes[task.node], world))

    async def update(self, node: Node) -> None:
        """Writes the node's facts, and that this master serves it."""
        ops: list[Op] = [
            Put(keys.node(node.id), keys.encode(node)),
            Put(keys.link(node.id), keys.encode(self._id)),
        ]
        answer = await self._store.txn([], ops)
        await self._mirror.reached(answer.revision)

    async def report(self, statuses: Sequence[Status]) -> None:
        """Hands statuses to the writer; returns once they are committed or moot (their task is forgotten)."""
        loop = asyncio.get_running_loop()
        waiting = [(status, loop.create_future()) for status in statuses]
        self._reports += waiting
        self._reported.set()
        await asyncio.gather(*(future for _, future in waiting))

    async def output(self, task: str, stream: str, *, tail: int | None, follow: bool) -> AsyncIterator[Output]:
        """A task's output, from the agent that has it (AgentCalls, for the api). All agents are asked for one
        that was forgotten: they keep output for a while.
        """
        for calls in self._asked(task):
            try:
                async for piece in calls.output(task, stream, tail=tail, follow=follow):
                    yield piece
                return
            except NotFound:
                continue
        raise NotFound(f"No node that answers has the output of a task {task!r}.")

    def _asked(self, task: str) -> list[AgentCalls]:
        for tasks in self._mirror.world().tasks.values():
            if task in tasks:
                calls = self._calls.get(tasks[task].node)
                return [calls] if calls else []
        return list(self._calls.values())

    # -- borders --------------------------------------------------------------------------------------------

    async def frontends(self, node: str) -> AsyncIterator[Frontends]:
        """Yields the view whenever it changes, and whenever a newer plan has drained a server of it."""
        sent: Frontends | None = None
        while True:
            world = self._mirror.world()
            view = frontends(world)
            if sent is None or view.services != sent.services or _drained_since(world, sent.seq):
                sent = view
                yield view
            await self._mirror.reached(world.revision + 1)

    async def acknowledge(self, ack: BorderAck) -> None:
        """Writes what a border has applied."""
        await self._store.txn([], [Put(keys.border(ack.node), keys.encode(ack))])

    # -- the writer -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Writes statuses in batches, as fast as the store takes them, until cancelled."""
        while True:
            await self._reported.wait()
            self._reported.clear()
            while self._reports:
                batch, self._reports = self._reports[:BATCH], self._reports[BATCH:]
                await self._write(batch)

    async def _write(self, batch: list[tuple[Status, asyncio.Future[None]]]) -> None:
        newest = {status.task: status for status, _ in sorted(batch, key=lambda pair: pair[0].seq)}
        news = [status for status in newest.values() if self._is_news(status)]
        try:
            if news and not await self._commit(news):
                for status in news:
                    await self._commit([status])
        except StoreUnavailable as error:
            log.warning("statuses are kept until the store answers", why=str(error))
            self._reports = batch + self._reports
            self._reported.set()
            await asyncio.sleep(0.2)
            return
        for _, future in batch:
            if not future.done():
                future.set_result(None)

    def _is_news(self, status: Status) -> bool:
        """Whether its task still stands and nothing newer, and no end, is written down."""
        if not self._mirror.modified(keys.task(status.node, status.task)):
            return False
        standing: Status | None = self._mirror.get(keys.status(status.node, status.task))
        return standing is None or (standing.seq < status.seq and not standing.state.ended)

    async def _commit(self, statuses: Sequence[Status]) -> bool:
        """One transaction; False where one of the tasks was forgotten meanwhile (a status must not outlive it)."""
        standing = [Compare(keys.task(status.node, status.task), "version", ">", 0) for status in statuses]
        puts = [Put(keys.status(status.node, status.task), keys.encode(status)) for status in statuses]
        answer = await self._store.txn(standing, puts)
        await self._mirror.reached(answer.revision)
        return answer.done


def _ended(world: World, app: str, task: Task) -> bool:
    status = world.statuses.get(app, {}).get(task.id)
    return status is not None and status.state.ended


def _drained_since(world: World, seq: int) -> bool:
    """Whether a plan later than `seq` drains a task, so that it waits for an acknowledgement at least as late."""
    if world.seq <= seq:
        return False
    return any(
        task.goal == "drain" and task.goal_seq > seq for tasks in world.tasks.values() for task in tasks.values()
    )
