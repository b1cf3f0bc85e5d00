"""The engine's API over its socket: requests flow in, answers and streams flow out; its refusals become Rejected,
and its silence a DriverError, in words.

It speaks HTTP by aiohttp itself: aiodocker 0.27 makes text of output, tells no stream from the other, and does not
let go of its connection when a reader is cancelled.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from kato.model.errors import DriverError, DriverMissing, DriverSilent, NotRun

SOCKET = Path("/var/run/docker.sock")
INSTALL = "Install Docker (apt-get install docker.io) and start it, or name its socket with DOCKER_HOST."
SWITCHED, NOT_FOUND, CONFLICT = 101, 404, 409
LONGEST_LINE = 1 << 20
"""Bytes of one line of a stream: an event has all labels of its container."""
ANSWER = 60.0
"""Seconds in which an engine answers, or is taken to hang."""
MAKING = 120.0
"""Seconds that it may take over making or starting a container: it may have a volume to fill."""
SILENCE = 300.0
"""Seconds that an engine may say nothing of a pull, or of output that it has."""
_CONNECT = 5.0


class Rejected(DriverError):
    """The engine answered, and refused. status: its HTTP status code."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class Engine:
    """One engine. host: as DOCKER_HOST has it; None for the usual socket. answer: seconds in which it has to.

    Every verb raises DriverMissing where there is none, DriverSilent where it does not answer, Rejected where it
    refuses.
    """

    def __init__(self, host: str | None, answer: float = ANSWER) -> None:
        self._host = host or f"unix://{SOCKET}"
        self._answer = answer
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        within: float | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer, whose content is still to be read. within: seconds until it begins; silence: seconds
        that may pass without a byte of it, None for any.
        """
        asked = self._request(method, path, body, headers, query, silence)
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._soon(within or self._answer):
                    answer = await stack.enter_async_context(asked)
                    if answer.status >= 400:
                        raise Rejected(_words(await answer.read()), answer.status)
                yield answer
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._silent(error) from error

    def _request(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
        query: Mapping[str, str | int] | None,
        silence: float | None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", **(headers or {})}
        patience = _patience(silence)
        return self._connected().request(method, path, data=data, headers=headers, params=query, timeout=patience)

    @contextlib.asynccontextmanager
    async def _soon(self, seconds: float) -> AsyncIterator[None]:
        """DriverSilent where what is in it takes longer: an engine may hang, and nobody is to hang with it."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DriverSilent(
                f"the engine at {self._host} has not answered for {seconds:g} s. Look at its log; where it hangs, "
                "start it again (systemctl restart docker)."
            ) from error

    def _connected(self) -> aiohttp.ClientSession:
        """DriverMissing where there is no engine on this machine that we may use."""
        path = self._host.removeprefix("unix://")
        if path == self._host:
            raise DriverMissing(f"DOCKER_HOST is {path}: only an engine of this machine is used. {INSTALL}")
        if not os.access(path, os.R_OK | os.W_OK):
            what = "may not be used by this user" if os.path.exists(path) else "is not there"
            raise DriverMissing(f"The Docker engine at {path} {what}. {INSTALL}")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                "http://docker",
                connector=aiohttp.UnixConnector(path, limit=0),
                timeout=_patience(None),
                read_bufsize=LONGEST_LINE,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def ask(
        self, method: str, path: str, body: Any = None, *, within: float | None = None, **query: str | int
    ) -> Any:
        """The whole answer, decoded; None where it is empty. within: seconds for it, if not the usual."""
        try:
            async with (
                self._soon(within or self._answer),
                self._request(method, path, body, None, query, None) as answer,
            ):
                content = await answer.read()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._silent(error) from error
        if answer.status >= 400:
            raise Rejected(_words(content), answer.status)
        try:
            return msgspec.json.decode(content) if content else None
        except msgspec.DecodeError as error:
            raise self._silent(error) from error

    async def told(
        self, method: str, path: str, headers: Mapping[str, str], **query: str | int
    ) -> AsyncGenerator[Any, None]:
        """Each line of a stream of JSON (the progress of a pull), as it comes."""
        opened = self.open(method, path, headers=headers, query=query, within=SILENCE, silence=SILENCE)
        async with opened as answer, contextlib.aclosing(lines(answer)) as told:
            async for line in told:
                try:
                    yield msgspec.json.decode(line or b"")
                except msgspec.DecodeError as error:  # or a line that is longer than any
                    raise self._silent(error) from error

    @contextlib.asynccontextmanager
    async def upgraded(
        self, path: str, body: Any
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection that is no HTTP any more but the plain bytes of both sides."""
        self._connected()
        data = msgspec.json.encode(body)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        try:
            reader, writer = await asyncio.open_unix_connection(self._host.removeprefix("unix://"))
        except OSError as error:
            raise self._silent(error) from error
        try:
            async with self._soon(self._answer):
                writer.write(head.encode() + data)
                await writer.drain()
                answer = await reader.readuntil(b"\r\n\r\n")
                status = int(answer.split(maxsplit=2)[1])
                if status != SWITCHED:
                    raise Rejected(_words((await reader.read(LONGEST_LINE)).strip()), status)
            yield reader, writer
        except (OSError, asyncio.IncompleteReadError) as error:
            raise self._silent(error) from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _silent(self, error: Exception) -> DriverSilent:
        return DriverSilent(f"the engine at {self._host} does not answer ({error}). Look at its log.")

    async def output(
        self,
        method: str,
        path: str,
        *,
        tty: bool,
        body: Any = None,
        silence: float | None = None,
        **query: str | int,
    ) -> AsyncGenerator[bytes, None]:
        """Pieces of output. Frames of eight bytes say which stream and how long; a terminal has none."""
        async with self.open(method, path, body=body, query=query, silence=silence) as answer:
            if tty:
                async for data in answer.content.iter_any():
                    yield data
                return
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    head = await answer.content.readexactly(8)
                    yield await answer.content.readexactly(int.from_bytes(head[4:], "big"))


def _patience(silence: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=silence)


async def lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes | None, None]:
    """Each line of an answer as it comes; None for one that is longer than any may be, and is not kept."""
    kept, whole = bytearray(), True
    async for data in answer.content.iter_any():
        *ends, rest = data.split(b"\n")
        for end in ends:
            yield bytes(kept + end) if whole and len(kept) + len(end) <= LONGEST_LINE else None
            kept, whole = bytearray(), True
        kept += rest
        if len(kept) > LONGEST_LINE:
            kept, whole = bytearray(), False


def filters(**words: str) -> str:
    """What a listing is narrowed by, as the engine wants it."""
    return msgspec.json.encode({name: [value] for name, value in words.items()}).decode()


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Puts what was attempted before an error of the engine."""
    try:
        yield
    except NotRun:  # it says all that there is to say
        raise
    except Rejected as error:
        raise Rejected(f"{what}: {error}", error.status) from error
    except DriverError as error:
        raise type(error)(f"{what}: {error}") from error


@contextlib.contextmanager
def unless(*statuses: int) -> Iterator[None]:
    """An answer with one of these statuses is no error."""
    try:
        yield
    except Rejected as error:
        if error.status not in statuses:
            raise


def _words(content: bytes) -> str:
    try:
        answer: Mapping[str, Any] = msgspec.json.decode(content)
        words = str(answer["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        words = content.decode(errors="replace")
    return words.removeprefix("OCI runtime create failed: ").strip()
