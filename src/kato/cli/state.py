"""How far apps and tasks have come: answers of Marathon's API go in, one word and short phrases come out."""

from collections.abc import Mapping
from typing import Any

from kato.cli.names import short_task

Json = Mapping[str, Any]
STATES = {
    "TASK_STAGING": "staging",
    "TASK_STARTING": "starting",
    "TASK_RUNNING": "running",
    "TASK_KILLING": "stopping",
    "TASK_FINISHED": "finished",
    "TASK_FAILED": "failed",
    "TASK_KILLED": "stopped",
    "TASK_ERROR": "failed",
    "TASK_LOST": "lost",
}


def task_state(task: Json, app: Json | None) -> str:
    """staging, starting, running, healthy, unhealthy, stopping, or how it ended.

    A running task of an app with health checks is `running` until it passed them all once, and `unhealthy` once
    it fails one.
    """
    word = STATES.get(str(task.get("state")), "unknown")
    if word != "running" or not (app and app.get("healthChecks")):
        return word
    results = task.get("healthCheckResults") or []
    if results and len(results) >= len(app["healthChecks"]) and all(each.get("alive") for each in results):
        return "healthy"
    return "unhealthy" if any(each.get("consecutiveFailures") for each in results) else "running"


def is_old(task: Json, app: Json) -> bool:
    """Whether a task was launched from a configuration that is not wished for any more."""
    changed = (app.get("versionInfo") or {}).get("lastConfigChangeAt")
    return bool(changed and task.get("version") and task["version"] < changed)


def good_tasks(app: Json) -> int:
    """How many tasks do what they should: healthy where there are health checks, else running; of this version."""
    wanted = "healthy" if app.get("healthChecks") else "running"
    return sum(not is_old(task, app) and task_state(task, app) == wanted for task in app.get("tasks") or ())


def settled(app: Json) -> bool:
    """Whether nothing is left to do: exactly the tasks wished for, all good, and no deployment."""
    tasks = app.get("tasks") or ()
    return not app.get("deployments") and good_tasks(app) == len(tasks) == app.get("instances", 1)


def app_state(app: Json) -> str:
    """deploying, running, healthy, waiting (tasks are missing) or unhealthy."""
    if app.get("deployments"):
        return "deploying"
    if settled(app):
        return "stopped" if not app.get("instances", 1) else "healthy" if app.get("healthChecks") else "running"
    states = {task_state(task, app) for task in app.get("tasks") or ()}
    return "unhealthy" if "unhealthy" in states else "waiting"


def app_row(app: Json, urls: Mapping[str, list[str]]) -> dict[str, Any]:
    """One app for `kato ls`. port: its service ports."""
    ports = [each.get("port") for each in app.get("portDefinitions") or ()]
    container = app.get("container") or {}
    ports += [each.get("servicePort") for each in container.get("portMappings") or ()]
    return {
        "app": app["id"],
        "state": app_state(app),
        "tasks": f"{good_tasks(app)}/{app.get('instances', 1)}",
        "cpus": app.get("cpus"),
        "mem": app.get("mem"),
        "ports": [port for port in ports if port],
        "urls": urls.get(app["id"], []),
        "version": app.get("version"),
    }


def task_row(task: Json, app: Json | None) -> dict[str, Any]:
    """One task for `kato ps`."""
    return {
        "task": short_task(task["id"]),
        "state": task_state(task, app),
        "node": task.get("slaveId") or task.get("host"),
        "ports": task.get("ports") or [],
        "started": task.get("startedAt"),
        "version": task.get("version"),
        "app": task.get("appId"),
        "id": task["id"],
    }
