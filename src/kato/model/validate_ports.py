"""An app comes in; every fault in its ports, and in what it asks of the balancer, comes out."""

import re
from collections.abc import Iterator

from kato.model.app import App
from kato.model.errors import Fault
from kato.model.frontend import host_name, is_path
from kato.model.ingress import routes, service_ports

_INGRESS = re.compile(r"HAPROXY_\d+_(VHOST|PATH)")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

Faults = Iterator[Fault]


def ports(app: App) -> Faults:
    """Names, numbers and networks of ports."""
    names = {network.name for network in app.networks}
    definitions = app.port_definitions or ()
    mappings = (app.container.port_mappings if app.container else None) or ()
    seen: set[str] = set()
    for path, name in (
        *((f"/portDefinitions({n})", each.name) for n, each in enumerate(definitions)),
        *((f"/container/portMappings({n})", each.name) for n, each in enumerate(mappings)),
    ):
        if name is None:
            continue
        if not _PORT_NAME.fullmatch(name):
            yield Fault(f"{path}/name", f"{name!r} is no name: use lower-case letters, digits, and dashes inside")
        if name in seen:
            yield Fault(f"{path}/name", f"two ports are named {name!r}; give one another name")
        seen.add(name)
    for n, mapping in enumerate(mappings):
        path = f"/container/portMappings({n})"
        yield from port(f"{path}/containerPort", mapping.container_port)
        yield from port(f"{path}/hostPort", mapping.host_port or 0)
        yield from port(f"{path}/servicePort", mapping.service_port)
        for network in mapping.network_names or ():
            if network not in names:
                yield Fault(f"{path}/networkNames", f"there is no network {network!r} in /networks")
    used: set[tuple[int, str]] = set()
    for n, definition in enumerate(definitions):
        yield from port(f"/portDefinitions({n})/port", definition.port)
        for protocol in definition.protocol.split(","):
            if definition.port and (definition.port, protocol) in used:
                yield Fault(f"/portDefinitions({n})/port", f"port {definition.port} stands twice; keep one")
            used.add((definition.port, protocol))


def labels(app: App) -> Faults:
    """marathon-lb's labels for the ingress; all others are the user's own."""
    for name, value in app.labels.items():
        match = _INGRESS.fullmatch(name)
        if match and match[1] == "PATH" and not is_path(value):
            yield Fault(f"/labels/{name}", f"{value[:60]!r} is no path; write one like /api")
        for host in value.split(",") if match and match[1] == "VHOST" else ():
            if host.strip() and host_name(host.strip()) is None:
                yield Fault(f"/labels/{name}", f"{host[:60]!r} is no host name; write one like vote.localhost")


def twice(app: App) -> Faults:
    """What one app asks of the balancer twice, and it can serve only once."""
    taken: set[int] = set()
    for path, number in service_ports(app):
        if number in taken and path.startswith("/container"):  # port definitions have their own rule
            yield Fault(path, f"service port {number} stands twice; keep one, or write 0 for any that is free")
        taken.add(number)
    names: dict[str, str] = {}
    for path, route in routes(app):
        first = names.setdefault(route, path)
        if first != path:
            yield Fault(path, f"{route} is at {first} already; give one of them another host or HAPROXY_n_PATH")


def port(path: str, number: int) -> Faults:
    """A port that is none. 0 is any."""
    if not 0 <= number <= 65535:
        yield Fault(path, f"{number} is no port; it must be between 0 and 65535")
