"""A World and actions go in; the World as a committer would leave it comes out. And what agents would report."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kato.model.action import Action, Advance, Clear, Count, Drain, Finish, Forget, Keep, Place, Stop
from kato.model.app import App
from kato.model.frontend import BorderAck
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World
from kato.plan.effects import carried_out, reported
from kato.plan.frontends import frontends


def apply(world: World, actions: Iterable[Action], now: float) -> World:
    """The World after these actions. What did not change stays the same object. Asserts that no key is
    written twice, but for the launch records that actions carry.
    """
    actions = list(actions)
    written: set[tuple[str, str]] = set()
    for action in actions:
        key = _key(action)
        assert key not in written, f"{action} writes what another action of the plan writes"
        written.add(key)
        _sound(world, action)
    return carried_out(world, actions, now)


def _key(action: Action) -> tuple[str, str]:
    match action:
        case Place(task=task) | Drain(task=task) | Stop(task=task) | Forget(task=task) | Keep(task=task):
            return ("task", task.id)
        case Count(app=app):
            return ("launches", app)
        case Advance(progress=progress):
            return ("progress", progress.deployment)
        case Finish(deployment=id):
            return ("progress", id)
        case Clear(what=what, id=id):
            return (what, id)


def _sound(world: World, action: Action) -> None:
    """Asserts that an action is one of this World."""
    match action:
        case Place(task=task):
            assert task.id not in world.tasks.get(task.app, {})
        case Drain(task=task):
            assert task.goal == "run" and world.tasks[task.app][task.id] == task
        case Stop(task=task):
            assert task.goal != "stop" and world.tasks[task.app][task.id] == task
        case Keep(task=task):
            assert task.goal == "run" and world.statuses[task.app][task.id].state.ended


def tasks_of(world: World) -> list[Task]:
    return [mine[id] for app, mine in sorted(world.tasks.items()) for id in sorted(mine)]


def standing(world: World, app: str) -> list[Task]:
    """The tasks of an app that have not ended, and those that are done."""
    statuses = world.statuses.get(app, {})
    return [
        task
        for id, task in world.tasks.get(app, {}).items()
        if task.goal == "done" or id not in statuses or not statuses[id].state.ended
    ]


def report(world: World, task: Task, state: TaskState, now: float, *, alive: bool = True, **more: Any) -> World:
    """The World after the task's node has said this."""
    before = world.statuses.get(task.app, {}).get(task.id)
    app: App | None = world.spec(task.app, task.version) or world.apps.get(task.app)
    checks = app.health_checks if app is not None else ()
    given: dict[str, Any] = {
        "task": task.id,
        "app": task.app,
        "node": task.node,
        "state": state,
        "seq": before.seq + 1 if before else 1,
        "started": before.started if before and before.started is not None else now,
        "ended": now if state.ended else None,
        "health": tuple(Health(alive=alive, consecutive_failures=0 if alive else 99) for _ in checks),
        "ready": True,
    }
    return reported(world, [Status(**(given | more))])


def acknowledge(world: World, sessions: Mapping[str, int]) -> World:
    """The World after every border has applied the view of now."""
    seq = frontends(world).seq
    borders = {id: BorderAck(node=id, seq=seq, sessions=sessions) for id in world.borders}
    return replace(world, borders=borders)


def obey(world: World, now: float, mask: int = 255, sessions: Mapping[str, int] | None = None) -> World:
    """The World after every agent has done what it was told, and all that runs is well; jobs end so.

    mask: bit n says whether the task that is number n (modulo 8) gets anywhere.
    """
    for number, task in enumerate(tasks_of(world)):
        if not mask >> number % 8 & 1:
            continue
        status = world.statuses.get(task.app, {}).get(task.id)
        if status is not None and status.state.ended:
            continue
        if task.goal == "stop":
            world = report(world, task, TaskState.KILLED, now)
        elif status is not None and status.healthy and (app := world.spec(task.app, task.version)) and app.job:
            world = report(world, task, TaskState.FINISHED, now, exit_code=0)
        elif status is None or not (status.healthy and status.ready):
            world = report(world, task, TaskState.RUNNING, now)
    return acknowledge(world, sessions or {})
