"""The sockets of health checks: an address flows in, an HTTP status code or a connection flows out.

An exchange is one small protocol object on the event loop: with a heavy client, a machine with a thousand tasks
would spend a core on asking how they are. It is handed to the agent, as its drivers are: with another in its
place, no agent opens a socket.
"""

import asyncio
import ctypes
import os
import socket
import ssl
import threading
from contextlib import closing, suppress
from functools import cache
from ipaddress import ip_address
from typing import cast
from urllib.parse import quote

from yarl import URL

from kato.model.task import Response

CLONE_NEWNET = 0x40000000
LINGER = 0.2
"""Seconds that a server has to finish an answer that is already judged, before the connection is cut."""
LONGEST_BODY = 16384
"""Bytes of an answer's body that are kept, where it is to be kept."""
LONGEST_HEAD = 4096
"""Bytes in which the first line of an answer must end."""
UNANSWERED = "the connection was closed without an answer"


class Prober:
    """Asks over the network (see `checks.Probe`)."""

    async def inside(self, pid: int) -> socket.socket | None:
        """A socket in the network of a process, to be handed to `http` or `tcp`; None where only root may, or the
        process has gone."""
        with suppress(OSError):
            return await _made_in(pid)
        return None

    async def http(self, host: str, port: int, path: str, *, tls: bool, sock: socket.socket | None = None) -> int:
        """The status code of the answer to a GET. OSError where there is none or it is not HTTP."""
        loop = asyncio.get_running_loop()
        context = _unverified() if tls else None
        request = _request(host, port, path)
        if not tls and (plain := sock or _made_for(host)) is not None:
            await _connect(plain, host, port)
            return await _exchange(plain, request)
        try:
            if sock is None:
                transport, answer = await loop.create_connection(lambda: _Answer(request), host, port, ssl=context)
            else:
                name = "" if tls else None
                await _connect(sock, host, port)
                transport, answer = await loop.create_connection(
                    lambda: _Answer(request), sock=sock, ssl=context, server_hostname=name
                )
        except ssl.SSLError as error:
            raise ConnectionError(f"no TLS there: {error.reason or error}") from error
        try:
            status = await answer.status
            with suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    await answer.over.wait()
            return status
        finally:
            transport.abort()

    async def response(self, host: str, port: int, path: str, *, tls: bool) -> Response:
        """The answer to a GET, with the first 16 KiB of its body. OSError where there is none, or no HTTP."""
        import aiohttp

        at = f"[{host}]" if ":" in host else host
        url = URL(f"{'https' if tls else 'http'}://{at}:{port}{_target(path)}", encoded=True)
        try:
            async with (
                aiohttp.ClientSession(headers={"User-Agent": "kato", "Connection": "close"}) as session,
                session.get(url, allow_redirects=False, ssl=_unverified() if tls else True) as answer,
            ):
                body = bytearray()
                async for piece in answer.content.iter_chunked(LONGEST_BODY):
                    body += piece
                    if len(body) >= LONGEST_BODY:
                        break
                text = bytes(body[:LONGEST_BODY]).decode("utf-8", "replace")
                kind = answer.headers.get("Content-Type", "")
                return Response(check="", status=answer.status, content_type=kind, body=text)
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error

    async def tcp(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Returns once connected. OSError where nobody accepts."""
        if (plain := sock or _made_for(host)) is not None:
            await _connect(plain, host, port)
            plain.close()
            return
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
        transport.close()


def _made_for(host: str) -> socket.socket | None:
    """A socket for an address; None for a name, which may have several."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return None
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    return made


async def _connect(sock: socket.socket, host: str, port: int) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise


async def _made_in(pid: int) -> socket.socket:
    """A thread of its own enters the network, and ends: no other work is ever done in there."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[socket.socket] = loop.create_future()

    def tell(sock: socket.socket | None, error: OSError | None) -> None:
        if made.done():  # the check was given up
            if sock is not None:
                sock.close()
        elif sock is not None:
            made.set_result(sock)
        else:
            made.set_exception(error or OSError())

    def enter() -> None:
        sock, failed = None, None
        try:
            place = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc().setns(place, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "its network cannot be entered")
            finally:
                os.close(place)
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            sock.setblocking(False)
        except OSError as error:
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, sock, failed)

    threading.Thread(target=enter, name="check-inside", daemon=True).start()
    return await made


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


async def _exchange(sock: socket.socket, request: bytes) -> int:
    """What `_Answer` does, on a socket that is connected: without a transport it takes half of the processor."""
    loop = asyncio.get_running_loop()
    with closing(sock):
        await loop.sock_sendall(sock, request)
        head = b""
        while b"\n" not in head and len(head) <= LONGEST_HEAD:
            data = await loop.sock_recv(sock, LONGEST_BODY)
            if not data:
                raise ConnectionError(UNANSWERED)
            head += data
        status = _judged(head)
        with suppress(OSError):  # and TimeoutError, which is one
            async with asyncio.timeout(LINGER):
                while await loop.sock_recv(sock, LONGEST_BODY):
                    continue
        return status


class _Answer(asyncio.Protocol):
    """Sends a request and waits for the first line of the answer. What follows is read and dropped, so that a
    server that is still writing meets no reset connection.
    """

    def __init__(self, request: bytes) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.status.add_done_callback(lambda status: status.cancelled() or status.exception())
        self.over = asyncio.Event()
        self._request = request
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.status.done():
            return
        self._head += data
        if b"\n" in self._head or len(self._head) > LONGEST_HEAD:
            self._judge()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
        if not self.status.done():
            self.status.set_exception(exc or ConnectionError(UNANSWERED))

    def _judge(self) -> None:
        try:
            self.status.set_result(_judged(self._head))
        except ConnectionError as error:
            self.status.set_exception(error)


def _judged(head: bytes) -> int:
    """The status code of an answer that begins so."""
    version, _, rest = head.partition(b" ")
    code = rest[:3]
    if version.startswith(b"HTTP/") and code.isdigit() and len(code) == 3:
        return int(code)
    raise ConnectionError("the answer is not HTTP")


def _target(path: str) -> str:
    return "/" + quote(path.removeprefix("/"), safe="/?&=%:;,+@!$'()*~-._")


def _request(host: str, port: int, path: str) -> bytes:
    target = _target(path)
    name = f"[{host}]" if ":" in host else host
    lines = (
        f"GET {target} HTTP/1.1",
        f"Host: {name}:{port}",
        "User-Agent: kato",
        "Accept: */*",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


@cache
def _unverified() -> ssl.SSLContext:
    """A check asks whether a task is alive, not who it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
