"""A connection over loopback comes in; whose process holds its other end goes into the request's scope.

Loopback is open to every user and every task of this machine, and whoever may start a task runs it as the cell's
own user: root, where root runs the cell. So it matters who asks.
"""

import asyncio
from pathlib import Path

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PEER = "kato.peer"
"""Where the scope of a request holds the user id of its client; None where nobody knows it."""


class PeerProtocol(HttpToolsProtocol):
    """HTTP that knows its client's user."""

    peer: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        client, server = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if client and server:
            self.peer = owner(int(client[1]), int(server[1]))
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self.peer  # type: ignore[literal-required]


def owner(client: int, server: int, tables: tuple[str, ...] = ("/proc/net/tcp", "/proc/net/tcp6")) -> int | None:
    """The user id of the local socket that is connected from port `client` to port `server`, by proc(5)."""
    near, far = f":{client:04X}", f":{server:04X}"
    for table in tables:
        try:
            with Path(table).open(encoding="ascii") as lines:
                for line in lines:
                    words = line.split(maxsplit=8)
                    if words[1].endswith(near) and words[2].endswith(far):
                        return int(words[7])
        except FileNotFoundError:
            continue  # a kernel without IPv6
    return None
