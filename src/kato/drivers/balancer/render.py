"""Renders what HAProxy reads: a view of frontends goes in, a layout and then two files' text come out.

Everything here is pure, and everything that reaches the text was checked against a closed alphabet first, so that
no label of an app can write a line of configuration.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import quote

import msgspec

from kato.model.frontend import Door, Frontends, Server, Service, front_of, host_name, is_path

KEEP_ALIVE = 10
"""Seconds that a client's idle HTTP connection is kept, and so how long a worker of before a reload has some."""
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
EXPORTS = "figures.sock"
"""Where HAProxy's exporter answers, in its folder."""
EXPORTER = (
    "frontend figures",
    f"    bind unix@{EXPORTS} mode 600",
    "    http-request use-service prometheus-exporter",
)
_APP = re.compile(r"(/[A-Za-z0-9._-]+)+")
_PLAIN = "content-type 'text/plain; charset=utf-8'"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where one balancer listens and what it may use. uid: whom its workers become, None for who starts it.
    exports: whether it was built with its exporter for Prometheus.
    """

    address: str
    ingress: str
    connections: int = 10_000
    threads: int = 2
    uid: int | None = None
    exports: bool = True

    @property
    def ingress_port(self) -> int:
        return int(self.ingress.rpartition(":")[2])


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What of a view can be served. A service whose port cannot be had has port 0, and answers as HTTP only."""

    services: tuple[Service, ...]
    ingress: bool
    problems: tuple[str, ...]
    doors: tuple[tuple[Door, int], ...] = ()

    @property
    def shape(self) -> tuple[object, ...]:
        """All of it that only a reload can change: everything but servers."""
        return (self.ingress, self.doors, *((s.app, s.index, s.port, s.hosts, s.path) for s in self.services))

    @property
    def backends(self) -> dict[str, tuple[Server, ...]]:
        """Every backend that HAProxy should have, with its servers."""
        tcp = {tcp_name(each): each.servers for each in self.services if each.port}
        return tcp | {http_name(each): each.servers for each in self.services if each.hosts}


Entrance = tuple[int, str]
"""A service port, and the interface of a door at which it is reached too."""


class Rendered(msgspec.Struct, frozen=True):
    """`haproxy.cfg` and `routes.map`. digest: of all in them that only a reload can change (all but servers)."""

    config: str
    routes: str
    digest: str


@lru_cache(maxsize=100_000)
def word(text: str) -> str:
    """`text` as one word of HAProxy's alphabet, and a different word for every text.

    >>> word("voting/vote"), word("a b")
    ('voting::vote', 'a:20b')
    """
    return quote(text, safe="/").replace("~", "%7E").replace("%", ":").replace("/", "::")


def tcp_name(service: Service) -> str:
    return f"tcp.{service.port}.{word(service.app[1:])}"


def http_name(service: Service) -> str:
    return f"http.{service.index}.{word(service.app[1:])}"


def ingress_name(site: Site) -> str:
    return f"ingress.{site.ingress_port}"


def door_name(port: int, door: Door) -> str:
    return f"door.{port}.{door.interface}"


def held_entrance(frontend: str) -> Entrance:
    """The entrance where a frontend with this name listens; port 0 for a name that is none's.

    >>> held_entrance("door.6379.br-0af2"), held_entrance("tcp.6379.redis")
    ((6379, 'br-0af2'), (0, ''))
    """
    kind, _, rest = frontend.partition(".")
    port, _, interface = rest.partition(".")
    return (int(port), interface) if kind == "door" and port.isdecimal() else (0, "")


def held_port(frontend: str) -> int:
    """The port on which a frontend with this name listens, 0 for a name that is not ours."""
    kind, _, rest = frontend.partition(".")
    port = rest.partition(".")[0]
    return int(port) if kind in ("tcp", "ingress") and port.isdecimal() else 0


def lay_out(
    view: Frontends,
    site: Site,
    taken: Mapping[int, str],
    doors: Sequence[Door] = (),
    shut: Mapping[Entrance, str] = MappingProxyType({}),
) -> Layout:
    """What of `view` can be served, and why the rest cannot. taken: port → why it cannot be had; shut: likewise.

    What leaves comes last, and that it is left out is nobody's problem.
    """
    problems: list[str] = []
    ports: dict[int, str] = {site.ingress_port: "the ingress"}
    routes: dict[str, str] = {}
    services: list[Service] = []
    if site.ingress_port in taken:
        problems.append(f"the ingress {site.ingress} {taken[site.ingress_port]}.")
    for service in sorted(view.services, key=lambda each: (each.leaving, each)):
        said = [] if service.leaving else problems
        if not _APP.fullmatch(service.app):
            said.append(f"app {service.app!r} is not served: its id has characters that no app id may have.")
            continue
        port = _port(service, ports, taken, said)
        hosts, path = _hosts(service, routes, said)
        servers = tuple(each for each in service.servers if _reachable(each, service, said))
        services.append(msgspec.structs.replace(service, port=port, hosts=hosts, path=path, servers=servers))
    open = tuple(_doors(services, doors, shut, problems))
    return Layout(
        services=tuple(sorted(services)),
        ingress=site.ingress_port not in taken,
        problems=tuple(problems),
        doors=open,
    )


def _doors(
    services: Iterable[Service], doors: Sequence[Door], shut: Mapping[Entrance, str], problems: list[str]
) -> Iterator[tuple[Door, int]]:
    """At which doors each service port is, too."""
    for door in doors:
        if not (_INTERFACE.fullmatch(door.interface) and _is_ip(door.address)):
            continue
        for service in sorted(services):
            if (why := shut.get((service.port, door.interface))) is not None:
                problems.append(
                    f"service port {service.port} of {service.app} is not reached by containers on "
                    f"{door.interface}: at {door.address} it {why}."
                )
            elif service.port:
                yield door, service.port


def _port(service: Service, ports: dict[int, str], taken: Mapping[int, str], problems: list[str]) -> int:
    """The service's port if it can be had, else 0 and a problem more."""
    port = service.port
    if port == 0:
        return 0
    if not 0 < port < 65536:
        problems.append(f"service port {port} of {service.app} is no port: give it one from 1 to 65535.")
        return 0
    if port in ports:
        problems.append(f"service port {port} of {service.app} is in use by {ports[port]}: give it another port.")
        return 0
    if port in taken:
        problems.append(f"service port {port} of {service.app} {taken[port]}.")
        return 0
    ports[port] = service.app
    return port


def _hosts(service: Service, routes: dict[str, str], problems: list[str]) -> tuple[tuple[str, ...], str]:
    """The hosts where the service can answer, and its path; `routes` remembers who has which."""
    if not is_path(service.path):
        problems.append(f"path {service.path!r} of {service.app} is not served: it takes a path such as /api.")
        return (), "/"
    path = front_of(service.path)
    hosts: list[str] = []
    for given in service.hosts:
        host = host_name(given)
        if host is None:
            problems.append(f"host {given!r} of {service.app} is not served: it takes one such as vote.localhost.")
            continue
        owner = routes.setdefault(host + path, service.app)
        if owner != service.app or host in hosts:
            problems.append(f"host {host} with path {service.path} of {service.app} is served by {owner} already.")
            continue
        hosts.append(host)
    return tuple(hosts), path


def _reachable(server: Server, service: Service, problems: list[str]) -> bool:
    if not _is_ip(server.address):
        fault = f"address {server.address!r} is no IP address"
    elif not 0 < server.port < 65536:
        fault = f"port {server.port} is no port"
    else:
        return True
    problems.append(f"task {server.task} of {service.app} gets no traffic: its {fault}.")
    return False


@lru_cache(maxsize=10_000)
def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def endpoint(server: Server) -> str:
    """Where a server listens, as HAProxy writes it."""
    return f"[{server.address}]:{server.port}" if ":" in server.address else f"{server.address}:{server.port}"


def render(layout: Layout, site: Site) -> Rendered:
    """The files for a layout. Servers that drain are left out: a new worker has no session of theirs to keep."""
    body = [*_tcp(layout, site), *_http(layout, site)]
    routes = "".join(sorted(_routes(layout)))
    fixed = [line for line in (*_global(site), *body) if not line.startswith("    server ")]
    digest = hashlib.sha256("\n".join([*fixed, routes]).encode()).hexdigest()[:24]
    lines = ["# Written by Kato; changes are lost.", *_global(site), f"    description {digest}", *body]
    return Rendered("\n".join(lines) + "\n", routes, digest)


def _global(site: Site) -> list[str]:
    # noreuseport: two cells must never share a port unseen. Listeners pass from worker to worker by descriptor.
    # mworker-max-reloads: at most so many workers of before a reload live on for their sessions.
    drop = [] if site.uid is None else [f"    uid {site.uid}", f"    gid {site.uid}"]
    return [
        "global",
        f"    maxconn {site.connections}",
        f"    nbthread {site.threads}",
        "    no strict-limits",
        "    noreuseport",
        "    hard-stop-after 1h",
        "    mworker-max-reloads 50",
        "    stats socket unix@worker.sock mode 600 level admin expose-fd listeners",
        *drop,
    ]


def _tcp(layout: Layout, site: Site) -> Iterator[str]:
    yield from (
        "defaults",
        "    mode tcp",
        "    timeout connect 2s",
        "    timeout client 1h",
        "    timeout server 1h",
        "    timeout tunnel 1h",
        "    option tcpka",
        "    retries 3",
        "    option redispatch 1",
        "    balance leastconn",
    )
    for service in layout.services:
        if service.port:
            yield f"listen {tcp_name(service)}"
            yield f"    bind {site.address}:{service.port}"
            yield from _servers(service)
    backends = {service.port: tcp_name(service) for service in layout.services}
    for door, port in layout.doors:
        # Only by its interface: the kernel takes packets for any address of the machine from wherever they come.
        yield f"frontend {door_name(port, door)}"
        yield f"    bind {door.address}:{port} interface {door.interface}"
        yield f"    default_backend {backends[port]}"


def _http(layout: Layout, site: Site) -> Iterator[str]:
    # idle-close-on-response: a worker that goes answers one more request on each idle connection, so that no
    # client writes into a closing one. Without it a reload fails a few keep-alive requests.
    yield from (
        "defaults",
        "    mode http",
        "    timeout connect 2s",
        "    timeout client 5m",
        "    timeout server 5m",
        "    timeout tunnel 1h",
        "    timeout http-request 30s",
        f"    timeout http-keep-alive {KEEP_ALIVE}s",
        "    option idle-close-on-response",
        "    option forwardfor",
        "    http-reuse safe",
        "    retries 3",
        "    option redispatch 1",
        "    retry-on conn-failure empty-response",
        "    balance leastconn",
        f"    http-error status 502 {_PLAIN} string 'The app broke off. kato logs APP says more.'",
        f"    http-error status 504 {_PLAIN} string 'The app was silent for 5 minutes.'",
    )
    if site.exports:
        yield from EXPORTER
    if layout.ingress:
        yield from _ingress(site)
    for service in layout.services:
        if service.hosts:
            yield f"backend {http_name(service)}"
            yield (
                f"    http-error status 503 {_PLAIN} hdr Retry-After 1 string "
                f"'{service.app} has no healthy task that answers. kato why {service.app} says what is missing.'"
            )
            yield from _servers(service)


def _ingress(site: Site) -> Iterator[str]:
    # A request is repeated on another server only where RFC 9110 (9.2.2) calls its method idempotent.
    yield from (
        f"frontend {ingress_name(site)}",
        f"    bind {site.ingress}",
        "    http-request disable-l7-retry unless { method GET HEAD OPTIONS TRACE PUT DELETE }",
        "    http-request set-var(txn.host) req.hdr(host),field(1,:),lower",
        "    http-request set-var(txn.path) path",
        "    http-request set-var(txn.backend) var(txn.host),concat(,txn.path,/),map_beg(routes.map)",
        f"    http-request return status 404 {_PLAIN} hdr X-Content-Type-Options nosniff lf-string "
        "'No app here is called %[var(txn.host),concat(,txn.path),regsub(/$,)]. kato ls shows the names.' "
        "unless { var(txn.backend) -m found }",
        "    use_backend %[var(txn.backend)]",
    )


def _servers(service: Service) -> Iterator[str]:
    for each in service.servers:
        if each.state == "ready":
            yield f"    server {word(each.task)} {endpoint(each)}"


def _routes(layout: Layout) -> Iterator[str]:
    """Lines `host/path/ backend`; HAProxy takes the longest that begins the request's host and path."""
    for service in layout.services:
        for host in service.hosts:
            yield f"{host}{service.path} {http_name(service)}\n"
