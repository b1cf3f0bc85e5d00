"""Tiny HTTP servers and the clients that press them, all on loopback: requests go in, what failed comes out."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    return free_ports(1)[0]


_HELD: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """So many different ones. They stay bound, so that the kernel gives them to nobody who asks for any port;
    whoever asks for one by its number, and reuses addresses as servers do, gets it all the same.
    """
    found = [socket.socket() for _ in range(count)]
    for each in found:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", 0))
    _HELD.extend(found)
    return [each.getsockname()[1] for each in found]


class Answering:
    """A server that answers every HTTP request with its name, `delay` seconds later, and keeps its head."""

    def __init__(self, name: str, delay: float = 0.0) -> None:
        self.name = name
        self.delay = delay
        self.port = 0
        self.heads: list[bytes] = []
        self.answered = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Answering":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Ends as kill -9 ends a program: nothing listens any more, and every connection breaks."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        body = self.name.encode()
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if self.delay:
                    await asyncio.sleep(self.delay)
                self.answered += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


@dataclass
class Answer:
    """What came back. closes: whether the server ends the connection with it."""

    status: int
    body: str
    closes: bool


@dataclass
class Tally:
    """What clients met: answers by body, and why a request failed."""

    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str = "/", method: str = "GET"
) -> Answer:
    """One request on an open connection. ConnectionError or IncompleteReadError where it breaks."""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split("\r\n")[0])
    body = (await reader.readexactly(length)).decode()
    return Answer(int(head.split()[1]), body, "connection: close" in head)


async def once(port: int, host: str = "x", path: str = "/", method: str = "GET") -> Answer:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            return await ask(reader, writer, host, path, method)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def pressing(
    port: int, host: str, *, keep_alive: bool, clients: int = 8, pause: float = 0.0
) -> AsyncIterator[Tally]:
    """Presses a port with `clients` at once while the block runs; the tally is whole when it is left.

    pause: seconds between a client's requests, where the machine is to have time for what is pressed too.
    """
    tally = Tally()
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_press(port, host, keep_alive, tally, over, pause))
        try:
            yield tally
        finally:
            over.set()


async def _press(port: int, host: str, keep_alive: bool, tally: Tally, over: asyncio.Event, pause: float) -> None:
    while not over.is_set():
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            tally.failures.append(f"connect: {error}")
            continue
        try:
            await _talk(reader, writer, host, keep_alive, tally, over, pause)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.failures.append(repr(error))
        finally:
            writer.close()


async def _talk(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    keep_alive: bool,
    tally: Tally,
    over: asyncio.Event,
    pause: float,
) -> None:
    while not over.is_set():
        async with asyncio.timeout(30):
            answer = await ask(reader, writer, host)
        if answer.status == 200:
            tally.answers[answer.body] += 1
        else:
            tally.failures.append(f"{answer.status} {answer.body}")
        if pause:
            await asyncio.sleep(pause)
        if answer.closes or not keep_alive:
            return


async def until(holds: Callable[[], bool | Awaitable[bool]], within: float = 60.0) -> None:
    """Returns once `holds()`, asked every 5 ms. TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.005)


async def until_answers(tally: Tally, more: int, body: str | None = None) -> None:
    """Returns once so many more answers came, of one server if `body` names it. TimeoutError otherwise."""

    def seen() -> int:
        return tally.answers.total() if body is None else tally.answers[body]

    goal = seen() + more
    await until(lambda: seen() >= goal)
