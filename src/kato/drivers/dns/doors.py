"""Name servers at the doors of networks of containers: doors and views of names flow in; answers flow out, and
which doors are open.

A door is the machine's own address on a network, which its containers alone reach. Asked there, an app is at the
door: the balancer listens on it, at the app's service ports. So whoever asks reaches what it is told.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import msgspec
import structlog

from kato.drivers.dns import Options
from kato.drivers.dns.forward import SERVERS, Forwarder, nameservers
from kato.drivers.dns.server import Server, bound
from kato.drivers.dns.zone import Zone
from kato.model.frontend import Door
from kato.model.names import AppNames, Names, Target

DNS = 53
BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")
"""Whom systemd-resolved asks, where the machine asks it: as Docker's engine, we tell containers of these."""
log = structlog.get_logger()


class _Open:
    """A door that is open. index: of its interface in the kernel, which another one of that name has not."""

    def __init__(self, door: Door, index: int, zone: Zone, server: Server) -> None:
        self.door = door
        self.index = index
        self.server = server
        self._zone = zone
        self._seen: dict[str, tuple[AppNames, AppNames]] = {}

    def apply(self, view: Names) -> None:
        """Answers by this view. What did not change is the same object for the zone, too."""
        was, self._seen = self._seen, {}
        for id, names in view.apps.items():
            known = was.get(id)
            same = known is not None and known[0] is names
            self._seen[id] = known if same and known else (names, seen_from(self.door.address, names))
        self._zone.apply(Names(view.seq, {id: seen for id, (_, seen) in self._seen.items()}))


class Doors:
    """Of one cell. file: where it keeps which there are, so that a cell that comes later opens them at once.

    resolvers: a resolv.conf, whose servers are asked for other names. wanted: set with the first door.
    """

    name = "doors"

    def __init__(self, file: Path, resolvers: Path, port: int = DNS, upstream_port: int = DNS) -> None:
        self._file = file
        self._resolvers = resolvers
        self._port = port
        self._upstream_port = upstream_port
        self._lock = asyncio.Lock()
        self._open: dict[str, _Open] = {}
        self._view = Names()
        self._said: set[str] = set()
        self._changed: Callable[[Sequence[Door]], None] = lambda doors: None
        self.wanted = asyncio.Event()

    @classmethod
    async def at(cls, file: Path, resolvers: Path) -> Self:
        """Opens those that an earlier life of the cell had, where their networks are there."""
        doors = cls(file, resolvers)
        for each in kept(file):
            if there(each):  # else its engine makes it anew, or it is gone
                await doors.open(each)
        return doors

    def hear(self, changed: Callable[[Sequence[Door]], None]) -> None:
        """Has it told which doors are open, now and when others are."""
        self._changed = changed
        changed(self._doors())

    async def open(self, door: Door) -> Sequence[str]:
        """Whom containers on the network of a door are to ask for names: the cell there, then, should it not
        answer, whom the machine asks. Nobody where no door can be opened there.
        """
        async with self._lock:
            before = self._doors()
            await self._let_go()
            if door.interface not in self._open:
                try:
                    self._open[door.interface] = await self._serve(door)
                    self.wanted.set()
                except OSError as error:
                    self._say(door, error)
            self._tell(before)
            return (door.address, *self._others()) if door.interface in self._open else ()

    async def shut(self, interface: str) -> None:
        """A network is no more."""
        async with self._lock:
            before = self._doors()
            if (gone := self._open.pop(interface, None)) is not None:
                await gone.server.close()
            self._tell(before)

    async def apply(self, view: Names) -> None:
        """Answers by this view from now on."""
        self._view = view
        for each in self._open.values():
            each.apply(view)

    async def close(self) -> None:
        """Answers no more. Where the doors were is kept."""
        for each in self._open.values():
            await each.server.close()
        self._open.clear()

    def _doors(self) -> tuple[Door, ...]:
        return tuple(sorted(each.door for each in self._open.values()))

    def _tell(self, before: Sequence[Door]) -> None:
        if (doors := self._doors()) == before:
            return
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_bytes(msgspec.json.encode(doors))
            fresh.replace(self._file)
        except OSError as error:  # then the next life opens them once the engine has told of its networks
            log.warning("the doors of networks are not kept", why=str(error))
        self._changed(doors)

    async def _serve(self, door: Door) -> _Open:
        """A name server at a door. OSError."""
        index = socket.if_nametoindex(door.interface)
        with contextlib.ExitStack() as stack:
            sockets = [
                stack.enter_context(bound(door.address, self._port, kind, door.interface))
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
            ]
            zone = Zone(door.address, forwards=True)
            forwarder = Forwarder(self._resolvers, self._upstream_port, own=(door.address, self._port))
            options = Options(listen=f"{door.address}:{self._port}", resolvers=self._resolvers)
            server = Server(sockets[0], sockets[1], zone, forwarder, options)
            await server.begin()
            stack.pop_all()
        opened = _Open(door, index, zone, server)
        opened.apply(self._view)
        return opened

    async def _let_go(self) -> None:
        """Of doors whose interface has gone, or is another one by now."""
        for name, each in [*self._open.items()]:
            try:
                same = socket.if_nametoindex(name) == each.index
            except OSError:
                same = False
            if not same:
                await self._open.pop(name).server.close()

    def _say(self, door: Door, error: OSError) -> None:
        if str(error) not in self._said:
            self._said.add(str(error))
            more = "; port 53 is root's" if error.errno in (errno.EACCES, errno.EPERM) else ""
            log.info(
                "containers on a network are told no names but their network's own",
                address=door.address,
                interface=door.interface,
                why=f"{error.strerror or error}{more}",
            )

    def _others(self) -> Sequence[str]:
        """Whom the machine asks, as containers can ask them."""
        found: list[str] = []
        for path in (self._resolvers, BEHIND_STUB):
            with contextlib.suppress(OSError):
                found = [each for each in nameservers(path.read_text("utf-8", "replace")) if _beyond(each)]
            if found:
                break
        return found[: SERVERS - 1]


def kept(file: Path) -> Sequence[Door]:
    """Those that a file keeps; of a damaged one, none: the engine tells of its networks anyway."""
    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[Door])
        return [
            each for each in found if not ip_address(each.address).is_unspecified and "\0" not in each.interface
        ]
    except (OSError, ValueError, RecursionError, msgspec.DecodeError):
        return ()


def there(door: Door) -> bool:
    """Whether this machine has the interface of a door."""
    try:
        return bool(socket.if_nametoindex(door.interface))
    except OSError:
        return False


def _beyond(host: str) -> bool:
    address = ip_address(host)
    return address.version == 4 and not address.is_loopback and not address.is_unspecified


def seen_from(address: str, names: AppNames) -> AppNames:
    """The names of an app, as they are at a door: there is the balancer, and no task alone."""
    own = names.own
    if own is None or own not in names.hosts:
        return AppNames(names.app, own)
    if not names.fronts:
        return AppNames(names.app, own, {own: ()})
    services = {name: tuple(Target(own, port) for port in ports) for name, ports in names.fronts.items()}
    return AppNames(names.app, own, {own: (address,)}, services)
