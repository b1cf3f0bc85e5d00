"""A World and a time go in; the course that its planner would give it comes out, as far as it is known now. Pure.

The planner is `decide` itself, round by round, on a clock that jumps to when something is due. Between two
decisions nodes do what they are told: what is stopped has ended, what is placed runs at once, and is healthy when
its first checks are due. Nobody knows when a job ends, so it goes on; and what is sick now stays so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from kato.model.action import Place, Plan
from kato.model.app import App
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World
from kato.plan import Recall, decide
from kato.plan.effects import carried_out, reported

HORIZON = 3600.0
"""Seconds of the future that are looked at."""
ROUNDS = 1000
"""Decisions that are made at most."""


@dataclass(frozen=True, slots=True)
class Course:
    """What happens. placed: tasks and when they are launched, in order; healthy: by task, when it serves at the
    earliest (epoch seconds). world, plan: as they are in the end; rest: whether nothing more would change then.
    """

    placed: Mapping[str, Task] = field(default_factory=dict)
    healthy: Mapping[str, float] = field(default_factory=dict)
    world: World = field(default_factory=World)
    plan: Plan = field(default_factory=Plan)
    rest: bool = True


def course(world: World, now: float) -> Course:
    """The course of a World from `now` (epoch seconds) on, until it is at rest or HORIZON is over."""
    recall, at = Recall(), now
    placed: dict[str, Task] = {}
    healthy: dict[str, float] = {}
    for _ in range(ROUNDS):
        plan = decide(world, at, recall)
        placed |= {each.task.id: each.task for each in plan.actions if isinstance(each, Place)}
        before, world = world, _obeyed(carried_out(world, plan.actions, at), at)
        healthy |= {task.id: at for task in placed.values() if task.id not in healthy and _serves(world, task)}
        if plan.actions or world.statuses is not before.statuses:
            continue
        due = min((each for each in _due(world, at, plan) if each > at), default=None)
        if due is None or due > now + HORIZON:
            return Course(placed, healthy, world, plan, rest=due is None)
        at = due
    return Course(placed, healthy, world, plan, rest=False)


def _due(world: World, at: float, plan: Plan) -> Iterator[float]:
    """When something happens by itself: for the planner, or by the first checks of a task."""
    if plan.wake_at is not None:
        yield plan.wake_at
    for task, status in _living(world):
        if status is not None and (asked := _asked(world, task, status)) is not None:
            yield asked


def _obeyed(world: World, at: float) -> World:
    """The World once every node has done what it is told at `at`, and every border has let go of what drains."""
    said = (_said(world, task, status, at) for task, status in _living(world))
    world = reported(world, [each for each in said if each is not None])
    behind = [id for id, ack in world.borders.items() if ack.seq < world.seq]
    if not behind:
        return world
    acks = {
        id: msgspec.structs.replace(ack, seq=world.seq, sessions={}) if id in behind else ack
        for id, ack in world.borders.items()
    }
    return replace(world, borders=acks)


def _said(world: World, task: Task, status: Status | None, at: float) -> Status | None:
    """What its node says next of a task; None where nothing is new."""
    app = _version(world, task)
    if task.goal == "stop":
        known = status or _staged(task)
        return msgspec.structs.replace(known, state=TaskState.KILLED, seq=known.seq + 1, ended=at, ready=False)
    if status is None or status.state in (TaskState.STAGING, TaskState.STARTING):
        known = status or _staged(task)
        checks = tuple(Health() for _ in (app.health_checks if app else ()))
        ready = app is None or not app.readiness_checks
        return msgspec.structs.replace(
            known, state=TaskState.RUNNING, seq=known.seq + 1, started=at, health=checks, ready=ready
        )
    asked = _asked(world, task, status)
    if asked is None or asked > at:
        return None
    well = tuple(Health(alive=True, first_success=at, last_success=at) for _ in status.health)
    return msgspec.structs.replace(status, seq=status.seq + 1, health=well, ready=True)


def _asked(world: World, task: Task, status: Status) -> float | None:
    """When every check of a task has been made once (epoch seconds); None where that says nothing new.

    A check that has failed may go on to do so: nobody knows when it will not.
    """
    if status.state is not TaskState.RUNNING or (status.healthy and status.ready):
        return None
    if any(each.last_failure is not None or each.cause for each in status.health):
        return None
    app = _version(world, task)
    delays = [check.delay_seconds for check in app.health_checks] if app else []
    started = task.created if status.started is None else status.started
    return started + max(delays, default=0.0)


def _living(world: World) -> Iterator[tuple[Task, Status | None]]:
    """The tasks that have not ended, on nodes that answer, with what is said of them."""
    for app, tasks in world.tasks.items():
        statuses = world.statuses.get(app, {})
        for id, task in tasks.items():
            status = statuses.get(id)
            over = task.goal == "done" or (status is not None and status.state.ended)
            if not over and task.node in world.nodes and task.node not in world.dark:
                yield task, status


def _serves(world: World, task: Task) -> bool:
    now_is = world.tasks.get(task.app, {}).get(task.id)
    return now_is is not None and now_is.serves(world.statuses.get(task.app, {}).get(task.id))


def _version(world: World, task: Task) -> App | None:
    app = world.apps.get(task.app)
    if app is not None and app.version == task.version:
        return app
    return world.spec(task.app, task.version)


def _staged(task: Task) -> Status:
    return Status(task=task.id, app=task.app, node=task.node, state=TaskState.STAGING, seq=0)
