"""Plans become fenced transactions: within limits, in order, and never from a leader who was replaced."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from builders import V1, V2, app, node, status, task
from kato.master.commit import Committer
from kato.model.action import Action, Count, Drain, Finish, Forget, Place, Plan, Stop
from kato.model.deployment import Deployment, Kill, Launches, Record
from kato.model.errors import LeadershipLost, StoreUnavailable
from kato.model.task import Task, TaskState
from kato.plan import decide
from kato.store import MAX_TXN_OPERATIONS, Delete, Op, Put, keys
from kato.store.memory import FailAt, MemoryStore
from kato.store.mirror import Mirror, follow


class Cell(NamedTuple):
    store: MemoryStore
    mirror: Mirror
    committer: Committer
    sizes: list[int]

    async def put(self, *ops: Op) -> None:
        for n in range(0, len(ops), MAX_TXN_OPERATIONS):
            answer = await self.store.txn([], ops[n : n + MAX_TXN_OPERATIONS])
            await self.mirror.reached(answer.revision)

    async def commit(self, *actions: Action, now: float = 7.0) -> bool:
        async with asyncio.timeout(60):
            return await self.committer.commit(Plan(actions=actions), self.mirror.world(), now)

    def tasks(self) -> dict[str, Task]:
        return {id: each for tasks in self.mirror.world().tasks.values() for id, each in tasks.items()}


@asynccontextmanager
async def leading() -> AsyncIterator[Cell]:
    """A store, a mirror that follows it, and a committer whose term has just begun."""
    store, mirror = MemoryStore(), Mirror()
    won = await store.txn([], [Put(keys.LEADER, keys.encode(keys.Leader(master="m1")))])
    following = asyncio.create_task(follow(store, mirror))
    await mirror.reached(won.revision)
    cell = Cell(store, mirror, Committer(store, mirror, won.revision), [])
    store.engine.observers.append(lambda events: cell.sizes.append(len(events.items)))
    yield cell
    following.cancel()


WEB = app("/web", ports=1)


async def test_goals_advance_and_carry_time_and_sequence() -> None:
    async with leading() as cell:
        first = task(WEB)
        assert await cell.commit(Count("/web", Launches(app="/web", attempts=1), "a launch"), Place(first))
        assert await cell.commit(Drain(first, "an older version"), now=8.0)
        drained = cell.tasks()[first.id]
        assert (drained.goal, drained.goal_since, drained.goal_seq, drained.expected) == ("drain", 8.0, 2, True)
        assert await cell.commit(Stop(drained, "unhealthy", expected=False), now=9.0)
        stopped = cell.tasks()[first.id]
        assert (stopped.goal, stopped.goal_since, stopped.expected) == ("stop", 9.0, False)
        assert cell.mirror.plan_seq == 3


async def test_forgetting_takes_status_and_kill_along() -> None:
    async with leading() as cell:
        first = task(WEB)
        await cell.commit(Place(first))
        await cell.put(Put(keys.kill(first.id), keys.encode(Kill(task=first.id, app="/web"))))
        assert await cell.commit(Forget(first, "it has ended"))
        assert not (await cell.store.range("tasks/")).items
        assert not (await cell.store.range("kills/")).items


async def test_a_long_plan_is_split_within_the_limit_and_in_order() -> None:
    async with leading() as cell:
        tasks = [task(WEB, attempt=n) for n in range(1, 301)]
        assert await cell.commit(*map(Place, tasks))
        assert set(cell.tasks()) == {each.id for each in tasks}
        assert len(cell.sizes) > 1
        assert max(cell.sizes) + 2 <= MAX_TXN_OPERATIONS
        assert cell.mirror.plan_seq == len(cell.sizes)


async def test_a_deployment_with_more_locks_than_a_transaction_takes_ends_whole() -> None:
    async with leading() as cell:
        names = [f"/g/a{n}" for n in range(200)]
        big = Deployment(id="d1", version=V2, original={}, target=dict.fromkeys(names), started=1.0)
        await cell.put(Put(keys.deployment("d1"), keys.encode(big)))
        await cell.put(*(Put(keys.lock(name), keys.encode("d1")) for name in names))
        await cell.put(Put(keys.lock("/g/a7"), keys.encode("d2")))
        assert await cell.commit(Finish("d1", True, "all steps are finished"))
        left = (await cell.store.range("locks/")).items
        assert [item.key for item in left] == [keys.lock("/g/a7")]
        assert not (await cell.store.range("deployments/")).items


async def test_a_deployment_that_was_cancelled_meanwhile_is_looked_at_again() -> None:
    async with leading() as cell:
        running = Deployment(id="d1", version=V1, original={}, target={}, started=1.0)
        await cell.put(Put(keys.deployment("d1"), keys.encode(running)))
        world = cell.mirror.world()
        cancelled = keys.encode(
            {"id": "d1", "version": V1, "original": {}, "target": {}, "started": 1.0, "cancelled": True}
        )
        await cell.put(Put(keys.deployment("d1"), cancelled))
        assert not await cell.committer.commit(Plan(actions=(Finish("d1", True, "done"),)), world, 7.0)
        assert (await cell.store.range("deployments/")).items


async def test_a_leader_who_was_replaced_commits_nothing() -> None:
    async with leading() as cell:
        await cell.put(Delete(keys.LEADER))
        await cell.put(Put(keys.LEADER, keys.encode(keys.Leader(master="m2"))))
        with pytest.raises(LeadershipLost):
            await cell.commit(Place(task(WEB)))
        assert not cell.tasks()


async def test_a_plan_on_an_old_sequence_is_thrown_away() -> None:
    async with leading() as cell:
        world = cell.mirror.world()
        assert await cell.commit(Place(task(WEB)))
        assert not await cell.committer.commit(Plan(actions=(Place(task(WEB, attempt=2)),)), world, 7.0)
        assert len(cell.tasks()) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_an_unknown_outcome_the_mirror_shows_what_was_written(when: str) -> None:
    async with leading() as cell:
        cell.store.faults = FailAt(cell.store.writes + 1, "before" if when == "before" else "after")
        with pytest.raises(StoreUnavailable):
            await cell.commit(Place(task(WEB)))
        assert len(cell.tasks()) == (1 if when == "after" else 0)
        cell.store.faults = None
        assert await cell.commit(Place(task(WEB, attempt=2)))


async def test_a_plan_cut_off_in_the_middle_counts_each_failure_once() -> None:
    """However often only a first part of a plan is committed: failures go with the tasks that failed."""
    many = app("/many", instances=200)
    tasks = [task(many, attempt=n) for n in range(1, 201)]
    async with leading() as cell:
        machine = node(cpus=99.0)
        await cell.put(Put(keys.node(machine.id), keys.encode(machine)))
        await cell.put(Put(keys.version(many.id, many.version), keys.encode(many)))
        await cell.put(Put(keys.app(many.id), keys.encode(Record(app=many.id, version=many.version))))
        await cell.put(*(Put(keys.task(each.node, each.id), keys.encode(each)) for each in tasks))
        facts = [status(each, TaskState.FAILED, started=5.0, ended=6.0) for each in tasks]
        await cell.put(*(Put(keys.status(each.node, each.task), keys.encode(each)) for each in facts))
        for _ in range(2):
            cell.store.faults = FailAt(cell.store.writes + 2, "before")
            with pytest.raises(StoreUnavailable):
                await cell.commit(*decide(cell.mirror.world(), 7.0).actions)
            cell.store.faults = None
            assert 0 < cell.mirror.world().launches[many.id].failures == 200 - len(cell.tasks()) < 200
        assert await cell.commit(*decide(cell.mirror.world(), 7.0).actions)
        assert cell.mirror.world().launches[many.id].failures == 200
        assert not cell.tasks()
