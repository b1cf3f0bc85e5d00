"""The World goes in; what every balancer should serve comes out: a Service a TCP service port of each app."""

from collections.abc import Iterator

from kato.model.app import App
from kato.model.frontend import Frontends, Server, Service
from kato.model.task import Task
from kato.model.world import World
from kato.plan.memory import Memory
from kato.plan.state import serves


def frontends(world: World, memory: Memory | None = None) -> Frontends:
    """The whole view, ordered by app and port. memory: what was found before, kept between calls."""
    known = (memory or Memory()).services
    services: list[Service] = []
    for id in sorted(world.apps):
        seen = (world.apps[id], world.tasks.get(id), world.statuses.get(id), world.nodes)
        before = known.get(id)
        if before is None or any(was is not now for was, now in zip(before[0], seen, strict=True)):
            before = known[id] = (seen, tuple(_services(world.apps[id], world)))
        services.extend(before[1])
    for id in known.keys() - world.apps.keys():
        del known[id]
    return Frontends(world.seq, tuple(services))


def _services(app: App, world: World) -> Iterator[Service]:
    tasks = world.tasks.get(app.id, {})
    for index, port in enumerate(app.ports):
        if not port.service or "tcp" not in port.protocol:
            continue
        hosts = app.labels.get(f"HAPROXY_{index}_VHOST", "").split(",")
        yield Service(
            app=app.id,
            index=index,
            port=port.service,
            hosts=tuple(host.strip() for host in hosts if host.strip()),
            path=app.labels.get(f"HAPROXY_{index}_PATH", "/"),
            servers=tuple(_servers(app, index, port.service, [tasks[id] for id in sorted(tasks)], world)),
        )


def _servers(app: App, index: int, service: int, tasks: list[Task], world: World) -> Iterator[Server]:
    """The tasks behind one service port: those that serve, and those that drain until they have ended."""
    statuses = world.statuses.get(app.id, {})
    for task in tasks:
        status = statuses.get(task.id)
        node = world.nodes.get(task.node)
        at = index if task.config == app.config_version else _index(task, service, world)
        if status is None or node is None or at is None or at >= len(task.ports):
            continue
        if serves(task, status):
            yield Server(task.id, node.address, task.ports[at])
        elif task.goal == "drain" and not status.state.ended:
            yield Server(task.id, node.address, task.ports[at], "drain")


def _index(task: Task, service: int, world: World) -> int | None:
    """Which port of a task of an older version is behind a service port, if any."""
    app = world.spec(task.app, task.version)
    ports = app.ports if app is not None else ()
    return next((n for n, port in enumerate(ports) if port.service == service), None)
