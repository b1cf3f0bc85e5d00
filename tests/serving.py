"""A small server on loopback, with TLS too: an answer goes in, a port and what was asked come out."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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


def pair(folder: Path) -> Path:
    """The key and the certificate in a file."""
    file = folder / "pair.pem"
    parts = (("PRIVATE KEY", KEY), ("CERTIFICATE", CERTIFICATE))
    file.write_text("".join(f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n" for kind, text in parts))
    return file
