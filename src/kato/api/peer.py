"""A connection over loopback comes in; whose process holds its other end goes into the request's scope.

Loopback is open to every user and every task of this machine, and whoever may start a task runs it as the cell's
own user: root, where root runs the cell. So it matters who asks. Strangers, who may ask for little, are bounded:
they cannot keep others from asking.
"""

import asyncio
import os
import resource
import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kato.model.errors import DriverMissing

PEER = "kato.peer"
"""Where the scope of a request holds the user id of its client; None where nobody knows it."""
MOST_STRANGERS = 64
"""Connections that all other users together may hold open."""
SHARE = 0.5
"""Of the descriptors that the cell may open: what connections may take. The rest is for tasks and the store."""
PATIENCE = 10.0
"""Seconds in which a connection has to say what it wants."""

_DIAG_BY_FAMILY, _REQUEST, _TCP, _ANY_STATE = 20, 1, 6, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI")
_ENDS = struct.Struct("!HH16s16s")
_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_TOLD = struct.Struct("=BBBB48sIIIII")
_LIVING = frozenset({1, 4, 5, 8, 9, 11})
"""States of a connection that still has its two ends (include/net/tcp_states.h): established, or half closed."""


class Sockets:
    """Asks the kernel whose a socket is (sock_diag(7)): the very one, without reading a table of all."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4)
        self._netlink.setblocking(False)

    def close(self) -> None:
        self._netlink.close()

    def owner(self, near: tuple[str, int], far: tuple[str, int]) -> int | None:
        """The user id of the local socket that is connected from `near` to `far`.

        None where it is closed: the kernel calls it root's then, whoever had opened it. And None where it only
        tries to connect, or where another listens at that port.
        """
        family = socket.AF_INET6 if ":" in near[0] else socket.AF_INET
        ends = _ENDS.pack(near[1], far[1], socket.inet_pton(family, near[0]), socket.inet_pton(family, far[0]))
        asked = _ASKED.pack(family, _TCP, 0, _ANY_STATE) + ends + _COOKIE
        self._netlink.send(_HEADER.pack(_HEADER.size + len(asked), _DIAG_BY_FAMILY, _REQUEST, 0, 0) + asked)
        answer = self._netlink.recv(4096)
        if _HEADER.unpack_from(answer)[1] != _DIAG_BY_FAMILY:
            return None
        _, state, _, _, its_ends, *_, user, inode = _TOLD.unpack_from(answer, _HEADER.size)
        return user if inode and state in _LIVING and its_ends.startswith(ends) else None

    def check(self, listener: socket.socket) -> None:
        """DriverMissing where the kernel does not tell whose a connection is."""
        with socket.create_connection(listener.getsockname()[:2]) as client:
            if self.owner(client.getsockname()[:2], listener.getsockname()[:2]) != os.geteuid():
                raise DriverMissing(
                    "This kernel does not tell whose a connection is (sock_diag), so that the API cannot know who "
                    "asks. Load the module tcp_diag (modprobe tcp_diag)."
                )


class Door:
    """Who is connected, and whether there is room for another."""

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets
        self._users = (0, os.geteuid())
        self._most = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * SHARE)
        self._inside: set[object] = set()
        self._strangers: set[object] = set()

    def admit(self, connection: object, user: int | None) -> bool:
        """Whether a connection of `user` may stay."""
        self._inside.add(connection)
        if user not in self._users:
            self._strangers.add(connection)
            return len(self._strangers) <= MOST_STRANGERS and len(self._inside) <= self._most
        return len(self._inside) <= self._most

    def leave(self, connection: object) -> None:
        """Makes its room free again."""
        self._inside.discard(connection)
        self._strangers.discard(connection)


class PeerProtocol(HttpToolsProtocol):
    """HTTP that knows its client's user, and does not wait for ever for what it wants."""

    door: Door
    peer: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if client and server:
            self.peer = self.door.sockets.owner(client[:2], server[:2])
        self._wait()
        if not self.door.admit(self, self.peer):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        self.door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """What is begun has to come whole soon, on a connection that was kept too."""
        super().data_received(data)
        if (self.cycle is None or self.cycle.response_complete) and self._patience.cancelled():
            self._wait()

    def _wait(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self.peer  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._patience.cancel()
        super().on_headers_complete()
