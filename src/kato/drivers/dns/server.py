"""The driver `server`: an authoritative name server in the cell itself. Views come in; packets are answered.

UDP is read and written without a transport of asyncio's between, some packets a turn of the loop, so that a flood
keeps the rest of the cell waiting for less than a millisecond at a time.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Any, Protocol, Self

from kato.drivers.dns import Options, wire
from kato.drivers.dns.forward import Forwarder
from kato.drivers.dns.zone import ELSEWHERE, Zone
from kato.model.errors import InvalidInput
from kato.model.names import Names

PACKETS = 32
"""Packets that are answered in one turn of the loop."""
BUFFER = 1 << 20
"""Bytes of packets that wait in the kernel while the cell is busy with something else."""


class Answerer(Protocol):
    """What knows answers: a zone, or the names of one network."""

    def answer(self, query: bytes, most: int, peer: str, /) -> bytes | None:
        """The answer to a query of a peer; ELSEWHERE, where others are to be asked; None where there is none.

        most: bytes that it may have, over TCP; 0: over UDP, as the query says.
        """
        ...

    def refuse(self, query: bytes, code: int = wire.REFUSED, /) -> bytes:
        """The answer to a question that is not ours, and that nobody else is asked, or answers."""
        ...


class Server:
    """Two sockets that are bound, and who knows the answers."""

    def __init__(
        self,
        udp: socket.socket,
        tcp: socket.socket,
        answerer: Answerer,
        forwarder: Forwarder | None,
        options: Options,
    ) -> None:
        self._udp = udp
        self._tcp = tcp
        self._answerer = answerer
        self._forwarder = forwarder
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Answers from now on."""
        self._server = await asyncio.start_server(self._connected, sock=self._tcp)
        self._loop.add_reader(self._udp, self._readable)

    async def close(self) -> None:
        """Answers no more."""
        self._loop.remove_reader(self._udp)
        self._udp.close()
        if self._server is not None:
            self._server.close()
        for task in (*self._clients, *self._asked):
            task.cancel()
        await asyncio.gather(*self._clients, *self._asked, return_exceptions=True)

    def _readable(self) -> None:
        """Answers what has come, but not more than a turn's worth."""
        receive, answer = self._udp.recvfrom, self._answerer.answer
        for _ in range(PACKETS):
            try:
                query, peer = receive(65535)
            except OSError:  # nothing more, or the kernel's word on an answer that nobody took
                return
            reply = answer(query, 0, peer[0])
            if reply:
                self._send(reply, peer)
            elif reply == ELSEWHERE:
                self._elsewhere(query, peer)

    def _send(self, reply: bytes, peer: tuple[Any, ...]) -> None:
        # What cannot be sent now is lost, as packets may be: whoever asked will ask again.
        with contextlib.suppress(OSError):
            self._udp.sendto(reply, peer)

    def _elsewhere(self, query: bytes, peer: tuple[Any, ...]) -> None:
        if not self._may_forward(query):
            self._send(self._answerer.refuse(query), peer)
            return

        async def ask() -> None:
            self._send(await self._forwarded(query, tcp=False), peer)

        task = asyncio.create_task(ask())
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    def _may_forward(self, query: bytes) -> bool:
        """Whether others are asked: where that is configured, and whoever asks wants it (the bit RD)."""
        return self._forwarder is not None and bool(query[2] & 1)

    async def _forwarded(self, query: bytes, *, tcp: bool) -> bytes:
        assert self._forwarder is not None
        reply = await self._forwarder.ask(query, tcp=tcp)
        return reply or self._answerer.refuse(query, wire.SERVFAIL)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= self._options.connections:  # the oldest makes room, another each time
            self._clients.pop(next(iter(self._clients))).transport.abort()
        self._clients[task] = writer
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # by `close`; asyncio's own callback of a connection would log a cancelled task as a fault
        finally:
            self._clients.pop(task, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One query after another, each within its time and a turn of the loop: what has come already would be
        answered to its end otherwise, and the rest of the cell wait."""
        peer = (writer.get_extra_info("peername") or ("",))[0]
        while True:
            await asyncio.sleep(0)
            async with asyncio.timeout(self._options.patience):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                query = await reader.readexactly(length)
            reply = self._answerer.answer(query, wire.WHOLE, peer)
            if reply is None:
                return
            if reply == ELSEWHERE:
                if self._may_forward(query):
                    reply = await self._forwarded(query, tcp=True)
                else:
                    reply = self._answerer.refuse(query)
            writer.write(struct.pack("!H", len(reply)) + reply)
            async with asyncio.timeout(self._options.patience):
                await writer.drain()


class Driver(Server):
    """A name server on one address."""

    name = "server"

    def __init__(
        self, udp: socket.socket, tcp: socket.socket, zone: Zone, forwarder: Forwarder | None, options: Options
    ) -> None:
        super().__init__(udp, tcp, zone, forwarder, options)
        self._zone = zone

    @classmethod
    async def open(cls, options: Options) -> Self:
        """Binds both sockets and answers from now on. InvalidInput."""
        with contextlib.ExitStack() as stack:
            udp = stack.enter_context(_bound(options.listen, socket.SOCK_DGRAM))
            tcp = stack.enter_context(_bound(options.listen, socket.SOCK_STREAM))
            address, port = udp.getsockname()[:2]
            forwarder = None
            if options.resolvers is not None:
                forwarder = Forwarder(options.resolvers, options.upstream_port, own=(address, port))
            driver = cls(udp, tcp, Zone(address, forwards=forwarder is not None), forwarder, options)
            await driver.begin()
            stack.pop_all()
        return driver

    async def apply(self, view: Names) -> None:
        """Answers by this view from now on."""
        self._zone.apply(view)


def bound(host: str, port: int, kind: socket.SocketKind, interface: str = "") -> socket.socket:
    """A socket at an address. interface: the only one by which it is reached, where there is one. OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        made.setblocking(False)
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if interface:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made


def _bound(address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket at host:port. InvalidInput where it is not to be had."""
    host, _, port = address.rpartition(":")
    try:
        return bound(host.strip("[]"), int(port), kind)
    except OSError as error:
        raise InvalidInput(
            f"The name server cannot listen on {address}: {error.strerror or error}. Another program may have "
            "that port, and ports below 1024 are root's; choose another one with --dns or KATO_DNS."
        ) from error
