"""Files by HTTP: a URL flows in; the whole file at a path, or from a cache, flows out.

    FOLDER/<key>        a file that was downloaded whole       FOLDER/<key>.json   what its server said of it
    FOLDER/<key>.half   one that is on its way; it is never taken for whole

Whether a cached file is still the newest is asked each time (ETag, Last-Modified); several tasks at once ask once.
Where its server does not answer, the cached one is good enough.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from kato.drivers.runtime.brought.unpacked import PIECE, Bounds, Meter
from kato.model.errors import DriverError

AT_ONCE = 8
"""Downloads at one time."""
LARGEST = 2 << 30
"""Bytes that a cache keeps (Mesos' default); the least lately used go."""
log = structlog.get_logger()


class _Said(msgspec.Struct, frozen=True):
    """What a server said of a file: how to ask whether there is a newer one."""

    size: int
    etag: str = ""
    modified: str = ""


class _Silent(DriverError):
    """The server does not answer, or cannot now."""


class Downloads:
    """Downloads, and what of them is kept in `folder`."""

    def __init__(self, folder: Path, bounds: Bounds, largest: int = LARGEST) -> None:
        self._folder = folder
        self._bounds = bounds
        self._largest = largest
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Ends what is on its way."""
        for each in tuple(self._refreshing.values()):
            each.cancel()
        await asyncio.gather(*self._refreshing.values(), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def get(self, uri: str, place: Path, meter: Meter) -> None:
        """Downloads to a place where nothing is. OSError, DriverError."""
        await self._take(uri, place, meter, {})

    async def cached(self, uri: str) -> IO[bytes]:
        """The newest file, open. OSError, DriverError."""
        key = hashlib.sha256(uri.encode()).hexdigest()
        while True:
            refreshing = self._refreshing.get(key)
            if refreshing is None:
                refreshing = self._refreshing[key] = asyncio.create_task(self._refresh(uri, key))
                refreshing.add_done_callback(lambda _: self._refreshing.pop(key))
            await asyncio.shield(refreshing)
            with contextlib.suppress(FileNotFoundError):  # it had to make room at once
                return (self._folder / key).open("rb")

    async def _refresh(self, uri: str, key: str) -> None:
        file, half, notes = (self._folder / f"{key}{end}" for end in ("", ".half", ".json"))
        known = _read(notes, file)
        asked = {"If-None-Match": known.etag, "If-Modified-Since": known.modified} if known else {}
        half.unlink(missing_ok=True)
        try:
            async with asyncio.timeout(self._bounds.seconds):
                said = await self._take(uri, half, Meter(self._bounds), asked)
        except (_Silent, TimeoutError) as error:
            half.unlink(missing_ok=True)
            if known is None:
                raise
            log.warning("a fetched file is taken from the cache, for its server does not answer", why=str(error))
            said = None
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        await asyncio.to_thread(self._keep, key, said)

    def _keep(self, key: str, said: _Said | None) -> None:
        """Puts a new file in place of the old; without one, the old was used again. Then makes room."""
        file, half, notes = (self._folder / f"{key}{end}" for end in ("", ".half", ".json"))
        if said is None:
            os.utime(file)
        else:
            notes.unlink(missing_ok=True)  # it must never speak of another file
            _sync(half)
            half.rename(file)
            fresh = self._folder / f"{key}.fresh"
            fresh.write_bytes(msgspec.json.encode(said))
            _sync(fresh)
            fresh.rename(notes)
        files = [each for each in self._folder.iterdir() if not each.suffix]
        files.sort(key=lambda each: (each.name != key, -each.stat().st_mtime))
        room = self._largest
        for each in files:
            room -= each.stat().st_size
            if room < 0 and each.name != key:
                each.with_suffix(".json").unlink(missing_ok=True)
                each.unlink()

    async def _take(self, uri: str, place: Path, meter: Meter, asked: Mapping[str, str]) -> _Said | None:
        """Downloads, where there is something newer than what is `asked`; None where there is not."""
        asked = {name: value for name, value in asked.items() if value} | {"Accept-Encoding": "identity"}
        try:
            async with self._gate, self._opened().get(uri, headers=asked, max_redirects=10) as answer:
                if answer.status == 304 and len(asked) > 1:
                    return None
                if answer.status != 200:
                    kind = _Silent if answer.status >= 500 or answer.status == 429 else DriverError
                    raise kind(f"{shown(uri)} was answered with {answer.status} {answer.reason}. Look there")
                size = await _write(answer, place, meter)
                return _Said(size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
        except aiohttp.InvalidURL as error:
            raise DriverError(f"{shown(uri)} is no address. Write it in full") from error
        except aiohttp.ClientPayloadError as error:
            raise _Silent(f"{shown(uri)} broke off before its end") from error
        except (aiohttp.ClientError, aiohttp.ServerTimeoutError, UnicodeError) as error:
            raise _Silent(f"{shown(uri)} does not answer: {_words(error)}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            quiet = self._bounds.silence
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=quiet, sock_read=quiet),
                auto_decompress=False,
                trust_env=True,  # as curl, which is Mesos' hand
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "kato"},
            )
        return self._session


async def _write(answer: aiohttp.ClientResponse, place: Path, meter: Meter) -> int:
    size = 0
    meter.add(answer.content_length or 0)  # too large is known before a byte of it is written
    meter.add(-(answer.content_length or 0))
    with open(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644), "wb") as file:  # noqa: ASYNC230
        async for data in answer.content.iter_chunked(PIECE):
            meter.add(len(data))
            size += len(data)
            await asyncio.to_thread(file.write, data)
    return size


def shown(uri: str) -> str:
    """A URL for people to read: without what only its server is to know.

    >>> shown("https://me:word@there:8443/a.tgz?token=x#sha256=00")
    'https://there:8443/a.tgz'
    """
    try:
        parts = urlsplit(uri)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "its address"


def _words(error: Exception) -> str:
    """A client's error without the URL, which some of them hold."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if cause is not None:
        number = cause.errno or 0  # below 0 it is a resolver's
        return os.strerror(number).lower() if number > 0 else str(cause.strerror or cause)
    if isinstance(error, aiohttp.TooManyRedirects):
        return "it is redirected again and again"
    return str(error) if isinstance(error, aiohttp.ServerTimeoutError) else type(error).__name__


def _read(notes: Path, file: Path) -> _Said | None:
    """What is known of a file that is there, whole."""
    try:
        said = msgspec.json.decode(notes.read_bytes(), type=_Said)
        return said if file.stat().st_size == said.size else None
    except (OSError, msgspec.DecodeError):
        return None


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
