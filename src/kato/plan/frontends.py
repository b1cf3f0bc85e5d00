"""The World goes in; what every balancer should serve comes out: a Service a TCP service port of each app.

An app that is removed, or a port that a newer version has no more, stays for as long as a task has to drain: what
was asked of it is answered, and who comes new is turned away at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import msgspec

from kato.model.app import App
from kato.model.frontend import Frontends, Server, Service
from kato.model.ingress import hosts_of, path_of
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
    """What an app wishes for, and what its older versions had besides, while a task of theirs has to drain."""
    tasks = [task for _, task in sorted(world.tasks.get(app.id, {}).items())]
    servers = partial(_servers, world, addresses)
    for index, port in enumerate(app.ports):
        if not port.balanced:
            continue
        yield Service(
            app=app.id,
            index=index,
            port=port.service,
            hosts=hosts_of(app, index),
            path=path_of(app, index),
            servers=tuple(servers((task, _behind(task, index, app, world)) for task in tasks)),
        )
    served = {port.service for port in app.ports if port.balanced}
    older = [task for task in tasks if task.config != app.config_version]
    for number, index in sorted(_numbers(older, world).items()):
        if number not in served:
            left = tuple(servers((task, _numbered(task, number, world)) for task in older))
            yield from _left([Service(app.id, index, number, servers=left)])


def _leaving(id: str, world: World, addresses: Mapping[str, str]) -> Iterator[Service]:
    """What is left of a removed app, as its newest version had it."""
    versions = {task.version for task in world.tasks[id].values()}
    app = max(
        filter(None, (world.spec(id, each) for each in versions)), key=lambda each: each.version, default=None
    )
    if app is not None:
        yield from _left(_services(app, world, addresses))


def _left(services: Iterable[Service]) -> Iterator[Service]:
    """Those that somebody may still have sessions with, and that take no new ones."""
    for service in services:
        if service.servers:
            servers = tuple(msgspec.structs.replace(each, state="drain") for each in service.servers)
            yield msgspec.structs.replace(service, servers=servers, leaving=True)


def _servers(
    world: World, addresses: Mapping[str, str], ports: Iterable[tuple[Task, int | None]]
) -> Iterator[Server]:
    """Where tasks are reached: those that serve, and those that drain until they have ended.

    ports: tasks, and which of its ports each is to serve on; None for none.
    """
    for task, at in ports:
        status = world.statuses.get(task.app, {}).get(task.id)
        address = addresses.get(task.node)
        if status is None or address is None or at is None or at >= len(task.ports):
            continue
        if task.serves(status):
            yield Server(task.id, address, task.ports[at])
        elif task.goal == "drain" and not status.state.ended:
            yield Server(task.id, address, task.ports[at], "drain")


def _behind(task: Task, index: int, app: App, world: World) -> int | None:
    """Which port of a task is behind the service port at `index` of its app, if any.

    Of an older version it is the one with that number; else the one at that place, where its number is no more.
    """
    if task.config == app.config_version:
        return index
    at = _numbered(task, app.ports[index].service, world)
    old = world.spec(task.app, task.version)
    if at is not None or old is None or index >= len(old.ports) or not old.ports[index].balanced:
        return at
    return None if old.ports[index].service in {port.service for port in app.ports} else index


def _numbered(task: Task, number: int, world: World) -> int | None:
    """Which port of a task its own version has behind a service port."""
    app = world.spec(task.app, task.version)
    ports = app.ports if app is not None else ()
    return next((n for n, port in enumerate(ports) if port.service == number), None)


def _numbers(tasks: Iterable[Task], world: World) -> dict[int, int]:
    """The service ports that the versions of some tasks have, and at which place."""
    versions = {(task.app, task.version) for task in tasks}
    apps = [app for each in sorted(versions) if (app := world.spec(*each)) is not None]
    return {port.service: index for app in apps for index, port in enumerate(app.ports) if port.balanced}
