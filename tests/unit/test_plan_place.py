"""Where tasks go: spread, the freest node, ports, and what refuses."""

from collections import Counter
from typing import Any

import pytest

from builders import app, node, task, world
from kato.model.action import Place, Plan
from kato.model.app import PortDefinition, ServicePort
from kato.model.node import Resources
from kato.plan import decide
from kato.plan.ports import choose


def placed(plan: Plan) -> Counter[str]:
    return Counter(action.task.node for action in plan.actions if isinstance(action, Place))


def test_tasks_of_an_app_are_spread_before_they_share_a_node() -> None:
    plan = decide(world(apps=[app(instances=7)], nodes=[node(f"n{n}") for n in range(3)]), 0.0)
    assert sorted(placed(plan).values()) == [2, 2, 3]


def test_what_stands_already_counts() -> None:
    wish = app(instances=3)
    plan = decide(world(apps=[wish], nodes=[node("n1"), node("n2")], tasks=[task(wish, 1), task(wish, 2)]), 0.0)
    assert placed(plan) == {"n2": 1}


def test_the_freest_node_comes_first() -> None:
    busy = app("/busy", cpus=3.0)
    nodes = [node("n1"), node("n2"), node("n3", cpus=4.0, mem=4096.0)]
    tasks = [task(busy, 1, on="n1"), task(busy, 2, on="n3")]
    plan = decide(world(apps=[app(), app("/busy", cpus=3.0, instances=2)], nodes=nodes, tasks=tasks), 0.0)
    assert placed(plan) == {"n2": 1}


def test_a_node_is_filled_to_the_last_thousandth_and_not_beyond() -> None:
    plan = decide(world(apps=[app(instances=40, cpus=0.1)], nodes=[node(cpus=1.0)]), 0.0)
    assert placed(plan) == {"n1": 10}
    assert str(plan.waits["/web"]) == "/web waits for 30 tasks: needs 0.1 cpus: n1 has 1 (0 free)"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"mem": 5000.0}, "needs 5000 MiB of memory: n1 has 4096 (4064 free)"),
        ({"disk": 20_000.0}, "needs 20000 MiB of disk: n1 has 10000 (10000 free)"),
        ({"gpus": 1}, "needs 1 gpu: n1 has none"),
        ({"cpus": 4.5}, "needs 4.5 cpus: n1 has 4 (3.9 free)"),
        ({"port_definitions": (PortDefinition(port=80),), "require_ports": True}, "needs host port 80: 1 node"),
        (
            {"port_definitions": (PortDefinition(port=31005),), "require_ports": True},
            "needs host port 31005: 1 node",
        ),
        (
            {"port_definitions": (PortDefinition(port=31006),), "require_ports": True},
            "needs host port 31006: 1 node",
        ),
        ({"port_definitions": (PortDefinition(),) * 5}, "needs 5 free ports: 1 node"),
        ({"constraints": (("@region", "IS", "eu"),)}, "region=eu: 1 node"),
    ],
)
def test_refusals(more: dict[str, Any], said: str) -> None:
    other = app("/other", ports=1)
    machine = node(ports=((31002, 31006),), taken=(31005, 40000))
    cell = world(apps=[app(**more), other], nodes=[machine], tasks=[task(other, ports=(31006,))])
    plan = decide(cell, 0.0)
    assert not placed(plan)
    assert [str(refusal) for refusal in plan.waits["/web"].refusals] == [said]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"cpus": 64.0}, "needs 64 cpus: the largest of 3 nodes has 8, 3.25 free"),
        ({"cpus": 5.0}, "needs 5 cpus: the emptiest of 3 nodes has 8, 3.25 free"),
        ({"cpus": 4.0}, "needs 4 cpus: the emptiest of 3 nodes has 4, 3.5 free"),
        ({"gpus": 1}, "needs 1 gpu: none of 3 nodes has any"),
    ],
)
def test_a_refusal_says_what_the_nearest_node_has(more: dict[str, Any], said: str) -> None:
    other = app("/other", instances=2, cpus=4.75)
    small = app("/small", cpus=0.5)
    nodes = [node("n1"), node("n2", cpus=8.0), node("n3", cpus=8.0)]
    tasks = [task(other, 1, on="n2"), task(small, on="n1"), task(other, 2, on="n3")]
    cell = world(apps=[app(**more), other, small], nodes=nodes, tasks=tasks)
    assert [str(refusal) for refusal in decide(cell, 0.0).waits["/web"].refusals] == [said]


def test_a_node_that_has_shrunk_below_what_its_tasks_use_has_nothing_free() -> None:
    wide = app("/wide", cpus=3.0)
    cell = world(apps=[app(), wide], nodes=[node(cpus=2.0)], tasks=[task(wide)])
    assert str(decide(cell, 0.0).waits["/web"]).endswith(": needs 0.1 cpus: n1 has 2 (0 free)")


def test_host_ports_asked_for_are_given_once_a_node() -> None:
    wish = app(instances=3, require_ports=True, port_definitions=(PortDefinition(port=31500), PortDefinition()))
    plan = decide(world(apps=[wish], nodes=[node("n1"), node("n2")]), 0.0)
    assert placed(plan) == {"n1": 1, "n2": 1}
    for action in plan.actions:
        if isinstance(action, Place):
            assert action.task.ports[0] == 31500 != action.task.ports[1]


ANY = ServicePort(0, "tcp", None, 0, 0)


def test_ports_follow_from_the_task_and_another_attempt_looks_elsewhere() -> None:
    machine = node()
    first = choose("web.1", (ANY, ANY), machine, set())
    assert first == choose("web.1", (ANY, ANY), machine, set())
    assert len({choose(f"web.{n}", (ANY,), machine, set()) for n in range(20)}) > 15


def test_the_last_free_port_is_found_across_ranges() -> None:
    machine = node(ports=((31000, 31003), (32000, 32001)), taken=(32001,))
    for n in range(10):
        assert choose(f"t{n}", (ANY,), machine, {31000, 31001, 31002, 31003}) == (32000,)
    with pytest.raises(ValueError, match="no port is free on n1"):
        choose("t", (ANY,), machine, {31000, 31001, 31002, 31003, 32000})


def test_identical_apps_go_to_different_nodes_by_a_stable_hash() -> None:
    nodes = [node(f"n{n}") for n in range(50)]
    found = {next(iter(placed(decide(world(apps=[app(f"/a{n}")], nodes=nodes), 0.0)))) for n in range(20)}
    assert len(found) > 10


def test_a_cluster_is_pinned_where_the_most_fit() -> None:
    small = [node(f"a{n}", zone="a", cpus=1.0) for n in range(3)]
    large = [node("b1", zone="b", cpus=4.0)]
    wish = app(instances=4, cpus=1.0, constraints=(("@zone", "CLUSTER"),))
    assert placed(decide(world(apps=[wish], nodes=small + large), 0.0)) == {"b1": 4}


def test_two_even_spreads_hold_at_once() -> None:
    nodes = [node(f"{zone}{rack}", zone=zone, attributes={"rack": rack}) for zone in "ab" for rack in "xy"]
    wish = app(instances=4, constraints=(("@zone", "GROUP_BY"), ("rack", "GROUP_BY")))
    found = placed(decide(world(apps=[wish], nodes=nodes), 0.0))
    assert sum(found[id] for id in found if id[0] == "a") == 2 == sum(found[id] for id in found if id[1] == "x")


def test_an_oversubscribed_node_takes_nothing_more() -> None:
    wish = app(instances=2)
    heavy = task(wish, resources=Resources(cpus=9.0, mem=32.0))
    assert not placed(decide(world(apps=[wish], nodes=[node(cpus=4.0)], tasks=[heavy]), 0.0))
