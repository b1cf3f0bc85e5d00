"""An application and an address come in; it is served there until the caller is cancelled."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from kato.access import Access
from kato.api.peer import Guests, PeerProtocol, Threshold
from kato.config import SERVER
from kato.model.errors import InvalidInput
from kato.sockets import Sockets

log = structlog.get_logger()

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open."""
BACKLOG = 128
"""Connections taken at a time: where no descriptor is left, asyncio complains of each of them."""
GRACE = 1
"""Seconds that open requests get when the api goes down."""
LOOKS = 1.0
"""Seconds until a new token, or a new certificate, counts."""
DATE = 1.0
"""Seconds until answers have another date."""


class Server(uvicorn.Server):
    """Leaves signals to the node, and is told when it is to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Has it close."""
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        """The library's own looks ten times a second whether it is to end; every tenth time it sets the date."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE):
                    await self._ended.wait()

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


async def serve(application: ASGIApp, listener: socket.socket, ending: Callable[[], None], access: Access) -> None:
    """Serves until cancelled; then calls `ending`, which lets endless answers end, and closes."""
    with contextlib.closing(Sockets()) as sockets:
        sockets.check(listener)
        with contextlib.closing(Guests(sockets)) as guests:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(_look(access, guests))
                try:
                    await _serve(application, listener, ending, _protocol(access, guests))
                finally:
                    looking.cancel()


def _protocol(access: Access, guests: Guests) -> Callable[..., asyncio.Protocol]:
    """What makes of a connection one that speaks: HTTP, or HTTP over TLS."""
    plain = type("Protocol", (PeerProtocol,), {"guests": guests})

    def secure(**words: Any) -> asyncio.Protocol:
        assert access.context is not None
        return Threshold(guests, access.context, plain(**words))

    return plain if access.context is None else secure


async def _look(access: Access, guests: Guests) -> None:
    """Whoever showed the former token has to show the new one. Neither waits for a fault of the other."""

    def token() -> None:
        if access.refresh_token():
            log.info("the token is another one; what the former one let in is ended")
            guests.expel()

    said: dict[str, str] = {}
    while True:
        await asyncio.sleep(LOOKS)
        for what, refresh in {"token": token, "certificate": access.refresh_certificate}.items():
            try:
                refresh()
                said.pop(what, None)
            except InvalidInput as error:
                if said.get(what) != str(error):
                    log.warning(f"the former {what} stays in force", why=str(error))
                said[what] = str(error)


async def _serve(
    application: ASGIApp,
    listener: socket.socket,
    ending: Callable[[], None],
    protocol: Callable[..., asyncio.Protocol],
) -> None:
    config = uvicorn.Config(
        application,
        http=protocol,  # type: ignore[arg-type]
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
        server.end()
        await serving
