"""Decoded changes of the mirror come in; Marathon's events come out, as plain data. Pure.

`light` leaves out a deployment's `original` and `target` (Marathon's `plan-format=light`).
"""

import os.path
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kato.api.marathon.documents import seen, step_document
from kato.language.wire import app_document
from kato.model.app import App
from kato.model.deployment import Deployment, Progress
from kato.model.health import ailment
from kato.model.ids import instance_id, parent, timestamp
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World
from kato.plan.deployment import Step, steps
from kato.store.changes import Change

Json = dict[str, Any]
Wants = Callable[[str], bool]
CONDITIONS = {
    TaskState.STAGING: "Staging",
    TaskState.STARTING: "Starting",
    TaskState.RUNNING: "Running",
    TaskState.KILLING: "Killing",
    TaskState.FINISHED: "Finished",
    TaskState.FAILED: "Failed",
    TaskState.KILLED: "Killed",
    TaskState.ERROR: "Error",
    TaskState.LOST: "Unreachable",
}


class Told:
    """Tasks and deployments as the changes so far told of them: the World may be past them already."""

    def __init__(self, world: World) -> None:
        self.tasks = {app: dict(tasks) for app, tasks in world.tasks.items()}
        self.deployments = dict(world.deployments)

    def learn(self, change: Change) -> None:
        """Takes in what is there now."""
        match change.now:
            case Task(app=app, id=id):
                self.tasks.setdefault(app, {})[id] = change.now
            case Deployment(id=id):
                self.deployments[id] = change.now

    def forget(self, change: Change) -> None:
        """Drops what is gone."""
        match change.before if change.now is None else None:
            case Task(app=app, id=id):
                tasks = self.tasks.get(app, {})
                tasks.pop(id, None)
                if not tasks:
                    self.tasks.pop(app, None)
            case Deployment(id=id):
                self.deployments.pop(id, None)


def _all(_kind: str) -> bool:
    return True


def events(
    change: Change, known: Told, world: World, now: float, *, light: bool = False, wants: Wants = _all
) -> list[Json]:
    """What one change means. world: at least as new as the change; now: epoch seconds.

    wants: whether anybody listens to a type of event; the plans of deployments are not made for nobody.
    """
    stamp = timestamp(now)
    return [{**event, "timestamp": stamp} for event in _event(change, known, world, light, wants)]


def attached(remote: str, now: float, *, gone: bool = False) -> Json:
    """A client began, or ended, to listen."""
    kind = "event_stream_detached" if gone else "event_stream_attached"
    return {"remoteAddress": remote, "eventType": kind, "timestamp": timestamp(now)}


def posted(client: str, uri: str, app: App, now: float) -> Json:
    """A client asked for an app to be as it says."""
    return {
        "clientIp": client,
        "uri": uri,
        "appDefinition": app_document(app),
        "eventType": "api_post_event",
        "timestamp": timestamp(now),
    }


def _event(change: Change, known: Told, world: World, light: bool, wants: Wants) -> Iterator[Json]:
    before, after = change.before, change.now
    match after if after is not None else before:
        case Task():
            yield from _task(before, after, known, world)
        case Status() if after is not None and (task := known.tasks.get(after.app, {}).get(after.task)):
            yield from _status(before, after, task, world)
        case Deployment():
            yield from _deployment(before, after, world, light, wants)
        case Progress() if after is not None and (deployment := known.deployments.get(after.deployment)):
            yield from _progress(after, deployment, world, light, wants)


# -- tasks ----------------------------------------------------------------------------------------------------


def _task(before: Task | None, after: Task | None, known: Told, world: World) -> Iterator[Json]:
    if before is None and after is not None:
        yield _instance_changed(after, TaskState.STAGING, world)
    elif before is not None and after is not None and before.goal != "stop" and after.goal == "stop":
        status = world.statuses.get(after.app, {}).get(after.id)
        if status is not None and ailment(world.spec(after.app, after.version), status):
            kill = {"reason": after.reason, "eventType": "unhealthy_instance_kill_event"}
            yield {**_about(after, world), **kill}
    elif before is not None and after is None:
        others = known.tasks.get(before.app, {}).keys() - {before.id}
        if before.app not in world.apps and not others:
            yield {"appId": before.app, "eventType": "app_terminated_event"}


def _status(before: Status | None, after: Status, task: Task, world: World) -> Iterator[Json]:
    if before is None or before.state is not after.state:
        yield {
            "slaveId": after.node,
            "taskId": after.task,
            "taskStatus": after.state,
            "message": after.message,
            "appId": after.app,
            "host": _host(task, world),
            "ipAddresses": [{"ipAddress": _host(task, world), "protocol": "IPv4"}],
            "ports": task.ports,
            "version": task.version,
            "eventType": "status_update_event",
        }
        yield _instance_changed(task, after.state, world)
    yield from _health(before, after, task, world)


def _health(before: Status | None, after: Status, task: Task, world: World) -> Iterator[Json]:
    app = world.spec(task.app, task.version)
    checks = app_document(app).get("healthChecks", []) if app else []
    old = before.health if before is not None and len(before.health) == len(after.health) else ()
    was, known = bool(old) and all(each.alive for each in old), any(map(seen, old))
    for index, (health, check) in enumerate(zip(after.health, checks, strict=False)):
        earlier = old[index] if old else Health()
        about = {"appId": task.app, "taskId": task.id, "instanceId": instance_id(task.id), "version": task.version}
        if health.consecutive_failures > earlier.consecutive_failures:
            yield {**about, "healthCheck": check, "eventType": "failed_health_check_event"}
        if health.alive is not earlier.alive or (seen(health) and not seen(earlier)):
            yield {**about, "alive": health.alive, "eventType": "health_status_changed_event"}
    now_alive = bool(after.health) and all(each.alive for each in after.health)
    if any(map(seen, after.health)) and (now_alive is not was or not known):
        yield {
            "instanceId": instance_id(task.id),
            "runSpecId": task.app,
            "runSpecVersion": task.version,
            "healthy": now_alive,
            "eventType": "instance_health_changed_event",
        }


def _instance_changed(task: Task, state: TaskState, world: World) -> Json:
    return {
        "instanceId": instance_id(task.id),
        "slaveId": task.node,
        "condition": CONDITIONS[state],
        "host": _host(task, world),
        "runSpecId": task.app,
        "runSpecVersion": task.version,
        "eventType": "instance_changed_event",
    }


def _about(task: Task, world: World) -> Json:
    return {
        "appId": task.app,
        "taskId": task.id,
        "instanceId": instance_id(task.id),
        "version": task.version,
        "host": _host(task, world),
        "slaveId": task.node,
    }


def _host(task: Task, world: World) -> str:
    node = world.nodes.get(task.node)
    return node.address if node else ""


# -- deployments ----------------------------------------------------------------------------------------------


def _deployment(
    before: Deployment | None, after: Deployment | None, world: World, light: bool, wants: Wants
) -> Iterator[Json]:
    if before is None and after is not None:
        yield {"groupId": _group(after), "version": after.version, "eventType": "group_change_success"}
        if not wants("deployment_info"):
            return
        found = steps(after, world)
        first = {"currentStep": step_document(found[0])} if found else {}
        yield {"plan": plan(after, found, world, light), **first, "eventType": "deployment_info"}
    elif before is not None and after is None:
        kind = "deployment_failed" if before.cancelled else "deployment_success"
        if wants(kind):
            yield {"id": before.id, "plan": plan(before, steps(before, world), world, light), "eventType": kind}


def _progress(after: Progress, deployment: Deployment, world: World, light: bool, wants: Wants) -> Iterator[Json]:
    if not (wants("deployment_step_success") or wants("deployment_info")):
        return
    found = steps(deployment, world)
    whole = plan(deployment, found, world, light)
    done = {"currentStep": step_document(found[after.finished - 1])} if 0 < after.finished <= len(found) else {}
    yield {"plan": whole, **done, "eventType": "deployment_step_success"}
    if after.finished < len(found):
        yield {"plan": whole, "currentStep": step_document(found[after.finished]), "eventType": "deployment_info"}


def plan(deployment: Deployment, found: Iterable[Step], world: World, light: bool) -> Json:
    """A deployment's plan: what it comes from, what it goes to (unless light), and its steps."""
    whole: Json = {
        "id": deployment.id,
        "steps": [step_document(step) for step in found],
        "version": deployment.version,
    }
    if not light:
        whole["original"] = _tree(deployment.original, deployment, world)
        whole["target"] = _tree(deployment.target, deployment, world)
    return whole


def _group(deployment: Deployment) -> str:
    """The group in which everything that it touches lies."""
    common = os.path.commonpath([parent(app) for app in deployment.target])
    return common or "/"


def _tree(versions: Mapping[str, str | None], deployment: Deployment, world: World) -> Json:
    """The root group of one side, with the apps that the deployment touches."""
    root = _folder("/", deployment)
    folders = {"/": root}
    for id, version in sorted(versions.items()):
        app = world.spec(id, version) if version else None
        if app is not None:
            _find(folders, parent(id), deployment)["apps"].append(app_document(app))
    return root


def _find(folders: dict[str, Json], id: str, deployment: Deployment) -> Json:
    if id not in folders:
        folders[id] = _folder(id, deployment)
        _find(folders, parent(id), deployment)["groups"].append(folders[id])
    return folders[id]


def _folder(id: str, deployment: Deployment) -> Json:
    return {"id": id, "apps": [], "groups": [], "pods": [], "dependencies": [], "version": deployment.version}
