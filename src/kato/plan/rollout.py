"""An app's wish and its running tasks go in; how many to place and which to take out of service come out.

One rule covers scaling, upgrading and replacing, so that they cannot disagree. The capacities are Marathon's
(`TaskReplaceActor.computeRestartStrategy`).
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from kato.model.app import App
from kato.model.node import Node
from kato.model.task import Task
from kato.plan.constraints import rules, value


class Strategy(msgspec.Struct, frozen=True):
    """What an upgrade may do. kill_now: old tasks that go at its start; capacity: tasks there may be at once."""

    kill_now: int
    capacity: int


class Runner(msgspec.Struct, frozen=True):
    """A task that is meant to run. serves: it is running, healthy, ready, and its node answers."""

    task: Task
    serves: bool
    runs: bool = True


class Move(msgspec.Struct, frozen=True):
    """What to do next. place: tasks to launch; missing: those wished for and not there; victims: in order.

    held: tasks that go once the image of their successors is on their node.
    """

    place: int
    missing: int
    victims: tuple[Task, ...] = ()
    held: tuple[Task, ...] = ()


def restart_strategy(app: App, running: int) -> Strategy:
    """Marathon's numbers for an upgrade to `app` while `running` tasks are there.

    Where nothing could move (as many must serve as may be), a resident app goes one below its minimum, any
    other one above its maximum.
    """
    least = min_healthy(app)
    capacity = max_capacity(app)
    kill_now = max(0, running - least)
    if least == capacity <= running:
        if app.resident:
            kill_now = running - least + 1
        else:
            capacity += 1
    return Strategy(kill_now, capacity)


def min_healthy(app: App) -> int:
    """How many tasks must serve while versions are exchanged."""
    return math.ceil(_exact(app.instances * app.upgrade_strategy.minimum_health_capacity))


def max_capacity(app: App) -> int:
    """How many tasks there may be at once, draining and stopping ones included."""
    return int(_exact(app.instances * (1 + app.upgrade_strategy.maximum_over_capacity)))


def roll_out(app: App, runners: Sequence[Runner], leaving: int, nodes: Mapping[str, Node]) -> Move:
    """What to do next for `app.instances` tasks of its configuration. leaving: tasks that drain or stop.

    Old tasks go one for each new one that serves, those that do not serve first; as many stay as keep the
    minimum. What is there, in whatever state, stays within the capacity.
    """
    wished, config = app.instances, app.config_version
    current = [runner for runner in runners if runner.task.config == config]
    old = [runner for runner in runners if runner.task.config != config]
    there = len(runners) + leaving
    surplus = victims(app, current, len(current) - wished, nodes)
    missing = max(0, wished - len(current))
    if not old:
        return Move(max(0, min(missing, max_capacity(app) - there)), missing, surplus)
    if not wished:
        return Move(0, 0, (*surplus, *victims(app, old, len(old), nodes)))
    strategy = restart_strategy(app, max(there, wished))
    kept = max(there, wished) - strategy.kill_now
    ready = min(wished, sum(runner.serves for runner in current))
    retired = victims(app, old, len(old) - max(0, kept - ready), nodes)
    held = tuple(task for task in retired if awaits_image(app, nodes.get(task.node)))
    gone = tuple(task for task in retired if task not in held)
    return Move(max(0, min(missing, strategy.capacity - there)), missing, (*surplus, *gone), held)


def awaits_image(app: App, node: Node | None) -> bool:
    """Whether an older task there is not to be stopped yet: nobody knows whether the app's image can be had."""
    return app.image is not None and node is not None and node.images.get(app.image) != ""


def upgrades(apps: Mapping[str, App], tasks: Iterable[Task]) -> tuple[App, ...]:
    """The apps with an image of which older tasks are among `tasks`, those of one node."""
    found: dict[str, App] = {}
    for task in tasks:
        app = apps.get(task.app)
        if app is not None and app.image is not None and app.config_version != task.config:
            found[app.id] = app
    return tuple(found[id] for id in sorted(found))


def victims(app: App, among: Iterable[Runner], count: int, nodes: Mapping[str, Node]) -> tuple[Task, ...]:
    """Which `count` tasks go first: those that do not serve, then by the app's kill selection.

    Where the app wishes to be evenly spread (GROUP_BY), they come from the largest groups.
    """
    if count <= 0:
        return ()
    sign = -1 if app.kill_selection == "YOUNGEST_FIRST" else 1
    order = sorted(among, key=lambda r: (r.serves, r.runs, sign * r.task.created, r.task.id))
    fields = [rule.field for rule in rules(app) if rule.operator == "GROUP_BY"]
    if not fields:
        return tuple(runner.task for runner in order[:count])
    return _from_largest(order, count, fields, nodes)


def _from_largest(
    order: Sequence[Runner], count: int, fields: Sequence[str], nodes: Mapping[str, Node]
) -> tuple[Task, ...]:
    """The first of `order` from whichever group is the largest, again and again; those that do not serve first."""
    groups: dict[tuple[str | None, ...], deque[Runner]] = {}
    for runner in order:
        node = nodes.get(runner.task.node)
        groups.setdefault(tuple(value(node, field) if node else None for field in fields), deque()).append(runner)
    sizes = Counter({group: len(members) for group, members in groups.items()})
    chosen: list[Task] = []
    for _ in range(min(count, len(order))):
        group = min((g for g in groups if groups[g]), key=lambda g: (groups[g][0].serves, -sizes[g]))
        chosen.append(groups[group].popleft().task)
        sizes[group] -= 1
    return tuple(chosen)


def _exact(number: float) -> float:
    """A product of fractions without the last bits of binary error (10 × 1.1 is 11)."""
    return round(number, 9)
