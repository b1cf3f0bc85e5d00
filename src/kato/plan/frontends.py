"""The World goes in; what every balancer should serve comes out: a Service a TCP service port of each app.

An app that is removed stays for as long as a task of it has to drain: what was asked of it is answered, and who
comes new is turned away at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import msgspec

from kato.model.app import App
from kato.model.frontend import Frontends, Server, Service
from kato.model.task import Task
from kato.model.world import World
from kato.plan.recall import Recall


def frontends(world: World, recall: Recall | None = None) -> Frontends:
    """The whole view, ordered by app and port. recall: what was found before, kept between calls."""
    recall = recall or Recall()
    addresses = recall.addresses(world)
    services: list[Service] = []
    for id in sorted(world.apps.keys() | world.tasks.keys()):
        app = world.apps.get(id)
        seen = (app, world.tasks.get(id), world.statuses.get(id), addresses)
        find = partial(_services, app, world, addresses) if app else partial(_leaving, id, world, addresses)
        services.extend(recall.services(id, seen, find))
    recall.drop_services(world)
    return Frontends(world.seq, tuple(services))


def _services(app: App, world: World, addresses: Mapping[str, str]) -> Iterator[Service]:
    tasks = [task for _, task in sorted(world.tasks.get(app.id, {}).items())]
    for index, port in enumerate(app.ports):
        if not port.balanced:
            continue
        hosts = app.labels.get(f"HAPROXY_{index}_VHOST", "").split(",")
        yield Service(
            app=app.id,
            index=index,
            port=port.service,
            hosts=tuple(host.strip() for host in hosts if host.strip()),
            path=app.labels.get(f"HAPROXY_{index}_PATH", "/"),
            servers=tuple(_servers(app, index, port.service, tasks, world, addresses)),
        )


def _leaving(id: str, world: World, addresses: Mapping[str, str]) -> Iterator[Service]:
    """What is left of a removed app, as its newest version had it."""
    versions = {task.version for task in world.tasks[id].values()}
    app = max(
        filter(None, (world.spec(id, each) for each in versions)), key=lambda each: each.version, default=None
    )
    for service in _services(app, world, addresses) if app else ():
        if service.servers:
            servers = tuple(msgspec.structs.replace(each, state="drain") for each in service.servers)
            yield msgspec.structs.replace(service, servers=servers, leaving=True)


def _servers(
    app: App, index: int, service: int, tasks: Sequence[Task], world: World, addresses: Mapping[str, str]
) -> Iterator[Server]:
    """The tasks behind one service port: those that serve, and those that drain until they have ended."""
    statuses = world.statuses.get(app.id, {})
    for task in tasks:
        status = statuses.get(task.id)
        address = addresses.get(task.node)
        at = index if task.config == app.config_version else _index(task, service, world)
        if status is None or address is None or at is None or at >= len(task.ports):
            continue
        if task.serves(status):
            yield Server(task.id, address, task.ports[at])
        elif task.goal == "drain" and not status.state.ended:
            yield Server(task.id, address, task.ports[at], "drain")


def _index(task: Task, service: int, world: World) -> int | None:
    """Which port of a task of an older version is behind a service port, if any."""
    app = world.spec(task.app, task.version)
    ports = app.ports if app is not None else ()
    return next((n for n, port in enumerate(ports) if port.service == service), None)
