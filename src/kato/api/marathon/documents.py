"""Apps, tasks and deployments of a World come in; Marathon's JSON documents of them come out.

What did not change is not encoded again: documents are remembered by the identity of what they were made from.
"""

from collections.abc import Iterable, Mapping, Set
from statistics import fmean, median

from kato.api.answers import encode
from kato.language.wire import app_document
from kato.model.app import App, ReadinessCheck
from kato.model.deployment import Failure
from kato.model.ids import instance_id, timestamp
from kato.model.node import Node
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World
from kato.plan.deployment import Step

ALWAYS = frozenset({"counts", "deployments"})
SINGLE = ALWAYS | {"tasks", "lastTaskFailure"}
_SHORTHANDS = {"count": {"counts"}, "failures": {"lastTaskFailure", "tasks", "counts", "deployments"}}
_KNOWN = {"tasks", "deployments", "readiness", "lastTaskFailure", "counts", "taskStats"}
_STAGED = (TaskState.STAGING, TaskState.STARTING)

Facts = Mapping[str, Status]


def embedded(asked: Iterable[str]) -> frozenset[str]:
    """What `embed` parameters ask to be shown of an app: prefixes are dropped, unknown words ignored."""
    words = {word.removeprefix("group.").removeprefix("apps.").removeprefix("app.") for word in asked}
    found = {meant for word in words for meant in _SHORTHANDS.get(word, {word})}
    return frozenset(found & _KNOWN)


class Documents:
    """Encoded documents of apps, remembered for as long as they are true."""

    def __init__(self) -> None:
        self._bare: dict[str, tuple[App, bytes]] = {}
        self._full: dict[tuple[str, frozenset[str]], tuple[tuple[object, ...], bytes]] = {}
        self._held: tuple[object, dict[str, tuple[str, ...]]] = (None, {})

    def app(self, app: App) -> bytes:
        """An app with its defaults filled in, and nothing about its tasks."""
        known = self._bare.get(app.id)
        if known is not None and known[0] is app:
            return known[1]
        document = encode(app_document(app))
        self._bare[app.id] = (app, document)
        return document

    def info(self, world: World, app: App, embed: frozenset[str], now: float) -> bytes:
        """An app with what is asked to be shown beside it. now: epoch seconds."""
        held = self._holding(world).get(app.id, ())
        tasks, facts = world.tasks.get(app.id), world.statuses.get(app.id)
        made_from = (app, tasks, facts, world.launches.get(app.id), world.nodes, held)
        known = self._full.get((app.id, embed))
        if known is not None and all(a is b for a, b in zip(known[0], made_from, strict=True)):
            return known[1]
        document = self.fresh(world, app, embed, held, now)
        if "taskStats" not in embed:
            self._full[app.id, embed] = (made_from, document)
        return document

    def fresh(self, world: World, app: App, embed: frozenset[str], held: Iterable[str], now: float) -> bytes:
        """As `info`, but held by the deployments `held`, and not remembered."""
        more = encode(extras(world, app, embed, held, now))
        return self.app(app)[:-1] + (b"," + more[1:] if len(more) > 2 else b"}")

    def forget(self, apps: Set[str]) -> None:
        """Drops what is remembered of apps that are not among `apps`."""
        if len(self._bare) > 2 * len(apps) + 100:
            self._bare = {id: known for id, known in self._bare.items() if id in apps}
        if len(self._full) > 8 * len(apps) + 100:
            self._full.clear()

    def _holding(self, world: World) -> dict[str, tuple[str, ...]]:
        """App → ids of the deployments that hold it; the same tuples while deployments are the same."""
        if self._held[0] is not world.deployments:
            holding: dict[str, tuple[str, ...]] = {}
            for each in world.deployments.values():
                for app in each.target:
                    holding[app] = (*holding.get(app, ()), each.id)
            self._held = (world.deployments, holding)
        return self._held[1]


def extras(world: World, app: App, embed: Set[str], held: Iterable[str], now: float) -> dict[str, object]:
    """The keys that `embed` adds to an app's document."""
    tasks, facts = world.tasks.get(app.id, {}), world.statuses.get(app.id, {})
    found: dict[str, object] = {}
    if "counts" in embed:
        staged, running, healthy, unhealthy = count(tasks.values(), facts)
        found |= {
            "tasksStaged": staged,
            "tasksRunning": running,
            "tasksHealthy": healthy,
            "tasksUnhealthy": unhealthy,
        }
    if "deployments" in embed:
        found["deployments"] = [{"id": id} for id in held]
    if "tasks" in embed:
        found["tasks"] = [task_document(world, task) for task in shown(tasks)]
    if "readiness" in embed:
        found["readinessCheckResults"] = readiness(world, app)
    if "lastTaskFailure" in embed and (launches := world.launches.get(app.id)) and launches.last_failure:
        found["lastTaskFailure"] = failure_document(launches.last_failure)
    if "taskStats" in embed:
        found["taskStats"] = task_stats(app, shown(tasks), facts, now)
    return found


def shown(tasks: Mapping[str, Task]) -> list[Task]:
    """The tasks that Marathon would list; it knows none that is over and kept for how it ended."""
    return [task for task in tasks.values() if task.goal != "done"]


def count(tasks: Iterable[Task], facts: Facts) -> tuple[int, int, int, int]:
    """How many are staged, running, healthy and unhealthy. Healthy or not is known only by a check's result."""
    staged = running = healthy = unhealthy = 0
    for task in tasks:
        status = facts.get(task.id)
        if status is None or status.state in _STAGED:
            staged += 1
        elif status.state is TaskState.RUNNING:
            running += 1
            if results := [check for check in status.health if seen(check)]:
                alive = all(check.alive for check in results)
                healthy += alive and len(results) == len(status.health)
                unhealthy += not alive
    return staged, running, healthy, unhealthy


def task_document(world: World, task: Task) -> dict[str, object]:
    """One task. Keys that Marathon leaves out when they are not set are left out here."""
    status = world.statuses.get(task.app, {}).get(task.id)
    node = world.nodes.get(task.node)
    app = world.spec(task.app, task.version)
    document: dict[str, object] = {
        "id": task.id,
        "appId": task.app,
        "slaveId": task.node,
        "host": host(node),
        "state": status.state if status else TaskState.STAGING,
        "ports": task.ports,
        "servicePorts": [port.service for port in app.ports] if app else [],
        "ipAddresses": [{"ipAddress": node.address, "protocol": "IPv4"}] if node else [],
        "stagedAt": timestamp(task.created),
        "version": task.version,
        "localVolumes": [],
        "role": app.role if app else "*",
    }
    if status is not None:
        if status.started is not None:
            document["startedAt"] = timestamp(status.started)
        if results := [health_result(task.id, check) for check in status.health if seen(check)]:
            document["healthCheckResults"] = results
    if node is not None:
        document |= {key: place for key, place in (("region", node.region), ("zone", node.zone)) if place}
    return document


def host(node: Node | None) -> str:
    """Where a task's ports are reached: what Marathon calls the host, and what its clients connect to."""
    return node.address if node else ""


def health_result(task: str, check: Health) -> dict[str, object]:
    """What one check of a task has seen."""
    result: dict[str, object] = {
        "alive": check.alive,
        "consecutiveFailures": check.consecutive_failures,
        "taskId": task,
        "instanceId": instance_id(task),
    }
    times = {
        "firstSuccess": check.first_success,
        "lastSuccess": check.last_success,
        "lastFailure": check.last_failure,
    }
    result |= {key: timestamp(time) for key, time in times.items() if time is not None}
    if check.cause:
        result["lastFailureCause"] = check.cause
    return result


def failure_document(failure: Failure) -> dict[str, object]:
    """The last unexpected end of a task."""
    return {
        "appId": failure.app,
        "host": failure.host,
        "message": failure.message,
        "state": failure.state,
        "taskId": failure.task,
        "instanceId": instance_id(failure.task),
        "slaveId": failure.node,
        "timestamp": timestamp(failure.time),
        "version": failure.version,
    }


def readiness(world: World, app: App) -> list[dict[str, object]]:
    """Results of an app's readiness checks, by task."""
    facts = world.statuses.get(app.id, {})
    return [
        {"name": check.name, "taskId": task, "ready": task in facts and facts[task].ready}
        | _last_response(facts.get(task), check)
        for task in (each.id for each in shown(world.tasks.get(app.id, {})))
        for check in app.readiness_checks
    ]


def _last_response(status: Status | None, check: ReadinessCheck) -> dict[str, object]:
    """What a task last answered to a check that wants it kept."""
    found = (each for each in (status.responses if status else ()) if each.check == check.name)
    if not check.preserve_last_response or (last := next(found, None)) is None:
        return {}
    return {"lastResponse": {"status": last.status, "contentType": last.content_type, "body": last.body}}


def task_stats(app: App, tasks: Iterable[Task], facts: Facts, now: float) -> dict[str, object]:
    """Counts and life times by version; a group without tasks is left out."""
    every = list(tasks)
    scaled = app.version_info.last_scaling_at if app.version_info else app.version
    groups = {
        "startedAfterLastScaling": [task for task in every if timestamp(task.created) >= scaled],
        "withLatestConfig": [task for task in every if task.config == app.config_version],
        "withOutdatedConfig": [task for task in every if task.config != app.config_version],
        "totalSummary": every,
    }
    return {name: {"stats": _stats(some, facts, now)} for name, some in groups.items() if some}


def _stats(tasks: list[Task], facts: Facts, now: float) -> dict[str, object]:
    words = ("staged", "running", "healthy", "unhealthy")
    stats: dict[str, object] = {"counts": dict(zip(words, count(tasks, facts), strict=True))}
    started = [facts[task.id].started for task in tasks if task.id in facts]
    lives = [max(now - moment, 0.0) for moment in started if moment is not None]
    if lives:
        stats["lifeTime"] = {"averageSeconds": fmean(lives), "medianSeconds": median(lives)}
    return stats


def step_document(step: Step) -> dict[str, object]:
    """One step of a deployment."""
    return {"actions": [{"action": kind, "app": app} for app, kind in step.actions.items()]}


def seen(check: Health) -> bool:
    """Whether a check has had any outcome yet; before, Marathon shows no result of it."""
    return check.alive or check.last_success is not None or check.last_failure is not None
