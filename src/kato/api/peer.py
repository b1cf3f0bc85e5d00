"""A connection over loopback comes in; whose process holds its other end goes into the request's scope.

Loopback is open to every user and every task of this machine, and whoever may start a task runs it as the cell's
own user: root, where root runs the cell. So it matters who asks. Strangers, who may ask for little, are bounded:
they cannot keep others from asking.
"""

import asyncio
import os
import resource

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kato.sockets import Sockets

log = structlog.get_logger()

PEER = "kato.peer"
"""Where the scope of a request holds the user id of its client; None where nobody knows it."""
MOST_STRANGERS = 64
"""Connections that all other users together may hold open."""
SHARE = 0.5
"""Of the descriptors that the cell may open: what connections may take. The rest is for tasks and the store."""
PATIENCE = 10.0
"""Seconds in which a connection has to say what it wants."""
LIVES = "kato.lives"
"""Where the scope of a request holds what tells whether its client still has its end of the connection."""
HEAD = 1 << 17
"""Bytes of a request that are no body, as its head is, in one go."""
AHEAD = 64
"""Requests that wait on one connection for the answer to the one before."""


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
    _taken = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = self._owner()
        self._wait()
        if not self.door.admit(self, self.peer):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        self.door.leave(self)
        super().connection_lost(exc)

    def _owner(self) -> int | None:
        client, server = (self.transport.get_extra_info(end) for end in ("peername", "sockname"))
        return self.door.sockets.owner(client[:2], server[:2]) if client and server else None

    def _lives(self) -> bool:
        """Asks the kernel: a connection from which nothing is taken now does not tell that it was closed."""
        return self._owner() is not None

    def data_received(self, data: bytes) -> None:
        """What is begun has to come whole soon, on a connection that was kept too. The parser would keep headers,
        trailers and further requests without end."""
        self._taken += len(data)
        super().data_received(data)
        if self._taken > HEAD or len(self.pipeline) > AHEAD:
            log.info("a connection that said too much at once was closed", user=self.peer)
            self.transport.abort()
        elif (self.cycle is None or self.cycle.response_complete) and self._patience.cancelled():
            self._wait()

    def _wait(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(PATIENCE, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self.peer  # type: ignore[literal-required]
        self.scope[LIVES] = self._lives  # type: ignore[literal-required]

    def on_headers_complete(self) -> None:
        self._patience.cancel()
        self._taken = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._taken = 0
        super().on_body(body)
