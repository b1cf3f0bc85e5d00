"""The same World gives the same Plan: in whatever order its mappings are, under whatever PYTHONHASHSEED."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import V2, app, node, status, task, world
from kato.model.app import App
from kato.model.deployment import Deployment, Kill
from kato.model.frontend import BorderAck
from kato.model.task import TaskState
from kato.model.world import World
from kato.plan import decide, frontends

V = TypeVar("V")
STATES = st.sampled_from([TaskState.STAGING, TaskState.RUNNING, TaskState.RUNNING, TaskState.FAILED])
RULES: list[tuple[tuple[str, ...], ...]] = [
    (),
    (("hostname", "UNIQUE"),),
    (("@zone", "GROUP_BY"),),
    (("@zone", "CLUSTER"),),
    (("rack", "MAX_PER", "2"), ("@zone", "GROUP_BY", "2")),
]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A cell in the middle of things: old and new tasks in all states, kills, a deployment, borders."""
    nodes = [
        node(
            f"n{n}",
            cpus=draw(st.sampled_from([1.0, 2.0, 4.0])),
            zone="ab"[n % 2],
            attributes={"rack": f"r{n % 3}"},
        )
        for n in range(draw(st.integers(1, 6)))
    ]
    old = [app(f"/a{n}", instances=3, ports=n) for n in range(3)]
    more: dict[str, Any] = {"version": V2, "cpus": draw(st.sampled_from([0.2, 0.7]))}
    new = [
        app(f"/a{n}", instances=draw(st.integers(0, 6)), ports=n, constraints=draw(st.sampled_from(RULES)), **more)
        for n in range(3)
    ]
    tasks = [
        task(each, n + 1, on=draw(st.sampled_from(nodes)).id, ports=tuple(31000 + 10 * n + p for p in range(2)))
        for each in draw(st.permutations(old + new))[:4]
        for n in range(draw(st.integers(0, 4)))
    ]
    facts = [status(each, draw(STATES), alive=draw(st.booleans())) for each in tasks if draw(st.booleans())]
    held = draw(st.booleans())
    change = Deployment(
        id="d",
        version=V2,
        original={each.id: each.version for each in old},
        target={each.id: each.version for each in new},
        started=1.0,
    )
    killed = draw(st.lists(st.sampled_from(tasks), max_size=2)) if tasks else []
    return world(
        apps=new,
        old=old,
        nodes=nodes,
        tasks=tasks,
        statuses=facts,
        deployments=[change] if held else [],
        borders=[BorderAck(node="n0", seq=0)],
        kills={each.id: Kill(task=each.id, app=each.app) for each in killed},
    )


def reversed_(mapping: Mapping[str, V]) -> dict[str, V]:
    return dict(reversed(list(mapping.items())))


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_order_of_mappings_does_not_matter(here: World) -> None:
    there = replace(
        here,
        apps=reversed_(here.apps),
        nodes=reversed_(here.nodes),
        tasks={id: reversed_(mine) for id, mine in reversed_(here.tasks).items()},
        statuses={id: reversed_(mine) for id, mine in reversed_(here.statuses).items()},
        kills=reversed_(here.kills),
    )
    assert decide(here, 100.0) == decide(there, 100.0)
    assert frontends(here) == frontends(there)


def busy() -> World:
    """A World that needs every kind of tie-break."""
    nodes = [node(f"n{n}", zone="abc"[n % 3], attributes={"rack": f"r{n % 5}"}) for n in range(30)]
    apps: list[App] = [app(f"/a{n}", instances=7, ports=2, constraints=RULES[n % len(RULES)]) for n in range(20)]
    tasks = [task(each, 1, on=f"n{n}") for n, each in enumerate(apps)]
    gone = [status(each, TaskState.FAILED) for each in tasks[::2]]
    return world(apps=apps, nodes=nodes, tasks=tasks, statuses=gone, dark={"n3", "n7"})


def test_the_hash_seed_does_not_matter() -> None:
    program = "from test_plan_same import busy; from kato.plan import decide; print(repr(decide(busy(), 1e9)))"
    here = Path(__file__).parent
    source = here.parents[1] / "src"
    found = set()
    for seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{here}:{here.parent}:{source}"}
        run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        found.add(run.stdout)
    assert len(found) == 1
    assert "Place(" in found.pop()
