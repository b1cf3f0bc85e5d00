"""A World and actions, or what a node would say of a task, go in; the World as it would be then comes out. Pure.

What did not change stays the same object, as in the mirror's Worlds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from kato.model.action import Action, Advance, Clear, Count, Drain, Finish, Forget, Keep, Place, Stop
from kato.model.deployment import Launches
from kato.model.task import Status, Task
from kato.model.world import World

V = TypeVar("V")


def carried_out(world: World, actions: Iterable[Action], now: float) -> World:
    """The World as a committer would leave it after these actions at `now` (epoch seconds)."""
    actions = list(actions)
    world = replace(world, seq=world.seq + 1) if actions else world
    for action in actions:
        world = _carried_out(world, action, now)
    return world


def _carried_out(world: World, action: Action, now: float) -> World:
    match action:
        case Place(task=task):
            return replace(world, tasks=within(world.tasks, task.app, task.id, task))
        case Drain(task=task, reason=reason):
            return _goal(world, task, goal="drain", reason=reason, expected=True, now=now)
        case Stop(task=task, reason=reason, expected=expected, launches=launches):
            world = counted(world, launches)
            return _goal(world, task, goal="stop", reason=reason, expected=expected, now=now)
        case Forget(task=task, launches=launches):
            world = counted(world, launches)
            return replace(
                world,
                tasks=within(world.tasks, task.app, task.id, None),
                statuses=within(world.statuses, task.app, task.id, None),
                kills=without(world.kills, task.id),
            )
        case Keep(task=task, launches=launches):
            world = counted(world, launches)
            return replace(world, tasks=within(world.tasks, task.app, task.id, action.kept))
        case Count(app=app, launches=launches):
            rest = without(world.launches, app)
            return replace(world, launches=rest if launches is None else {**rest, app: launches})
        case Advance(progress=progress):
            return replace(world, progress={**world.progress, progress.deployment: progress})
        case Finish(deployment=id):
            return replace(
                world,
                deployments=without(world.deployments, id),
                progress=without(world.progress, id),
                locks={app: held for app, held in world.locks.items() if held != id},
            )
        case Clear(what=what, id=id, launches=launches):
            world = counted(world, launches)
            if what == "kill":
                return replace(world, kills=without(world.kills, id))
            return replace(world, nudges=without(world.nudges, id))


def reported(world: World, status: Status) -> World:
    """The World after a node has said this of a task."""
    return replace(world, statuses=within(world.statuses, status.app, status.task, status))


def counted(world: World, launches: Launches | None) -> World:
    """The World with a launch record that an action carries."""
    return world if launches is None else replace(world, launches={**world.launches, launches.app: launches})


def _goal(world: World, task: Task, *, now: float, **more: Any) -> World:
    changed = msgspec.structs.replace(task, goal_since=now, goal_seq=world.seq, **more)
    return replace(world, tasks=within(world.tasks, task.app, task.id, changed))


def without(mapping: Mapping[str, V], key: str) -> Mapping[str, V]:
    """The mapping without a key; itself where it has none such."""
    return {k: v for k, v in mapping.items() if k != key} if key in mapping else mapping


def within(
    mapping: Mapping[str, Mapping[str, V]], app: str, id: str, value: V | None
) -> Mapping[str, Mapping[str, V]]:
    """The two-storey mapping with one entry changed; an app without entries goes."""
    inner = {k: v for k, v in mapping.get(app, {}).items() if k != id}
    if value is not None:
        inner[id] = value
    rest = {k: v for k, v in mapping.items() if k != app}
    return {**rest, app: inner} if inner else rest
