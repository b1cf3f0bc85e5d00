"""A drill says what whole nodes then really do: cells on virtual time lose what was drilled, and are compared."""

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from kato.api.wish import Wish
from kato.model.app import App, HealthCheck, Network, PortDefinition, RestartPolicy
from kato.model.world import World
from kato.plan import decide, why
from kato.plan.drill import Drill, Loss, drill
from kato.sim.cell import SimulatedCell, wall
from kato.sim.clock import run
from kato.sim.machine import Behaviour
from kato.store import Delete, keys

SECOND = 1.0
"""By how much what happens may differ from what was foretold: a check, a status and a plan take their time."""
CONSTRAINTS = ((), (), (("hostname", "UNIQUE"),), (("hostname", "GROUP_BY"),), (("hostname", "MAX_PER", "2"),))
POLICIES = (None, None, None, RestartPolicy(condition="none"), RestartPolicy(condition="on-failure"))


def random_app(rng: random.Random, id: str) -> App:
    check = HealthCheck(path="/", port_index=0, interval_seconds=2, delay_seconds=rng.choice((0, 4)))
    return App(
        id=id,
        cmd="serve",
        instances=rng.randrange(1, 5),
        cpus=rng.choice((1.0, 4.0, 11.0)),
        mem=64.0,
        networks=(Network(),),
        port_definitions=(PortDefinition(),),
        constraints=rng.choice(CONSTRAINTS),
        health_checks=(check,) if rng.random() < 0.6 else (),
        backoff_seconds=rng.choice((1.0, 7.0)),
        restart_policy=rng.choice(POLICIES),
    )


def whole(world: World) -> bool:
    """Whether nothing is under way, and nothing will be by itself."""
    plan = decide(world, wall())
    served = all(
        task.serves(world.statuses.get(task.app, {}).get(task.id))
        for mine in world.tasks.values()
        for task in mine.values()
        if task.goal == "run"
    )
    return bool(world.apps) and served and not plan.actions and not world.deployments


async def story(seed: int, folder: Path) -> Drill:
    rng = random.Random(seed)
    machines = rng.choice((1, 3, 3))
    cell = SimulatedCell(machines, folder, lambda _: Behaviour(boots=0.05), lambda: 0.3, rng)
    living = asyncio.create_task(cell.run())
    try:
        await asyncio.sleep(1.0)
        leader = cell.lives()[0].node.mirror.leader
        assert leader is not None
        life = next(each for each in cell.lives() if each.name == leader.master)
        apps = {id: random_app(rng, id) for id in ("/a", "/b", "/g/c")}
        await life.ask(life.wishes.commit(lambda _: Wish(apps=dict(apps))))
        mirror = life.node.mirror
        for _ in range(600):
            if whole(mirror.world()):
                break
            await asyncio.sleep(0.5)
        await asyncio.sleep(rng.choice((0.0, 5.0, 100.0)))
        world = mirror.world()
        loss = chosen(rng, world, life.name)
        told = drill(world, loss, now := wall())
        await lose(cell, loss)
        await asyncio.sleep((told.seconds or 0.0) + 20.0)
        compare(told, world, mirror.world(), now)
        return told
    finally:
        cell.mend()
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


def chosen(rng: random.Random, world: World, leader: str) -> Loss:
    """Something that is lost while somebody is left to decide."""
    tasks = [id for app in sorted(world.tasks) for id in sorted(world.tasks[app])]
    nodes = [id for id in sorted(world.nodes) if id != leader]
    return Loss("node", rng.choice(nodes)) if nodes and rng.random() < 0.5 else Loss("task", rng.choice(tasks))


async def lose(cell: SimulatedCell, loss: Loss) -> None:
    if loss.kind == "task":
        next(each for each in cell.machines if loss.id in each.processes).kill(loss.id)
        return
    gone = next(each for each in cell.lives() if each.name == loss.id)
    gone.freeze()
    await cell.engine.txn([], [Delete(key(loss.id)) for key in (keys.node, keys.border, keys.link)])


def compare(told: Drill, before: World, after: World, now: float) -> None:
    """Line by line: who replaces whom, where and when, who waits and why, and that nothing else happens."""
    tasks = {id: task for mine in after.tasks.values() for id, task in mine.items()}
    known = {id for mine in before.tasks.values() for id in mine}
    heirs = {line.heir: line for line in told.lines if line.heir}
    assert tasks.keys() - known == heirs.keys(), told
    for id, line in heirs.items():
        task, status = tasks[id], after.statuses[line.app][id]
        assert task.node == line.to, told
        assert line.after is not None and line.after <= task.created - now + 0.001 <= line.after + SECOND, told
        assert task.serves(status) and line.healthy is not None, told
        if status.health:
            first = status.health[0].first_success
            assert first is not None and line.healthy <= first - now + 0.001 <= line.healthy + SECOND, told
    for line in told.lines:
        if line.task is None and line.fate == "waits":
            assert line.sentence == why(after, decide(after, wall()), line.app, wall()).sentences[0], told
        elif line.fate == "stays":
            assert tasks[line.task or ""].goal == "done", told
        elif line.task is not None:
            assert line.task not in tasks, told
    gone = {id for id in known if id not in tasks}
    assert gone == {line.task for line in told.lines if line.task and line.fate != "stays"}, told
    assert told.lines == tuple(sorted(told.lines, key=lambda line: line.app)), "apps come in order"


@pytest.mark.parametrize("group", range(2))
def test_a_drill_says_what_then_really_happens(group: int, tmp_path: Path) -> None:
    seen: set[str] = set()
    for seed in range(group, 26, 2):
        (folder := tmp_path / str(seed)).mkdir()
        told = run(story(seed, folder), end=3000)
        seen |= {told.loss.kind, *(line.fate for line in told.lines)}
    assert seen >= {"task", "node", "replaced", "waits", "stays"}, "nothing of that kind was drilled"


def test_a_drill_is_the_same_each_time(tmp_path: Path) -> None:
    """And data: it goes over a wire and comes back."""

    async def twice() -> None:
        told = drill(World(), Loss("node", "n1"), 0.0)
        assert told == drill(World(), Loss("node", "n1"), 0.0)
        assert msgspec.json.decode(msgspec.json.encode(told), type=Drill) == told

    run(twice())
