"""The sockets of health checks against real servers on loopback."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from kato.agent.probe import Prober

# A self-signed pair for elsewhere.example, made for this test.
KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgImOytoWmgLyu47WIo7W583Dd5pT4/O8KXBfQCaXtk1mhRANC"
    "AAQhDWaoxO3K1k1fuyiTLAKfikxeMHkz2A8d4HLTvUKdqWBXKKazP1KyuRBZHQk4hySKF8GuPG+tck13Vidapaac"
)
CERTIFICATE = (
    "MIIBjjCCATWgAwIBAgIUacJ6tjeA93TspZaiFsJ9YRxCtgAwCgYIKoZIzj0EAwIwHDEaMBgGA1UEAwwRZWxzZXdoZXJlLmV4"
    "YW1wbGUwIBcNMjYxMTIzMDQwOTQ4WhgPMjEyNjEwMzAwNDA5NDhaMBwxGjAYBgNVBAMMEWVsc2V3aGVyZS5leGFtcGxlMFkw"
    "EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEIQ1mqMTtytZNX7sokywCn4pMXjB5M9gPHeBy071CnalgVyimsz9SsrkQWR0JOIck"
    "ihfBrjxvrXJNd1YnWqWmnKNTMFEwHQYDVR0OBBYEFDmHcA9IcbPV6hBnr1wl7duciqyXMB8GA1UdIwQYMBaAFDmHcA9IcbPV"
    "6hBnr1wl7duciqyXMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgChJHS35AIk36ccraUKvfxDrE94asu0ur"
    "/+0LXvOT2gICIHLEpaCMrjUxZOTtobM9b6wrv9yJ4tGvUpaIcvqn666r"
)


@asynccontextmanager
async def serving(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that reads a request's head, answers and closes; yields its port and the heads."""
    heads: list[bytes] = []
    ended: list[asyncio.Future[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = asyncio.get_running_loop().create_future()
        ended.append(done)
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            done.set_result(None)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heads
        await asyncio.gather(*ended)


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
        async with asyncio.timeout(5):
            assert await left.wait()


async def test_https_verifies_no_certificate(tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    parts = (("PRIVATE KEY", KEY), ("CERTIFICATE", CERTIFICATE))
    pair.write_text("".join(f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n" for kind, text in parts))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair)
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
