"""Drills in random cells: nothing is changed by them, they end, and what they say is what then happens."""

from dataclasses import fields, replace
from typing import Any

import msgspec
from apply import apply, obey, report, tasks_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_plan_machine import CONSTRAINTS, PORTS

from builders import app, node, world
from kato.model.app import HealthCheck as Check
from kato.model.app import RestartPolicy
from kato.model.frontend import BorderAck
from kato.model.task import TaskState
from kato.model.world import World
from kato.plan import decide, why
from kato.plan.drill import Loss, drill
from kato.plan.effects import without

NOW = 1_000_000.0
POLICIES = (None, RestartPolicy(condition="none"), RestartPolicy(condition="on-failure", max_attempts=1))
NODES = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", None]), st.integers(1, 3), st.integers(3, 12)),
    min_size=1,
    max_size=4,
)
APPS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.sampled_from(PORTS),
        st.fixed_dictionaries(
            {
                "constraints": st.sampled_from(CONSTRAINTS),
                "cpus": st.sampled_from([0.1, 0.5, 2.0]),
                "health_checks": st.sampled_from([(), (Check(delay_seconds=3.0),)]),
                "restart_policy": st.sampled_from(POLICIES),
            }
        ),
    ),
    min_size=1,
    max_size=4,
)


def cell(shapes: list[tuple[int, str | None, int, int]], apps: list[Any], borders: int) -> World:
    """A cell that is as whole as it can be."""
    nodes = [
        node(
            f"n{n}",
            cpus=float(cpus),
            zone=zone,
            attributes={"rack": f"r{rack}", "size": float(rack)},
            ports=((31000, 31000 + width),),
        )
        for n, (cpus, zone, rack, width) in enumerate(shapes)
    ]
    wishes = [app(f"/app{n}", instances=count, **ports, **more) for n, (count, ports, more) in enumerate(apps)]
    acks = [BorderAck(node=each.id, seq=0) for each in nodes[:borders]]
    return rounds(world(nodes=nodes, apps=wishes, borders=acks), NOW - 100.0)[0]


def rounds(here: World, at: float) -> tuple[World, dict[str, str]]:
    """What the planner makes of it, second by second, where all agents do what they are told; who was placed."""
    placed: dict[str, str] = {}
    for second in range(90):
        before = here
        here = apply(here, decide(here, at + second).actions, at + second)
        placed |= {task.id: task.node for task in tasks_of(here) if task.id not in before.tasks.get(task.app, {})}
        here = obey(here, at + second)
    return here, placed


def parts(here: World) -> dict[str, bytes]:
    return {
        each.name: msgspec.json.encode(getattr(here, each.name)) for each in fields(here) if each.name != "spec"
    }


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(shapes=NODES, apps=APPS, borders=st.integers(0, 2), data=st.data())
def test_what_a_drill_says_happens(shapes: Any, apps: Any, borders: int, data: st.DataObject) -> None:
    here = cell(shapes, apps, borders)
    losses = [Loss("node", id) for id in here.nodes] + [Loss("task", task.id) for task in tasks_of(here)]
    loss = data.draw(st.sampled_from(losses))
    before = parts(here)
    told = drill(here, loss, NOW)
    assert parts(here) == before, "a drill has changed the world"
    assert told == drill(here, loss, NOW)
    after, placed = rounds(lose(here, loss), NOW)
    assert placed == {line.heir: line.to for line in told.lines if line.heir}
    plan = decide(after, NOW + 90)
    waits = {id: why(after, plan, id, NOW + 90).sentences[0] for id, wait in plan.waits.items() if wait.refusals}
    for line in told.lines:
        if line.task is None and line.fate == "waits" and line.app in waits:
            assert line.sentence == waits[line.app]
        assert line.after is None or line.healthy is not None
    missed = {line.app for line in told.lines if line.fate == "waits"}
    assert missed <= plan.waits.keys()


def lose(here: World, loss: Loss) -> World:
    if loss.kind == "node":
        return replace(here, nodes=without(here.nodes, loss.id), borders=without(here.borders, loss.id))
    task = next(each for each in tasks_of(here) if each.id == loss.id)
    status = here.statuses[task.app][task.id]
    if status.state.ended:
        return here
    return report(here, task, TaskState.FAILED, NOW, alive=status.healthy, signal=9)
