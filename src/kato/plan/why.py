"""A World and the Plan that was found for it go in; why what is missing is missing comes out, in words."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from kato.model.action import Plan, Refusal, Wait
from kato.model.app import App, HealthCheck
from kato.model.dependencies import Dependencies
from kato.model.errors import NotFound
from kato.model.health import fulfils
from kato.model.ids import env_name, short_task, timestamp, within
from kato.model.link import Pull
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World
from kato.plan.deployment import view
from kato.plan.parting import parting, parts
from kato.plan.rollout import awaits_image

Coming = Mapping[tuple[str, str], str]
"""Node and image -> how far it is."""


class Ailing(msgspec.Struct, frozen=True, kw_only=True):
    """A task that does not serve, and why not. newest: whether it is of the configuration that is wished for."""

    task: str
    node: str
    version: str
    newest: bool
    reason: str

    def __str__(self) -> str:
        version = "" if self.newest else f" of version {self.version}"
        return f"{short_task(self.task)}{version} on {self.node} {self.reason}"


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """How an app stands. healthy: tasks that serve; sentences: what is missing, the most telling first.

    ailing: the tasks that do not serve, by their whole ids. pulling: how far its image is that a node brings.
    """

    app: str
    wished: int
    healthy: int
    sentences: tuple[str, ...]
    ailing: tuple[Ailing, ...] = ()
    wait: Wait | None = None
    pulling: str | None = None


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


def why(world: World, plan: Plan, id: str, now: float, pulls: Sequence[Pull] = ()) -> Why:
    """Why an app has not all its tasks at `now` (epoch seconds), or why one that is being removed is not gone yet.
    NotFound where there is no such app.

    pulls: what nodes bring just now.
    """
    app = world.apps.get(id)
    if app is None:
        if parts(world, id):
            return Why(app=id, wished=0, healthy=0, sentences=(*parting(world, id, now), *_deployments(world, id)))
        raise NotFound(f"App '{id}' does not exist. `kato ls` lists those that do.")
    tasks, statuses = world.tasks.get(id, {}), world.statuses.get(id, {})
    config = app.config_version
    current = [task for task in tasks.values() if task.config == config]
    healthy = sum(fulfils(app, task, statuses.get(task.id)) for task in current)
    coming = {(pull.node, pull.image): str(pull) for pull in pulls}
    ailing = tuple(_ailments(world, app, now, coming))
    return Why(
        app=id,
        wished=app.instances,
        healthy=healthy,
        sentences=tuple(_sentences(world, plan, app, healthy, ailing, coming)),
        ailing=ailing,
        wait=plan.waits.get(id),
        pulling=next((words for (_, image), words in coming.items() if image == app.image), None),
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


def _sentences(
    world: World, plan: Plan, app: App, healthy: int, ailing: tuple[Ailing, ...], coming: Coming
) -> Iterator[str]:
    wait = plan.waits.get(app.id)
    if wait is not None:
        yield _sentence(str(wait))
        yield from _runtimes(world, app)
    yield from (_sentence(str(each)) for each in ailing)
    yield from _jobs(world, app)
    yield from _unmet(world, app)
    yield from _former(world, app)
    yield from _images(world, app, coming)
    yield from _deployments(world, app.id)
    launches = world.launches.get(app.id)
    last = launches.last_failure if launches else None
    if last is not None and (healthy < app.instances or wait is not None):
        yield _sentence(f"the last failure, {timestamp(last.time)} on {last.host}: {last.message}")
    if healthy >= app.instances:
        done = sum(task.goal == "done" for task in world.tasks.get(app.id, {}).values())
        word = (
            "have finished" if done >= app.instances else "are healthy or have finished" if done else "are healthy"
        )
        yield f"{healthy} of {app.instances} tasks {word}."


def _deployments(world: World, id: str) -> Iterator[str]:
    """How far they are that hold an app."""
    for deployment in world.deployments.values():
        if id in deployment.target and not deployment.cancelled:
            seen = view(deployment, world)
            others = f" and {len(deployment.target) - 1} more" if len(deployment.target) > 1 else ""
            step = f"step {seen.current} of {max(1, len(seen.steps))}"
            yield f"the deployment of {id}{others} since {deployment.version} is at {step}."


def missing(app: App, dependencies: Dependencies) -> Iterator[tuple[str, str]]:
    """Each dependency of an app that names nothing there is, and what comes of that, in words."""
    given = {f"{env_name(id)}_HOST" for id in dependencies.named(app)} | app.env.keys()
    for word in dependencies.missing(app.dependencies):
        host = f"{env_name(word)}_HOST"
        unset = "" if host in given else f", and {host} is not set"
        yield word, f"{app.id} depends on {word}, which does not exist: it is not waited for{unset}"


def _unmet(world: World, app: App) -> Iterator[str]:
    groups = [group for group in world.groups.values() if group.dependencies and within(app.id, group.id)]
    if not app.dependencies and not groups:
        return
    dependencies = Dependencies(world.apps, world.groups)
    for _, words in missing(app, dependencies):
        yield f"{words}."
    for group in groups:
        for word in dependencies.missing(group.dependencies):
            yield f"The group {group.id} depends on {word}, which does not exist: it is not waited for."


def _sentence(words: str) -> str:
    """With one full stop, though what it quotes may end with one."""
    return words.rstrip(". ") + "."


def _ailments(world: World, app: App, now: float, coming: Coming) -> Iterator[Ailing]:
    statuses = world.statuses.get(app.id, {})
    for _, task in sorted(world.tasks.get(app.id, {}).items()):
        newest = task.config == app.config_version
        spec = app if newest else world.spec(task.app, task.version)
        pulling = coming.get((task.node, spec.image or "")) if spec else None
        reason = _ailment(spec, task, statuses.get(task.id), now, pulling)
        if reason:
            yield Ailing(task=task.id, node=task.node, version=task.version, newest=newest, reason=reason)


def _ailment(
    app: App | None, task: Task, status: Status | None, now: float, pulling: str | None = None
) -> str | None:
    """Why a task does not serve; None where it does. app: as the task was launched from it; pulling: its image."""
    if task.goal == "done":
        again = f"`kato restart {task.app.strip('/')}` runs it again"
        return None if task.finished(status) else f"is not replaced: {_how(status)}; {again}"
    if task.goal != "run":
        return f"is leaving: {task.reason}" if task.reason else "is leaving"
    if fulfils(app, task, status):
        return None
    if app is not None and app.job and task.serves(status):
        return "runs, and has not ended yet"
    if status is None or status.state is not TaskState.RUNNING:
        state = status.state if status else TaskState.STAGING
        words = (status.message if status else "") or pulling
        message = f": {words}" if words else ""
        return f"is {state.removeprefix('TASK_').lower()}{message}"
    checks = app.health_checks if app else ()
    if not checks and not status.healthy:
        cause = status.health[0].cause
        return f"is not healthy: the check of its image says {cause}" if cause else "waits for its image's check"
    for check, health in zip(checks, status.health, strict=False):
        if not health.alive:
            return _unwell(check, health, task.created if status.started is None else status.started, now)
    return "is not ready yet"


def _unwell(check: HealthCheck, health: Health, started: float, now: float) -> str:
    """What a check that has not passed says, or when it first will."""
    if health.cause or health.last_failure is not None:
        return f"is not healthy: its {check.protocol} check says {health.cause or 'no'}"
    left = math.ceil(started + check.delay_seconds - now)
    if left > 0:
        return f"is checked first {check.delay_seconds:g} s after its start ({check.protocol}): in {left} s"
    return f"waits for its first {check.protocol} check, which may take {check.timeout_seconds:g} s"


def _how(status: Status | None) -> str:
    """How a task ended, as its node says it."""
    return (status.message if status else "").rstrip(".") or "nobody knows how it ended"


def _jobs(world: World, app: App) -> Iterator[str]:
    """The jobs that it depends on and that have failed: while they have, no new version of it is begun."""
    for id in app.dependencies:
        job, statuses = world.apps.get(id), world.statuses.get(id, {})
        for task in world.tasks.get(id, {}).values() if job is not None and job.job else ():
            if task.goal == "done" and not task.finished(statuses.get(task.id)):
                again = "" if id not in world.locks else " --force"
                how = _how(statuses.get(task.id))
                yield (
                    f"{short_task(task.id)}, which is to end well first, has failed: {how}. "
                    f"Run it again: kato restart {id.strip('/')}{again}"
                )


def _runtimes(world: World, app: App) -> Iterator[str]:
    """Why nodes have not the runtime that it needs, in their own words; the same words once."""
    lacking = (node for node in world.nodes.values() if app.runtime not in node.runtimes)
    notes = (note for node in lacking for note in node.notes if note.startswith(f"{app.runtime}: "))
    yield from (_sentence(note.removeprefix(f"{app.runtime}: ")) for note in dict.fromkeys(notes))


def _images(world: World, app: App, coming: Coming) -> Iterator[str]:
    """What keeps older tasks from being exchanged, node by node."""
    older = {task.node for task in world.tasks.get(app.id, {}).values() if task.config != app.config_version}
    for id in sorted(older):
        if awaits_image(app, world.nodes.get(id)):
            reason = world.nodes[id].images.get(app.image or "")
            pulling = coming.get((id, app.image or ""))
            awaited = f"{id} is {pulling}" if pulling else f"its image {app.image} is awaited on {id}"
            yield _sentence(reason or awaited) + (" Older tasks there are not stopped before it is there.")


def _former(world: World, app: App) -> Iterator[str]:
    """Who serves in place of what a rollout brings, by version."""
    statuses = world.statuses.get(app.id, {})
    tasks = world.tasks.get(app.id, {}).values()
    old = [each for each in tasks if each.config != app.config_version and each.serves(statuses.get(each.id))]
    for version, count in sorted(Counter(task.version for task in old).items()):
        serve = (
            f"task of version {version} still serves" if count == 1 else f"tasks of version {version} still serve"
        )
        yield f"{count} {serve}, until newer ones do."
