"""The World goes in; what every balancer should serve comes out: a Service a TCP service port of each app."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

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
    for id in sorted(world.apps):
        app = world.apps[id]
        seen = (app, world.tasks.get(id), world.statuses.get(id), addresses)
        services.extend(recall.services(id, seen, partial(_services, app, world, addresses)))
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
