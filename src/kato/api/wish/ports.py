"""Service ports: apps whose ports say 0 go in, the same apps with a free port of 10000–20000 each come out."""

import zlib
from collections.abc import Collection, Iterator, Mapping

import msgspec

from kato.model.app import SERVICE_PORTS, App
from kato.model.errors import InvalidInput
from kato.model.world import World

FIRST, LAST = SERVICE_PORTS


def assign(asked: Mapping[str, App | None], world: World, salt: str, avoid: Collection[int]) -> dict[str, App]:
    """The apps of a wish, without those that go; a service port of 0 gets the one that it has, or else a free one.

    Free is what no other app has or may go back to, nothing on a node listens on, and `avoid` does not name. The
    search starts at a stable hash of `salt`, app and index, so that two cells on one machine rarely meet. Raises
    InvalidInput when all are used.
    """
    wished = {id: app for id, app in asked.items() if app is not None}
    used = set(avoid)
    for node in world.nodes.values():
        used.update(node.taken)
    for app in (*world.apps.values(), *wished.values(), *_originals(world)):
        used.update(port.service for port in app.ports)
    current = {id: world.apps.get(id) for id in wished}
    return {id: _ported(wished[id], current[id], used, salt, avoid) for id in sorted(wished)}


def _originals(world: World) -> Iterator[App]:
    """What a running deployment would be rolled back to."""
    for deployment in world.deployments.values():
        for id, version in deployment.original.items():
            if version and version != deployment.target.get(id) and (app := world.spec(id, version)):
                yield app


def _ported(app: App, current: App | None, used: set[int], salt: str, avoid: Collection[int]) -> App:
    asked = [port.service for port in app.ports]
    if 0 not in asked:
        return app
    had = [port.service for port in current.ports] if current else []
    kept = {index: had[index] for index, port in enumerate(asked) if not port and index < len(had)}
    ports = []
    for index, port in enumerate(asked):
        given = port or kept.get(index, 0)
        if not given or given in ports or (given in avoid and not port):
            given = _free(f"{salt}{app.id}:{index}", used)
            used.add(given)
        ports.append(given)
    return _with_ports(app, ports)


def _free(seed: str, used: Collection[int]) -> int:
    start = zlib.crc32(seed.encode())
    for port in _around(start):
        if port not in used:
            return port
    raise InvalidInput(
        f"Every service port from {FIRST} to {LAST} is used; remove an app, or write which port this is to have."
    )


def _around(start: int) -> Iterator[int]:
    count = LAST - FIRST + 1
    return (FIRST + (start + step) % count for step in range(count))


def _with_ports(app: App, ports: list[int]) -> App:
    if app.container is not None and app.container.port_mappings is not None:
        mapped = zip(app.container.port_mappings, ports, strict=True)
        mappings = tuple(msgspec.structs.replace(mapping, service_port=port) for mapping, port in mapped)
        container = msgspec.structs.replace(app.container, port_mappings=mappings)
        return msgspec.structs.replace(app, container=container)
    defined = zip(app.port_definitions or (), ports, strict=True)
    definitions = tuple(msgspec.structs.replace(definition, port=port) for definition, port in defined)
    return msgspec.structs.replace(app, port_definitions=definitions)
