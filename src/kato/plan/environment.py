"""A task, its app, its node and the World go in; the task's whole environment comes out.

Marathon's variables (`mesosphere/mesos/TaskBuilder.scala`), and where the app's dependencies are reached. What
the app itself says wins over both, as in Marathon. A secret that nobody has set is left out.
"""

import re
from collections.abc import Mapping

from kato.model.app import App, SecretRef
from kato.model.dependencies import Dependencies
from kato.model.ids import alias, env_name
from kato.model.node import Node
from kato.model.secret import Secret
from kato.model.secret import given as given_secrets
from kato.model.task import Task
from kato.model.world import World
from kato.plan.constraints import scalar
from kato.plan.names import host_name

LONGEST = 512
"""Characters of a label's name or value that may become a variable (Marathon's limit)."""
_NOT_NAME = re.compile(r"[^A-Z0-9_]+")


def environment(app: App, task: Task, node: Node, world: World) -> dict[str, str]:
    """The variables of a task. app: the version that it is launched from."""
    return {
        **_about(app, task),
        **_labels(app),
        **_ports(app, task, node),
        **_callees(app, node, world),
        **_own(app, given_secrets(app, world.secrets)),
    }


def _about(app: App, task: Task) -> dict[str, str]:
    found = {
        "MESOS_TASK_ID": task.id,
        "MARATHON_APP_ID": app.id,
        "MARATHON_APP_VERSION": app.version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(app.cpus)),
        "MARATHON_APP_RESOURCE_MEM": str(float(app.mem)),
        "MARATHON_APP_RESOURCE_DISK": str(float(app.disk)),
        "MARATHON_APP_RESOURCE_GPUS": scalar(app.gpus),
    }
    if app.container is not None and app.container.docker is not None and app.container.docker.image:
        found["MARATHON_APP_DOCKER_IMAGE"] = app.container.docker.image
    return found


def _labels(app: App) -> dict[str, str]:
    short = {_name(k): v for k, v in sorted(app.labels.items()) if len(k) < LONGEST and len(v) < LONGEST}
    return {"MARATHON_APP_LABELS": " ".join(short)} | {f"MARATHON_APP_LABEL_{k}": v for k, v in short.items()}


def _ports(app: App, task: Task, node: Node) -> dict[str, str]:
    """HOST, and each port by its number, by the number asked for and by its name.

    On a network that has names a container is told its own ports (Marathon's container mode), and no HOST: many
    programs listen where HOST and PORT say, and there neither is the machine's.
    """
    inside = bool(app.own_networks)
    found = {} if inside else {"HOST": node.address}
    ports = [
        port.container if inside and port.container and not port.host else given
        for port, given in zip(app.ports, task.ports, strict=False)
    ]
    for index, (port, number) in enumerate(zip(app.ports, ports, strict=False)):
        value = str(number)
        found[f"PORT{index}"] = value
        asked = port.container or port.service
        if asked:
            found[f"PORT_{asked}"] = value
        if port.name:
            found[f"PORT_{_name(port.name)}"] = value
    if ports:
        found["PORT"] = str(ports[0])
        found["PORTS"] = ",".join(map(str, ports))
    return found


def _callees(app: App, node: Node, world: World) -> dict[str, str]:
    """Where each app is reached that this one depends on: by its name and its own ports on a network that both are
    on, otherwise at the balancer's address and by its service ports. A docker container on a network of its own
    is told the name of that address, which is another one on each network (`drivers/dns/doors.py`).
    """
    found: dict[str, str] = {}
    for id in sorted(Dependencies(world.apps).named(app)):
        name = env_name(id)
        if f"{name}_HOST" in found:
            continue
        callee = world.apps[id]
        shared = bool(app.own_networks & callee.own_networks)
        ports = [port.container if shared else port.service for port in callee.ports]
        reached = [port for port in ports if port]
        if reached or shared:
            there = host_name(id) if app.runtime == "docker" and app.own_networks else None
            found[f"{name}_HOST"] = alias(id) if shared else there or _balancer(node, world)
            found |= {f"{name}_PORT" + (f"_{n}" if n else ""): str(port) for n, port in enumerate(reached)}
    return found


def _balancer(node: Node, world: World) -> str:
    """The address of the border on the task's own node, else of the first one; loopback before any is known."""
    if node.id in world.borders:
        return world.borders[node.id].address
    return world.borders[min(world.borders)].address if world.borders else "127.0.0.1"


def _own(app: App, secrets: Mapping[str, Secret]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in app.env.items():
        if not isinstance(value, SecretRef):
            found[name] = value
        elif value.secret in secrets and (text := secrets[value.secret].text) is not None:
            found[name] = text
    return found


def _name(word: str) -> str:
    return _NOT_NAME.sub("_", word.upper())
