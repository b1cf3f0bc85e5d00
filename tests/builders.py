"""Builders for tests: each gives a valid thing, and takes what the test is about."""

from collections.abc import Iterable
from typing import Any

from kato.model.app import App, Network, PortDefinition, VersionInfo
from kato.model.deployment import Deployment, Launches
from kato.model.frontend import BorderAck
from kato.model.ids import task_id
from kato.model.node import Node, Resources
from kato.model.task import Health, Status, Task, TaskState
from kato.model.world import World

V1 = "2026-01-01T00:00:00.000Z"
V2 = "2026-01-02T00:00:00.000Z"
NEEDS_SECRET: dict[str, Any] = {
    "id": "/shop/db",
    "cmd": "sleep 1000",
    "cpus": 0.1,
    "mem": 32,
    "env": {"PASSWORD": {"secret": "pw"}},
    "secrets": {"pw": {"source": "shop/password"}},
}
"""As JSON, an app that waits until there is a secret."""


def app(id: str = "/web", *, ports: int = 0, version: str = V1, config: str | None = None, **more: Any) -> App:
    """An app of small tasks; `ports` service ports from 10000 on."""
    given: dict[str, Any] = {
        "cmd": "sleep 1000",
        "cpus": 0.1,
        "mem": 32.0,
        "networks": (Network(),),
        "port_definitions": tuple(PortDefinition(port=10000 + n) for n in range(ports)),
        "version": version,
        "version_info": VersionInfo(last_scaling_at=version, last_config_change_at=config or version),
    }
    return App(id=id, **(given | more))


def node(id: str = "n1", *, cpus: float = 4.0, mem: float = 4096.0, **more: Any) -> Node:
    """A node that runs processes."""
    given: dict[str, Any] = {
        "hostname": id,
        "resources": Resources(cpus=cpus, mem=mem, disk=10_000.0),
        "runtimes": ("process",),
    }
    return Node(id=id, **(given | more))


def task(of: App, attempt: int = 1, *, on: str = "n1", created: float = 0.0, **more: Any) -> Task:
    """A task of an app as the leader would have placed it."""
    given: dict[str, Any] = {
        "id": task_id(of.id, of.config_version, attempt),
        "app": of.id,
        "version": of.version,
        "config": of.config_version,
        "node": on,
        "attempt": attempt,
        "created": created,
        "resources": Resources(cpus=of.cpus, mem=of.mem, disk=of.disk, gpus=of.gpus),
        "ports": tuple(31000 + 10 * attempt + n for n in range(len(of.ports))),
    }
    return Task(**(given | more))


def status(of: Task, state: TaskState = TaskState.RUNNING, *, alive: bool | None = None, **more: Any) -> Status:
    """What the node says of a task; `alive` gives it one health check with that outcome."""
    given: dict[str, Any] = {
        "task": of.id,
        "app": of.app,
        "node": of.node,
        "state": state,
        "seq": 1,
        "started": of.created,
        "ready": True,
        "health": () if alive is None else (Health(alive=alive),),
    }
    return Status(**(given | more))


def world(
    *,
    apps: Iterable[App] = (),
    nodes: Iterable[Node] = (),
    tasks: Iterable[Task] = (),
    statuses: Iterable[Status] = (),
    deployments: Iterable[Deployment] = (),
    launches: Iterable[Launches] = (),
    borders: Iterable[BorderAck] = (),
    old: Iterable[App] = (),
    **more: Any,
) -> World:
    """A World of these; `old` are further app versions that `spec` finds."""
    wishes = {each.id: each for each in apps}
    specs = {(each.id, each.version): each for each in (*wishes.values(), *old)}
    by_app: dict[str, dict[str, Task]] = {}
    for each in tasks:
        by_app.setdefault(each.app, {})[each.id] = each
    facts: dict[str, dict[str, Status]] = {}
    for fact in statuses:
        facts.setdefault(fact.app, {})[fact.task] = fact
    return World(
        apps=wishes,
        nodes={each.id: each for each in nodes},
        tasks=by_app,
        statuses=facts,
        deployments={each.id: each for each in deployments},
        locks={id: each.id for each in deployments for id in each.target},
        launches={each.app: each for each in launches},
        borders={each.node: each for each in borders},
        spec=lambda id, version: specs.get((id, version)),
        **more,
    )
