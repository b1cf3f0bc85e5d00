"""A connection over loopback comes in; whose process holds its other end goes into the request's scope.

Loopback is open to every user and every task of this machine, and whoever may start a task runs it as the cell's
own user: root, where root runs the cell. So it matters who asks.
"""

import asyncio
import socket
import sys
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
            self.peer = owner(client[:2], server[:2])
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[PEER] = self.peer  # type: ignore[literal-required]


def owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """The user id of the local socket that is connected from `client` to `server`, by proc(5)."""
    near, far = _written(*client), _written(*server)
    table = "/proc/net/tcp6" if ":" in client[0] else "/proc/net/tcp"
    with Path(table).open(encoding="ascii") as lines:
        for line in lines:
            words = line.split(maxsplit=8)
            if words[1] == near and words[2] == far:
                return int(words[7])
    return None


def _written(host: str, port: int) -> str:
    """An address as the kernel's table has it: words of four bytes in this machine's order, then the port."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{port:04X}"
