"""A World and the Plan that was found for it go in; why what is missing is missing comes out, in words."""

from collections.abc import Iterator

import msgspec

from kato.model.action import Plan, Refusal, Wait
from kato.model.app import App
from kato.model.errors import NotFound
from kato.model.ids import timestamp
from kato.model.task import Status, Task, TaskState
from kato.model.world import World
from kato.plan.deployment import view


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """How an app stands. healthy: tasks that serve; sentences: what is missing, the most telling first."""

    app: str
    wished: int
    healthy: int
    sentences: tuple[str, ...]
    wait: Wait | None = None


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """An app of which tasks wait for a place. left: seconds of launch delay; since: a timestamp."""

    app: App
    count: int
    left: float
    since: str
    refusals: tuple[Refusal, ...]

    @property
    def overdue(self) -> bool:
        """Whether it waits for a node, not for its delay."""
        return self.left <= 0


def why(world: World, plan: Plan, id: str) -> Why:
    """Why an app has not all its tasks. NotFound where there is no such app."""
    app = world.apps.get(id)
    if app is None:
        raise NotFound(f"App '{id}' does not exist. `kato ls` lists those that do.")
    tasks, statuses = world.tasks.get(id, {}), world.statuses.get(id, {})
    config = app.config_version
    healthy = sum(task.serves(statuses.get(task.id)) and task.config == config for task in tasks.values())
    return Why(
        app=id,
        wished=app.instances,
        healthy=healthy,
        sentences=tuple(_sentences(world, plan, app, healthy)),
        wait=plan.waits.get(id),
    )


def queue(world: World, plan: Plan, now: float) -> tuple[Queued, ...]:
    """What waits for a place or for its launch delay (not what waits for its step), by app."""
    found: list[Queued] = []
    for id, wait in sorted(plan.waits.items()):
        if id in world.apps and (wait.until is not None or wait.refusals or not world.nodes):
            left = max(0.0, wait.until - now) if wait.until is not None else 0.0
            app = world.apps[id]
            found.append(Queued(app=app, count=wait.count, left=left, since=app.version, refusals=wait.refusals))
    return tuple(found)


def _sentences(world: World, plan: Plan, app: App, healthy: int) -> Iterator[str]:
    wait = plan.waits.get(app.id)
    if wait is not None:
        yield _sentence(str(wait))
    tasks, statuses = world.tasks.get(app.id, {}), world.statuses.get(app.id, {})
    for id in sorted(tasks):
        ailing = _ailing(app, tasks[id], statuses.get(id))
        if ailing:
            yield _sentence(f"{id} on {tasks[id].node} {ailing}")
    for deployment in world.deployments.values():
        if app.id in deployment.target and not deployment.cancelled:
            seen = view(deployment, world)
            yield f"deployment {deployment.id} is at step {seen.current} of {max(1, len(seen.steps))}."
    launches = world.launches.get(app.id)
    last = launches.last_failure if launches else None
    if last is not None and (healthy < app.instances or wait is not None):
        yield _sentence(f"the last failure, {timestamp(last.time)} on {last.host}: {last.message}")
    if healthy >= app.instances:
        yield f"{healthy} of {app.instances} tasks are healthy."


def _sentence(words: str) -> str:
    """With one full stop, though what it quotes may end with one."""
    return words.rstrip(". ") + "."


def _ailing(app: App, task: Task, status: Status | None) -> str | None:
    """Why a task does not serve; None where it does."""
    if task.goal != "run":
        return f"is leaving: {task.reason}" if task.reason else "is leaving"
    if task.serves(status):
        return "is of an older version" if task.config != app.config_version else None
    if status is None or status.state is not TaskState.RUNNING:
        state = status.state if status else TaskState.STAGING
        message = f": {status.message}" if status and status.message else ""
        return f"is {state.removeprefix('TASK_').lower()}{message}"
    for check, health in zip(app.health_checks, status.health, strict=False):
        if not health.alive:
            return f"is not healthy: its {check.protocol} check says {health.cause or 'nothing yet'}"
    return "is not ready yet"
