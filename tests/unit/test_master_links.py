"""The links' server ends, on the real store and mirror: what is assigned, what is written down, what is fenced."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from builders import app, node, status, task
from kato.master.agents import Agents
from kato.master.borders import Borders
from kato.model.conversation import Command, Left, Said, Typing
from kato.model.errors import NotFound, Unavailable
from kato.model.link import Assignments, Output, Pull, Reached, RemovedTask, Sample
from kato.model.task import Status, Task, TaskState
from kato.model.volume import NamedVolume
from kato.store import Delete, Op, Put, keys
from kato.store.memory import MemoryStore
from kato.store.mirror import Mirror, follow

WEB = app("/web", ports=1)
NODE = node("n1")


class Calls:
    """An agent that has the output of one task."""

    def __init__(self, task: str) -> None:
        self.task = task

    async def pulls(self) -> Sequence[Pull]:
        return [Pull("n1", f"{self.task}:1", 1)]

    async def kept(self) -> Sequence[RemovedTask]:
        return [RemovedTask(self.task, 1.0, 2.0, "It exited with code 3.")]

    async def volumes(self) -> Sequence[NamedVolume]:
        return [NamedVolume("n1", f"{self.task}_data", 1)]

    async def remove_volume(self, name: str) -> None:
        if name != f"{self.task}_data":
            raise NotFound(f"no {name}")

    async def stats(self) -> Sequence[Sample]:
        return [Sample(1.0, {})]

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        if task != self.task:
            raise NotFound(f"no {task}")
        yield Output(task, stream, 0, b"hello")

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        yield Left(len(command.argv))


class Cell(NamedTuple):
    store: MemoryStore
    mirror: Mirror
    agents: Agents
    borders: Borders

    async def put(self, *ops: Op) -> None:
        answer = await self.store.txn([], ops)
        await self.mirror.reached(answer.revision)

    async def place(self, *tasks: Task) -> None:
        await self.put(*(Put(keys.task(each.node, each.id), keys.encode(each)) for each in tasks))

    def status(self, of: Task) -> Status | None:
        found: Status | None = self.mirror.get(keys.status(of.node, of.id))
        return found


@asynccontextmanager
async def cell(incarnation: int = 1) -> AsyncIterator[Cell]:
    """A store with a leader and one app, and the links' server ends that run."""
    store, mirror = MemoryStore(), Mirror()
    await store.txn(
        [],
        [
            Put(keys.LEADER, keys.encode(keys.Leader(master="m1"))),
            Put(keys.app("/web"), keys.encode({"app": "/web", "version": WEB.version})),
            Put(keys.version("/web", WEB.version), keys.encode(WEB)),
        ],
    )
    agents = Agents(store=store, mirror=mirror, master="m1", cell=keys.Cell(id="c1", incarnation=incarnation))
    running = [asyncio.create_task(follow(store, mirror)), asyncio.create_task(agents.run())]
    await mirror.reached(1)
    async with asyncio.timeout(60):
        yield Cell(store, mirror, agents, Borders(store=store, mirror=mirror))
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def named(assignments: Assignments) -> set[str]:
    return {each.task.id for each in assignments.items}


async def test_a_node_hears_of_its_own_tasks_until_their_end_is_written() -> None:
    async with cell() as here:
        mine, other = task(WEB), task(WEB, attempt=2, on="n2")
        link = here.agents.assignments(NODE, Calls(mine.id))
        assert named(await anext(link)) == set()
        await here.place(mine, other)
        first = await anext(link)
        assert named(first) == {mine.id}
        assert first.items[0].env["PORT0"] == str(mine.ports[0])
        await here.agents.report([status(mine)])
        await here.agents.report([status(mine, TaskState.FAILED, seq=2)])
        last = await anext(link)
        assert named(last) == set()
        assert last.age > first.age


async def test_a_node_is_told_which_tasks_are_from_before_the_store_was_put_back() -> None:
    async with cell(incarnation=2) as here:
        old, new = task(WEB), task(WEB, attempt=2, incarnation=2)
        await here.place(old, new)
        link = here.agents.assignments(NODE, Calls(""))
        assert {each.task.id: each.former for each in (await anext(link)).items} == {old.id: True, new.id: False}


async def test_a_task_whose_version_is_gone_takes_no_other_with_it() -> None:
    async with cell() as here:
        lost = task(app("/old", version="2020-01-01T00:00:00.000Z"))
        await here.place(lost, task(WEB))
        link = here.agents.assignments(NODE, Calls(""))
        assert named(await anext(link)) == {task(WEB).id}


async def test_an_older_status_and_one_after_the_end_are_moot() -> None:
    async with cell() as here:
        link = here.agents.assignments(NODE, Calls(""))
        await anext(link)
        only = task(WEB)
        await here.place(only)
        await here.agents.report([status(only, seq=5), status(only, seq=4, message="late")])
        assert here.status(only) == status(only, seq=5)
        await here.agents.report([status(only, TaskState.FINISHED, seq=6)])
        await here.agents.report([status(only, TaskState.RUNNING, seq=7)])
        assert here.status(only) == status(only, TaskState.FINISHED, seq=6)


async def test_no_status_outlives_its_task() -> None:
    async with cell() as here:
        link = here.agents.assignments(NODE, Calls(""))
        await anext(link)
        kept, forgotten = task(WEB), task(WEB, attempt=2)
        await here.place(kept)
        await here.agents.report([status(forgotten), status(kept)])
        assert here.status(kept) and not here.status(forgotten)


async def test_hundreds_of_statuses_are_written_in_few_transactions() -> None:
    async with cell() as here:
        link = here.agents.assignments(NODE, Calls(""))
        await anext(link)
        tasks = [task(WEB, attempt=n) for n in range(1, 301)]
        for first in range(0, 300, 100):
            await here.place(*tasks[first : first + 100])
        before = here.store.writes
        await here.agents.report([status(each) for each in tasks])
        assert all(here.status(each) for each in tasks)
        assert here.store.writes - before <= 10


async def test_what_a_node_says_to_a_master_that_serves_it_no_more_is_refused() -> None:
    async with cell() as here:
        link = here.agents.assignments(NODE, Calls(""))
        await anext(link)
        only = task(WEB)
        await here.place(only)
        await here.put(Put(keys.link("n1"), keys.encode("m2")))
        with pytest.raises(Unavailable, match="Another master serves node n1"):
            await here.agents.report([status(only)])
        with pytest.raises(Unavailable, match="Dial again"):
            await here.agents.update(NODE)
        assert here.status(only) is None


async def test_output_of_a_forgotten_task_is_asked_of_every_agent() -> None:
    async with cell() as here:
        links = [here.agents.assignments(node(id), Calls(had)) for id, had in (("n1", "a"), ("n2", "b"))]
        for link in links:
            await anext(link)
        found = [piece.data async for piece in here.agents.output("b", "stdout", tail=None, follow=False)]
        assert found == [b"hello"]
        assert [each.task for each in await here.agents.kept()] == ["a", "b"]
        assert [each.image for each in await here.agents.pulls()] == ["a:1", "b:1"]
        assert [each.name for each in await here.agents.volumes()] == ["a_data", "b_data"]
        await here.agents.remove_volume("b_data")
        with pytest.raises(NotFound, match="No node that answers has a volume c_data"):
            await here.agents.remove_volume("c_data")
        with pytest.raises(NotFound, match="No node that answers has the output of a task 'c'"):
            await anext(here.agents.output("c", "stdout", tail=None, follow=False))


async def test_a_border_hears_of_a_drain_though_it_has_shown_in_the_view_before() -> None:
    async with cell() as here:
        only = task(WEB)
        await here.place(only)
        await here.put(
            Put(keys.node("n1"), keys.encode(NODE)), Put(keys.status("n1", only.id), keys.encode(status(only)))
        )
        views = here.borders.frontends("n1")
        assert (await anext(views)).services[0].servers
        await here.put(Delete(keys.app("/web")))
        leaving = (await anext(views)).services
        assert [(each.leaving, [server.state for server in each.servers]) for each in leaving] == [
            (True, ["drain"])
        ]
        drained = task(WEB, goal="drain", goal_seq=3)
        await here.put(Put(keys.task("n1", only.id), keys.encode(drained)), Put(keys.PLAN_SEQ, keys.encode(3)))
        again = await anext(views)
        assert (again.seq, again.services) == (3, leaving)
