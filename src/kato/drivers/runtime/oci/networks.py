"""The networks of one node's containers: a task and its app flow in, its place on each network comes out, and who
asks for a name there is told where it is.

A network is a namespace with a bridge in it and a way out (outside.py). What holds it are the processes that stand
at its containers' doors (forward.c): it is gone with the last of them. A cell that comes later finds it by them.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import structlog

from kato.drivers.runtime import Options, Server, namespaces
from kato.drivers.runtime.oci.outside import Uplinks, inner
from kato.model.app import DEFAULT, App
from kato.model.errors import DriverError
from kato.model.ids import alias, parent

BRIDGE = "kato"
"""The bridge's name in every network."""
UNNAMED = "bridge"
"""Where containers are that asked for a network and named none: nobody has a name there."""
DNS = 53
log = structlog.get_logger()


class Endpoint(msgspec.Struct, frozen=True):
    """A task's place on a network. number: the network's on this machine; names: by which it is found there."""

    network: str
    number: int
    address: str
    gateway: str
    names: tuple[str, ...] = ()


class Network:
    """One that is there. namespace: a descriptor."""

    def __init__(self, name: str, number: int, namespace: int) -> None:
        self.name = name
        self.number = number
        self.namespace = namespace
        self.addresses = inner(number)
        self.gateway = str(self.addresses[1])
        self.server: Future[Server] | None = None
        self._last = 1

    def free(self, used: set[str]) -> str:
        """An address that nobody has, and nobody had of late. DriverError."""
        most = self.addresses.num_addresses - 2
        for n in range(most):
            host = 2 + (self._last - 1 + n) % (most - 1)
            if (address := str(self.addresses[host])) not in used:
                self._last = host
                return address
        raise DriverError(
            f"its network {self.name} has {most - 1} containers, and no more find room on a bridge. Put some on "
            "another network."
        )


class Networks:
    """Of one node. folder: what there is to be taken away is noted there. May be called from any thread."""

    def __init__(self, options: Options, folder: Path, path: str) -> None:
        self._options = options
        self._path = path
        self._uplinks = Uplinks(folder, path)
        self._lock = threading.RLock()
        self._loop = asyncio.get_running_loop()
        self._networks: dict[str, Network] = {}
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._known: Mapping[tuple[str, str], tuple[str, ...]] = {}
        self._peers: Mapping[tuple[str, str], tuple[str, ...]] = {}

    def join(self, task: str, app: App) -> tuple[Endpoint, ...]:
        """Gives a task its places; none on the host's network. One that is missing is made. DriverError."""
        if on_host(app):
            return ()
        namespaces.check(self._path)
        with self._lock:
            endpoints: list[Endpoint] = []
            try:
                for name in dict.fromkeys(named(app)):
                    network = self._networks.get(name) or self._make(name)
                    address = network.free(self._used(network))
                    names = () if name == UNNAMED else names_of(app)
                    endpoints.append(Endpoint(name, network.number, address, network.gateway, names))
            except (OSError, DriverError) as error:
                self._tidy()
                raise DriverError(f"Its network cannot be made: {error}") from error
            self._endpoints[task] = tuple(endpoints)
            self._index()
            return self._endpoints[task]

    def place(self, endpoint: Endpoint) -> str:
        """By which a program finds a link's network."""
        return namespaces.path_of(self._networks[endpoint.network].namespace)

    def leave(self, task: str) -> None:
        """A task has ended: it has no names any more, and a network that it was the last on goes. Blocks."""
        with self._lock:
            if self._endpoints.pop(task, None) is not None:
                self._index()
                self._tidy()

    def adopt(self, task: str, endpoints: Sequence[Endpoint], pid_files: Sequence[Path]) -> None:
        """Knows a task again that an earlier life of the cell started. pid_files: of who is at each endpoint."""
        with self._lock:
            for endpoint, pid_file in zip(endpoints, pid_files, strict=True):
                network = self._networks.get(endpoint.network)
                if network is None:
                    self._find(endpoint, pid_file)
                elif network.number != endpoint.number:
                    log.warning(
                        "a task is on a network that nobody else is on", task=task, network=endpoint.network
                    )
            self._endpoints[task] = tuple(endpoints)
            self._index()

    def look(self, network: str, name: str, peer: str) -> Sequence[str] | None:
        """The addresses of a name as one of a network is told: first of that network, then of others it is on."""
        for each in dict.fromkeys((network, *self._peers.get((network, peer), ()))):
            if (found := self._known.get((each, name))) is not None:
                return found
        return None

    async def close(self) -> None:
        """Answers no more. Networks stay while their containers do."""
        servers = [each.server for each in self._networks.values() if each.server is not None]
        for network in self._networks.values():
            os.close(network.namespace)
        self._networks.clear()
        for server in servers:
            await _end(server)

    def clear(self) -> None:
        """Takes away what networks left that are no more. Blocks."""
        with self._lock:
            self._tidy()
            self._uplinks.tidy()

    def _used(self, network: Network) -> set[str]:
        endpoints = (endpoint for some in self._endpoints.values() for endpoint in some)
        return {endpoint.address for endpoint in endpoints if endpoint.network == network.name}

    def _index(self) -> None:
        """What is looked up by name and by who asks; whoever reads meanwhile has the former whole."""
        known: dict[tuple[str, str], tuple[str, ...]] = {}
        peers: dict[tuple[str, str], tuple[str, ...]] = {}
        for endpoints in self._endpoints.values():
            for endpoint in endpoints:
                peers[endpoint.network, endpoint.address] = tuple(each.network for each in endpoints)
                for name in endpoint.names:
                    known[endpoint.network, name] = (*known.get((endpoint.network, name), ()), endpoint.address)
        self._known, self._peers = known, peers

    def _make(self, name: str) -> Network:
        """A new one. What is made of it goes with its namespace where the rest cannot be made."""
        namespace = namespaces.made()
        try:
            number = self._uplinks.open(namespace)
            network = Network(name, number, namespace)
            self._networks[name] = network
            lines = (
                f"link set lo up\nlink add {BRIDGE} type bridge\nlink set {BRIDGE} addrgenmode none\n"
                f"address add {network.gateway}/{network.addresses.prefixlen} dev {BRIDGE}\nlink set {BRIDGE} up\n"
            )
            namespaces.within(namespace, lambda: namespaces.run(["ip", "-batch", "-"], self._path, lines))
            self._serve(network)
        except (OSError, DriverError):
            if name not in self._networks:
                os.close(namespace)
            raise
        log.info("a network was made", network=name, addresses=str(network.addresses))
        return network

    def _find(self, endpoint: Endpoint, pid_file: Path) -> None:
        try:
            namespace = _namespace(pid_file)
        except (OSError, ValueError) as error:
            log.warning(
                "a network cannot be found; its containers are on none", network=endpoint.network, why=str(error)
            )
            return
        network = self._networks[endpoint.network] = Network(endpoint.network, endpoint.number, namespace)
        try:
            self._serve(network)
        except OSError as error:
            log.warning("no names are answered for on a network", network=endpoint.network, why=str(error))

    def _serve(self, network: Network) -> None:
        """Its sockets are there from now on; what is asked before the server is up waits in them."""
        if self._options.answer is None:
            return
        udp, tcp = namespaces.listening(network.namespace, network.gateway, DNS)
        serving = self._options.answer(udp, tcp, lambda name, peer: self.look(network.name, name, peer))
        network.server = asyncio.run_coroutine_threadsafe(serving, self._loop)

    def _tidy(self) -> None:
        """Takes away the networks that nobody is on."""
        used = {endpoint.network for endpoints in self._endpoints.values() for endpoint in endpoints}
        for name in self._networks.keys() - used:
            network = self._networks.pop(name)
            self._uplinks.close(network.number)
            os.close(network.namespace)
            if network.server is not None and not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(_end(network.server), self._loop)


def on_host(app: App) -> bool:
    """Whether its tasks are on the host's network."""
    return bool(app.networks) and app.networks[0].mode == "host"


def named(app: App) -> Iterable[str]:
    """What its networks are called here. `default` is another one in each group."""
    names = [each.name for each in app.networks if each.name is not None]
    return (f"{parent(app.id)} default" if name == DEFAULT else name for name in names) if names else (UNNAMED,)


def names_of(app: App) -> tuple[str, ...]:
    """By which names its tasks are found on a network.

    >>> from kato.model.app import App
    >>> names_of(App(id="/shop/eu/web"))
    ('web', 'web.eu.shop', 'web.eu.shop.kato')
    """
    dotted = ".".join(reversed(app.id.strip("/").split("/"))).lower()
    docker = app.container.docker if app.container else None
    asked = [each.value.lower() for each in (docker.parameters if docker else ()) if each.key == "network-alias"]
    return tuple(dict.fromkeys((alias(app.id).lower(), *asked, dotted, f"{dotted}.kato")))


def number_of(address: str, gateway: str) -> int:
    """Which address of its network it is: 1 is the gateway's."""
    return int(IPv4Address(address)) - int(IPv4Address(gateway)) + 1


def _namespace(pid_file: Path) -> int:
    """The network of a process whose command line says that it stands there. OSError, ValueError."""
    pid = int(pid_file.read_text())
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if os.fsencode(pid_file) not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
        os.close(namespace)
        raise ValueError(f"{pid} is another process by now")
    return namespace


async def _end(server: Future[Server]) -> None:
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await (await asyncio.wrap_future(server)).close()
