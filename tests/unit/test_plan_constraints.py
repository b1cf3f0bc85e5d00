"""Each of Marathon's operators, on values alone and on counts."""

import numpy as np
import pytest

from builders import app, node, task, world
from kato.model.action import Place
from kato.plan import decide
from kato.plan.constraints import Rule, admits, room, rules, scalar, value

MACHINE = node(
    "n1",
    hostname="one.example",
    region="eu",
    zone="eu-a",
    attributes={"rack": "r1", "cores": 8.0, "load": 0.12349, "none": ""},
)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("hostname", "one.example"),
        ("@hostname", "one.example"),
        ("@region", "eu"),
        ("@zone", "eu-a"),
        ("rack", "r1"),
        ("cores", "8"),
        ("load", "0.123"),
        ("none", ""),
        ("colour", None),
    ],
)
def test_value(field: str, found: str | None) -> None:
    assert value(MACHINE, field) == found


@pytest.mark.parametrize(("number", "text"), [(8.0, "8"), (10.0, "10"), (0.5, "0.5"), (1.2346, "1.235"), (0, "0")])
def test_scalar(number: float, text: str) -> None:
    assert scalar(number) == text


@pytest.mark.parametrize(
    ("rule", "value", "passes"),
    [
        (("rack", "LIKE", "r[12]"), "r1", True),
        (("rack", "LIKE", "r"), "r1", False),  # the whole value, not a part
        (("rack", "LIKE", "r.*"), None, False),
        (("rack", "LIKE", "r[1"), "r1", False),  # no expression at all
        (("rack", "UNLIKE", "r[12]"), "r1", False),
        (("rack", "UNLIKE", "r"), "r1", True),
        (("rack", "UNLIKE", "r.*"), None, True),  # only UNLIKE takes a node that lacks the field
        (("cores", "IS", "8"), "8", True),
        (("cores", "IS", "8"), "16", False),
        (("cores", "IS", "8"), None, False),
        (("rack", "CLUSTER", "r1"), "r1", True),
        (("rack", "CLUSTER", "r1"), "r2", False),
        (("rack", "CLUSTER"), "r2", True),
        (("rack", "CLUSTER"), None, False),
        (("rack", "UNIQUE"), "r1", True),
        (("rack", "UNIQUE"), None, False),
        (("rack", "GROUP_BY"), None, False),
        (("rack", "GROUP_BY", "3"), None, False),
        (("rack", "MAX_PER", "2"), None, False),
    ],
)
def test_admits(rule: tuple[str, ...], value: str | None, passes: bool) -> None:
    assert admits(Rule(*rule), value) is passes


@pytest.mark.parametrize(
    ("rule", "placed", "open", "instances", "allowed"),
    [
        (("x", "UNIQUE"), [0, 1, 2], [1, 1, 1], 3, [1, 0, 0]),
        (("x", "MAX_PER", "2"), [0, 1, 2], [9, 9, 9], 9, [2, 1, 0]),
        (("x", "CLUSTER"), [0, 0, 0], [1, 2, 0], 3, [1, 2, 0]),
        (("x", "CLUSTER"), [0, 3, 0], [1, 2, 0], 5, [0, 2, 0]),
        (("x", "GROUP_BY"), [0, 0, 0], [5, 5, 5], 9, [5, 5, 5]),
        (("x", "GROUP_BY"), [0, 0, 0], [2, 5, 5], 9, [2, 2, 2]),  # together, as far as the first can
        (("x", "GROUP_BY"), [1, 1, 2], [5, 5, 5], 9, [5, 5, 4]),
        (("x", "GROUP_BY"), [1, 1, 2], [0, 5, 5], 9, [0, 1, 0]),  # one of the smallest is full
        (("x", "GROUP_BY"), [0, 1, 2], [0, 5, 5], 9, [0, 5, 4]),  # what has none and can have none is no group
        (("x", "GROUP_BY"), [1, 2, 2], [0, 5, 5], 9, [0, 0, 0]),
        (("x", "GROUP_BY", "3"), [0, 0, 0], [9, 9, 9], 9, [3, 3, 3]),
        (("x", "GROUP_BY", "3"), [3, 1, 0], [9, 9, 0], 9, [0, 2, 0]),
        (("x", "GROUP_BY", "3"), [3, 3, 3], [9, 9, 9], 11, [1, 1, 0]),  # two are left over
        (("x", "GROUP_BY", "3"), [4, 3, 3], [9, 9, 9], 11, [0, 1, 0]),
        (("x", "GROUP_BY", "3"), [4, 4, 3], [9, 9, 9], 11, [0, 0, 0]),
        (("x", "GROUP_BY", "3"), [2, 2], [9, 9], 6, [0, 0]),  # a third group is missing: the rest waits
    ],
)
def test_room(
    rule: tuple[str, ...], placed: list[int], open: list[int], instances: int, allowed: list[int]
) -> None:
    assert room(Rule(*rule), np.array(placed), np.array(open), instances).tolist() == allowed


@pytest.mark.parametrize(
    ("rule", "phrase"),
    [
        (("hostname", "UNIQUE"), "one per hostname"),
        (("@zone", "MAX_PER", "2"), "at most 2 per zone"),
        (("@zone", "GROUP_BY"), "evenly over zone"),
        (("rack", "CLUSTER"), "all on the same rack"),
        (("@region", "CLUSTER", "eu"), "region=eu"),
        (("@region", "IS", "eu"), "region=eu"),
        (("rack", "LIKE", "r[12]"), "rack like r[12]"),
        (("rack", "UNLIKE", "r1"), "rack unlike r1"),
    ],
)
def test_phrase(rule: tuple[str, ...], phrase: str) -> None:
    assert Rule(*rule).phrase == phrase


def test_rules_come_in_the_apps_order_and_in_any_case() -> None:
    assert rules(app(constraints=(("rack", "unique"), ("a", "IS", "b")))) == (
        Rule("rack", "UNIQUE"),
        Rule("a", "IS", "b"),
    )


def placed_on(constraints: tuple[tuple[str, ...], ...], instances: int) -> list[str]:
    zones = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c"}
    nodes = [node(id, zone=zone, attributes={"rack": id[1]}) for id, zone in zones.items()]
    plan = decide(world(apps=[app(instances=instances, constraints=constraints)], nodes=nodes), 0.0)
    return sorted(action.task.node for action in plan.actions if isinstance(action, Place))


def test_unique_group_by_and_cluster_together_on_nodes() -> None:
    assert placed_on((("hostname", "UNIQUE"),), 9) == ["a1", "a2", "b1", "b2", "c1"]
    assert [node[0] for node in placed_on((("@zone", "GROUP_BY"),), 6)] == ["a", "a", "b", "b", "c", "c"]
    both = (("@zone", "GROUP_BY"), ("hostname", "UNIQUE"))
    assert placed_on(both, 9) == ["a1", "a2", "b1", "b2", "c1"]
    assert {node[0] for node in placed_on((("@zone", "CLUSTER"),), 5)} in ({"a"}, {"b"})  # where most fit
    assert len(placed_on((("rack", "MAX_PER", "1"),), 9)) == 2
    assert len(placed_on((("rack", "MAX_PER", "1"), ("@zone", "GROUP_BY")), 9)) == 2


def test_tasks_of_old_versions_count() -> None:
    new = app(instances=2, version="2026-02-01T00:00:00.000Z", constraints=(("hostname", "UNIQUE"),))
    old = app(instances=1)
    plan = decide(world(apps=[new], nodes=[node("n1")], tasks=[task(old)], old=[old]), 0.0)
    assert not [action for action in plan.actions if isinstance(action, Place)]
    assert [str(refusal) for refusal in plan.waits["/web"].refusals] == ["one per hostname: 1 node"]
