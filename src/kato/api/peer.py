"""A connection comes in, admitted or not; who holds its other end goes into the request's scope.

Loopback is open to every user and every task of this machine, and whoever may start a task runs it as the cell's
own user: root, where root runs the cell. So it matters who asks. A network is open to everybody. Strangers, who
may ask for little, are bounded before anything of theirs is read: they cannot keep others from asking.
"""

import asyncio
import os
import resource
import socket
import ssl
from collections import Counter
from ipaddress import ip_address, ip_network

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kato.sockets import Sockets

log = structlog.get_logger()

GUEST = "kato.guest"
"""Where the scope of a request holds its Guest."""
MOST_STRANGERS = 64
"""Connections that all who have proven nothing may hold open together."""
SHARE = 0.5
"""Of the descriptors that the cell may open: what connections may take. The rest is for tasks and the store."""
PATIENCE = 10.0
"""Seconds in which a connection has to shake hands, and then to say what it wants."""
LIVES = "kato.lives"
"""Where the scope of a request holds what tells whether its client still has its end of the connection."""
HEAD = 1 << 17
"""Bytes of a request that are no body, as its head is, in one go."""
ESTABLISHED = 1
"""A state of a connection (include/net/tcp_states.h): nobody has closed it."""
AHEAD = 64
"""Requests that wait on one connection for the answer to the one before."""


class Guest:
    """Who holds the other end of a connection. user: of this machine; None where nobody knows it, as of elsewhere.
    local: whether it comes from this machine. whose: who may hold many connections, as a user or an address.
    """

    def __init__(self, guests: "Guests", transport: asyncio.BaseTransport) -> None:
        self._guests = guests
        self._transport = transport
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._ends = (_plain(client), _plain(server)) if client and server else None
        host = self._ends[0][0] if self._ends else "127.0.0.1"
        self.user = self._owner()
        self.local = self.user is not None or ip_address(host).is_loopback
        self.whose: object = self.user if self.local else _network(host)

    def _owner(self) -> int | None:
        ours = self._transport.get_extra_info("socket")
        return self._guests.sockets.peer(*self._ends, ours) if self._ends else None

    def lives(self) -> bool:
        """Whether the client still has its end."""
        if self.local:
            return self._owner() is not None
        sock = self._transport.get_extra_info("socket")
        if sock.fileno() < 0:
            return False
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state[0] == ESTABLISHED

    def abort(self) -> None:
        """Ends the connection."""
        self._transport.abort()  # type: ignore[attr-defined]

    def prove(self) -> None:
        """It has shown the token."""
        self._guests.prove(self)

    def leave(self) -> None:
        """Its connection is no more."""
        self._guests.leave(self)


class Guests:
    """Who is connected, and whether there is room for another."""

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets
        self._users = (0, os.geteuid())
        self._most = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * SHARE)
        self._inside: set[Guest] = set()
        self._strangers: dict[Guest, None] = {}
        self._proven: set[Guest] = set()

    def enter(self, transport: asyncio.BaseTransport) -> Guest:
        """A new guest. Where there is no room it, or a stranger that was there before, is shown out."""
        guest = Guest(self, transport)
        self._inside.add(guest)
        if guest.user not in self._users:
            self._strangers[guest] = None
            if len(self._strangers) > MOST_STRANGERS:
                self._greediest().abort()
        if len(self._inside) > self._most:
            guest.abort()
        return guest

    def _greediest(self) -> Guest:
        """The oldest stranger of those who hold most, so that one who holds many keeps only itself out."""
        held = Counter(each.whose for each in self._strangers)
        most = max(held.values())
        found = next(each for each in self._strangers if held[each.whose] == most)
        del self._strangers[found]
        return found

    def prove(self, guest: Guest) -> None:
        """It has shown the token, and is a stranger no more."""
        self._strangers.pop(guest, None)
        if guest in self._inside:
            self._proven.add(guest)

    def leave(self, guest: Guest) -> None:
        """Makes its room free again."""
        self._inside.discard(guest)
        self._strangers.pop(guest, None)
        self._proven.discard(guest)

    def expel(self) -> None:
        """Ends what was let in by a token that is none any more."""
        for guest in [*self._proven]:
            guest.abort()

    def close(self) -> None:
        """Ends every connection."""
        for guest in [*self._inside]:
            guest.abort()


class PeerProtocol(HttpToolsProtocol):
    """HTTP that knows its client, and does not wait for ever for what it wants."""

    guests: Guests
    guest: Guest | None = None
    _taken = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        if self.guest is None:
            self.guest = self.guests.enter(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        if self.guest is not None:
            self.guest.leave()
        super().connection_lost(exc)

    def _lives(self) -> bool:
        """Asks the kernel: a connection from which nothing is taken now does not tell that it was closed."""
        return self.guest is not None and self.guest.lives()

    def data_received(self, data: bytes) -> None:
        """What is begun has to come whole soon, on a connection that was kept too. The parser would keep headers,
        trailers and further requests without end."""
        self._taken += len(data)
        super().data_received(data)
        if self._taken > HEAD or len(self.pipeline) > AHEAD:
            log.info("a connection that said too much at once was closed", whose=self.guest and self.guest.whose)
            self.transport.abort()
        elif (self.cycle is None or self.cycle.response_complete) and self._patience.cancelled():
            self._wait()

    def _wait(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[GUEST] = self.guest  # type: ignore[literal-required]
        self.scope[LIVES] = self._lives  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._patience.cancel()
        self._taken = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._taken = 0
        super().on_body(body)


class Threshold(asyncio.Protocol):
    """Counts a connection before its handshake, and gives that its time; then it is HTTP over TLS.

    asyncio's own server knows of a connection only when its handshake is done.
    """

    def __init__(self, guests: Guests, context: ssl.SSLContext, behind: PeerProtocol) -> None:
        self._guests = guests
        self._context = context
        self._behind = behind
        self._early = bytearray()
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        guest = self._guests.enter(transport)
        if transport.is_closing():
            guest.leave()
        else:
            self._task = asyncio.create_task(self._shake(transport, guest))

    def data_received(self, data: bytes) -> None:
        """What came with the end of the handshake, before anybody could be told that it is over."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """It was ended as soon as its handshake was over."""
        self._lost = True

    async def _shake(self, transport: asyncio.Transport, guest: Guest) -> None:
        secure = None
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=PATIENCE,
                ssl_shutdown_timeout=PATIENCE,
            )
        except OSError:  # whoever shakes hands badly is told so by TLS
            pass
        finally:
            if secure is None or self._lost or secure.is_closing():
                transport.abort()
                guest.leave()
        if secure is None or self._lost or secure.is_closing():
            return
        self._behind.guest = guest
        secure.set_protocol(self._behind)
        self._behind.connection_made(secure)
        if self._early:
            self._behind.data_received(bytes(self._early))


def _plain(end: tuple[str, int]) -> tuple[str, int]:
    """An end; an address of IPv4 as such, though the listener takes IPv6 too."""
    host = ip_address(end[0].partition("%")[0])
    mapped = getattr(host, "ipv4_mapped", None)
    return str(mapped or end[0]), end[1]


def _network(host: str) -> str:
    """Who may be one and the same: of IPv6 everybody has many addresses."""
    address = ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))
