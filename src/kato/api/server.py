"""An application and an address come in; it is served there until the caller is cancelled."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from kato.api.peer import Door, PeerProtocol
from kato.config import SERVER
from kato.model.errors import InvalidInput
from kato.sockets import Sockets

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open."""
BACKLOG = 128
"""Connections taken at a time: where no descriptor is left, asyncio complains of each of them."""
GRACE = 1
"""Seconds that open requests get when the api goes down."""


class Server(uvicorn.Server):
    """Leaves signals to the node."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: str) -> socket.socket:
    """A listening socket at host:port. InvalidInput where the port is in use or not to be had."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, for asyncio turns Nagle's delay off only then; else every small answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"The API cannot listen on {address}: {error.strerror or error}. Another cell or program may have "
            "that port; choose another one with --api or KATO_API."
        ) from error


async def serve(application: ASGIApp, listener: socket.socket, ending: Callable[[], None]) -> None:
    """Serves until cancelled; then calls `ending`, which lets endless answers end, and closes."""
    with contextlib.closing(Sockets()) as sockets:
        sockets.check(listener)
        protocol = type("Protocol", (PeerProtocol,), {"door": Door(sockets)})
        await _serve(application, listener, ending, protocol)


async def _serve(
    application: ASGIApp, listener: socket.socket, ending: Callable[[], None], protocol: type[PeerProtocol]
) -> None:
    config = uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[("Server", SERVER)],
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        backlog=BACKLOG,
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        ending()
        server.should_exit = True
        await serving
