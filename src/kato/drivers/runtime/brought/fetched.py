"""Files that a task wants in its sandbox before it starts: the `fetch` of its app flows in; a folder that has all
of them, whole, flows out, for the driver to make the sandbox of.

    FOLDER/.fetched/cache/   downloads.py                 FOLDER/.fetched/tasks/<task>/   what is being brought

The meaning is Mesos' (its docs/fetcher.md): in the order of the app; `executable` unpacks nothing; what is
unpacked lies beside its archive, unless that came from the cache. Ours is `#sha256=…` behind a URI: it must fit.
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kato.drivers.runtime.brought.downloads import Downloads, shown
from kato.drivers.runtime.brought.unpacked import ARCHIVES, Bounds, Meter, Tree, unpack
from kato.drivers.runtime.folders.sandbox import delete
from kato.model.app import Artifact
from kato.model.errors import DriverError


class Fetched:
    """What tasks of one driver fetch. folder: the driver's own."""

    def __init__(self, folder: Path, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._tasks, cache = folder / ".fetched/tasks", folder / ".fetched/cache"
        self._cache = cache
        self._downloads = Downloads(cache, self._bounds)
        self._running: set[asyncio.Task[None]] = set()
        self._clean = False
        self._cleaning = threading.Lock()

    async def close(self) -> None:
        """Ends what is on its way: whoever starts a task with it is cancelled."""
        for each in tuple(self._running):
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._downloads.close()

    @contextlib.asynccontextmanager
    async def files(self, task: str, wanted: tuple[Artifact, ...]) -> AsyncIterator[Path | None]:
        """A folder with all that is wanted, to be moved away; what is left of it goes. None where nothing is.

        Only the cell may enter it. DriverError, OSError.
        """
        if not wanted:
            yield None
            return
        folder = self._tasks / task
        await asyncio.to_thread(self._begin, folder)
        bringing = asyncio.create_task(self._bring(folder, wanted))
        self._running.add(bringing)
        bringing.add_done_callback(self._running.discard)
        try:
            await bringing
            yield folder
        finally:
            await asyncio.to_thread(_clear, folder)

    def _begin(self, folder: Path) -> None:
        """What an earlier life of the cell was bringing goes first."""
        with self._cleaning:  # two that begin at once: the second would clear what the first has made
            if not self._clean:
                _clear(self._tasks)
                self._clean = True
        for each in (self._tasks.parent, self._tasks, self._cache):
            each.mkdir(mode=0o700, exist_ok=True)
        _clear(folder)
        folder.mkdir(mode=0o700)

    async def _bring(self, folder: Path, wanted: tuple[Artifact, ...]) -> None:
        meter = Meter(self._bounds)
        tree = Tree(folder, meter)
        try:
            async with asyncio.timeout(self._bounds.seconds):
                for each in wanted:
                    await self._one(each, tree)
        except TimeoutError:
            raise DriverError(
                f"Its files were not all there within {self._bounds.seconds:g} s. Fetch fewer, or from nearer."
            ) from None

    async def _one(self, wanted: Artifact, tree: Tree) -> None:
        uri, _, fragment = wanted.uri.partition("#")
        name = wanted.dest_path or _name(uri)
        kind = urlsplit(uri).scheme if "://" in uri else "file"
        unpacks = wanted.extract and not wanted.executable and name.endswith(ARCHIVES)
        try:
            if kind in ("http", "https") and not wanted.cache:
                await self._downloads.get(uri, await _in_thread(tree.meter, tree.place, name), tree.meter)
                await _in_thread(tree.meter, _settle, tree, name, wanted, fragment, unpacks)
                return
            source = await self._source(uri, kind)
            with source:
                await _in_thread(tree.meter, _check, source, fragment, uri)
                if not (unpacks and kind != "file"):
                    await _in_thread(tree.meter, tree.file, name, source)
                    await _in_thread(tree.meter, _settle, tree, name, wanted, "", unpacks)
                else:
                    await _in_thread(tree.meter, unpack, source, name, tree)
        except (DriverError, OSError) as error:
            what = shown(uri) if "://" in uri else uri
            raise DriverError(f"It wants {what} fetched: {str(error).removesuffix('.')}.") from error

    async def _source(self, uri: str, kind: str) -> Any:
        if kind in ("http", "https"):
            return await self._downloads.cached(uri)
        if kind != "file":
            raise DriverError(f"{kind} is not spoken here. Offer it by http, https, or as a file of this machine.")
        path = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
        if not path.startswith("/"):
            raise DriverError("the path is not absolute. Write it in full.")
        return await asyncio.to_thread(_open, path)


def _name(uri: str) -> str:
    """What a file is called: the last part of its path."""
    name = (urlsplit(uri).path if "://" in uri else uri).rpartition("/")[2]
    if not name or name in (".", ".."):
        raise DriverError(f"{shown(uri)} names no file. Give it a `destPath`.")
    return name


def _open(path: str) -> Any:
    """A file of this machine: nothing else has an end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise DriverError(f"{words}. Look on this machine.") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DriverError("it is no plain file. Pack a folder into an archive.")
    return open(handle, "rb")


def _settle(tree: Tree, name: str, wanted: Artifact, fragment: str, unpacks: bool) -> None:
    """Does with a file that has come what its app wants."""
    place = tree.root / name
    with place.open("rb") as file:
        _check(file, fragment, wanted.uri)
        place.chmod(0o755 if wanted.executable else 0o644)
        if unpacks:
            unpack(file, name.rpartition("/")[2], tree)


def _check(file: Any, fragment: str, uri: str) -> None:
    """Compares a file with the checksum that its URI has."""
    kind, _, asked = fragment.partition("=")
    if kind != "sha256":
        return
    found = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    if found != asked.lower():
        raise DriverError(f"its sha256 is {found}, and not what stands behind its address. See who changed it.")


async def _in_thread(meter: Meter, act: Callable[..., Any], *arguments: Any) -> Any:
    """Blocks a thread; given up, it returns once that has ended, so that what it writes may be deleted."""
    work = asyncio.ensure_future(asyncio.to_thread(act, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        meter.stop()
        await asyncio.wait([work])
        raise


def _clear(folder: Path) -> None:
    if folder.exists():
        delete(folder)
