"""A World comes in; how every app and task stands comes out, as words and figures that need no second opinion.

Who serves is what `Task.serves` says, the planner's own measure; the command line shows it and computes nothing.
"""

from collections.abc import Iterator, Mapping

import msgspec

from kato.api.answers import encode
from kato.api.problems import Problems
from kato.model.app import App
from kato.model.deployment import Launches
from kato.model.health import fulfils
from kato.model.ids import short_task, within
from kato.model.task import Status, Task, TaskState
from kato.model.world import World

_WORDS = {
    TaskState.STAGING: "staging",
    TaskState.STARTING: "starting",
    TaskState.KILLING: "stopping",
    TaskState.FINISHED: "finished",
    TaskState.FAILED: "failed",
    TaskState.KILLED: "stopped",
    TaskState.ERROR: "failed",
    TaskState.LOST: "lost",
}


class StandingTask(msgspec.Struct, frozen=True, kw_only=True):
    """How a task stands. short: as people call it, `voting_vote.3`. current: of the configuration wished for.

    pid: of its first process on its node; None where it has none.
    checks: what its health checks say, healthy, unhealthy, or waiting (for a first success); None without checks.
    health: why it does not serve, as its check says, or how it ended, where it failed and is not replaced; None
    where it serves, or nothing is known yet.
    started: epoch seconds.
    """

    id: str
    short: str
    attempt: int
    state: str
    current: bool
    serves: bool
    checks: str | None
    health: str | None
    node: str
    pid: int | None
    ports: tuple[int, ...]
    started: float | None
    version: str


class LastFailure(msgspec.Struct, frozen=True):
    """The last unexpected end of a task of an app."""

    task: str
    message: str


class StandingApp(msgspec.Struct, frozen=True, kw_only=True):
    """How an app stands. wished: instances, 0 for one that goes; healthy: current tasks that serve or finished.

    settled: exactly what is wished for is there and serves or has finished, and no deployment holds it.
    deployment: which one does. ports: service ports. version: None for an app that goes. checked: whether its
    tasks have health checks. retries: whether a failure is no news: it is tried again until it ends well, or is
    given up. problems: what the balancer cannot serve of it, as sentences.
    """

    id: str
    state: str
    wished: int
    healthy: int
    settled: bool
    deployment: str | None
    runtime: str | None
    cpus: float | None
    mem: float | None
    ports: tuple[int, ...]
    version: str | None
    checked: bool
    retries: bool
    failure: LastFailure | None
    problems: tuple[str, ...]
    tasks: tuple[StandingTask, ...]


class Standings:
    """Encoded answers, remembered for as long as they are true."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[object, ...], bytes]] = {}
        self._problems: tuple[object, Problems] = (None, Problems({}))

    def apps(self, world: World, group: str = "/") -> Iterator[bytes]:
        """Every app in a group, in the order of ids: those wished for, and those that are going still."""
        ids = world.apps.keys() | world.tasks.keys() | world.locks.keys()
        if len(self._known) > 2 * len(ids) + 100:
            self._known.clear()
        if self._problems[0] is not world.borders:
            self._problems = world.borders, Problems(world.borders)
        for id in sorted(id for id in ids if within(id, group)):
            yield self._app(world, id, self._problems[1])

    def _app(self, world: World, id: str, problems: Problems) -> bytes:
        about = (world.apps.get(id), world.tasks.get(id), world.statuses.get(id), world.launches.get(id))
        made_from = (*about, world.locks.get(id), problems if problems.all else None)
        known = self._known.get(id)
        if known is None or any(a is not b for a, b in zip(known[0], made_from, strict=True)):
            known = self._known[id] = (made_from, encode(standing_app(world, id, problems)))
        return known[1]


def standing_app(world: World, id: str, problems: Problems | None = None) -> StandingApp:
    """How one app stands, though it is wished for no more. problems: of `world`, where they are known already."""
    problems = problems or Problems(world.borders)
    app, held = world.apps.get(id), world.locks.get(id)
    config = app.config_version if app else None
    statuses = world.statuses.get(id, {})
    in_order = sorted(world.tasks.get(id, {}).values(), key=lambda task: (task.attempt, task.id))
    checked = bool(app and app.health_checks)
    tasks = tuple(standing_task(task, statuses.get(task.id), config, checked=checked) for task in in_order)
    wished = app.instances if app else 0
    healthy = sum(task.config == config and fulfils(app, task, statuses.get(task.id)) for task in in_order)
    done = [task for task in in_order if task.goal == "done" and task.config == config]
    failed = any(not task.finished(statuses.get(task.id)) for task in done)
    settled = app is not None and held is None and healthy == len(tasks) == wished
    unserved = problems.of(app) if app else ()
    return StandingApp(
        id=id,
        state="failed" if app and failed else _app_state(app, held, settled, tasks, unserved),
        wished=wished,
        healthy=healthy,
        settled=settled,
        deployment=held,
        runtime=app.runtime if app else None,
        cpus=app.cpus if app else None,
        mem=app.mem if app else None,
        ports=tuple(port.service for port in app.ports) if app else (),
        version=app.version if app else None,
        checked=checked,
        retries=bool(app and _retries(app)),
        failure=_failure(world.launches, id),
        problems=unserved,
        tasks=tasks,
    )


def standing_task(task: Task, status: Status | None, config: str | None, *, checked: bool = False) -> StandingTask:
    """How a task stands. config: the configuration that is wished for; checked: whether it has health checks."""
    serves = task.serves(status)
    ailing = next((check.cause for check in status.health if not check.alive), None) if status else None
    if status is not None and task.goal == "done" and not task.finished(status):
        ailing = status.message
    return StandingTask(
        id=task.id,
        short=short_task(task.id),
        attempt=task.attempt,
        state=_task_state(task, status, serves),
        current=task.config == config,
        serves=serves,
        checks=_checks(status, checked and task.config == config),
        health=None if serves else ailing,
        node=task.node,
        pid=status.pid if status else None,
        ports=task.ports,
        started=status.started if status else None,
        version=task.version,
    )


def _retries(app: App) -> bool:
    policy = app.restart_policy
    return app.restarts == "on-failure" and policy is not None and (policy.job or policy.max_attempts is not None)


def _checks(status: Status | None, checked: bool) -> str | None:
    """What the health checks of a task say. checked: whether it has some, should it not have said so yet."""
    if status is None or not status.health:
        begins = status is None or status.state in (TaskState.STAGING, TaskState.STARTING)
        return "waiting" if checked and begins else None
    if status.state.ended:
        return None
    if all(check.alive for check in status.health):
        return "healthy"
    failed = (not each.alive and (each.consecutive_failures or each.first_success) for each in status.health)
    return "unhealthy" if any(failed) else "waiting"


def _task_state(task: Task, status: Status | None, serves: bool) -> str:
    """staging, starting, running, healthy, unhealthy, draining, stopping, or how it ended.

    A running task of an app with health checks is `running` until it serves, and `unhealthy` once a check failed.
    """
    state = status.state if status else TaskState.STAGING
    if state.ended:
        return _WORDS[state]
    if task.goal != "run":
        return "draining" if task.goal == "drain" else "stopping"
    if status is None or state is not TaskState.RUNNING:
        return _WORDS[state]
    if any(check.consecutive_failures for check in status.health):
        return "unhealthy"
    return "healthy" if serves and status.health else "running"


def _app_state(
    app: App | None, held: str | None, settled: bool, tasks: tuple[StandingTask, ...], problems: tuple[str, ...]
) -> str:
    """removing, deploying, stopped (none is wished for), finished (all have ended well), running, healthy,
    unserved (its tasks are well and the balancer cannot serve it), unhealthy or waiting (for tasks).
    """
    if app is None:
        return "removing"
    if held is not None:
        return "deploying"
    if settled and app.instances and problems:
        return "unserved"
    if settled and tasks and all(task.state == "finished" for task in tasks):
        return "finished"
    if app.job and tasks and all(task.serves or task.state == "finished" for task in tasks):
        return "running"
    if settled:
        return "stopped" if not app.instances else "healthy" if any(task.checks for task in tasks) else "running"
    return "unhealthy" if any(task.state == "unhealthy" for task in tasks) else "waiting"


def _failure(launches: Mapping[str, Launches], id: str) -> LastFailure | None:
    last = launches[id].last_failure if id in launches else None
    return LastFailure(last.task, last.message) if last else None
