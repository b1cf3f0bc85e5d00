"""The sockets of health checks against real servers on loopback."""

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from kato.agent.probe import Prober
from serving import pair, serving


async def test_http_gives_the_status_and_asks_politely() -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, heads):
        assert await Prober().http("127.0.0.1", port, "/a b\r\nX: y?q=1", tls=False) == 204

    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /a%20b%0D%0AX:%20y?q=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in lines
    assert "Connection: close" in lines


async def test_a_long_answer_is_read_to_its_end_so_that_the_server_meets_no_reset() -> None:
    async with serving(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 5_000_000) as (port, _):
        assert await Prober().http("127.0.0.1", port, "/", tls=False) == 200


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"x" * 10_000, "not HTTP"),
        (b"HTTP/1.1 20\r\n", "not HTTP"),
    ],
)
async def test_what_is_not_http_is_an_error(answer: bytes, words: str) -> None:
    async with serving(answer) as (port, _):
        with pytest.raises(OSError, match=words):
            await Prober().http("127.0.0.1", port, "/", tls=False)


async def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await Prober().http("127.0.0.1", port, "/", tls=False)
        with pytest.raises(ConnectionRefusedError):
            await Prober().tcp("127.0.0.1", port)


async def test_tcp_is_content_with_a_connection() -> None:
    async with serving(b"") as (port, _):
        await Prober().tcp("127.0.0.1", port)


async def test_a_name_is_asked_for_its_addresses() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heads):
        await Prober().tcp("localhost", port)
        assert await Prober().http("localhost", port, "/", tls=False) == 200
    assert f"Host: localhost:{port}" in heads[-1].decode()


async def test_a_server_that_never_answers_is_left_when_the_caller_gives_up() -> None:
    left = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Prober().http("127.0.0.1", port, "/", tls=False)
        async with asyncio.timeout(60):
            assert await left.wait()


async def test_https_verifies_no_certificate(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair(tmp_path))
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", tls) as (port, _):
        assert await Prober().http("127.0.0.1", port, "/", tls=True) == 200


async def test_https_to_what_does_not_speak_tls_says_so() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectionError, match="no TLS there"):
            await Prober().http("127.0.0.1", server.sockets[0].getsockname()[1], "/", tls=True)


def test_uvloop_serves_as_well() -> None:
    async def scenario() -> int:
        async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
            await Prober().tcp("127.0.0.1", port)
            return await Prober().http("127.0.0.1", port, "/", tls=False)

    assert uvloop.run(scenario()) == 200
