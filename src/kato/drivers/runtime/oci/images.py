"""Images without an engine: a name flows in; what it says of its containers, and the folder that they lie over,
flow out. skopeo brings them, umoci unpacks them, each once for all tasks of the node.

    FOLDER/coming/<n>/        a layout for each image that is pulled just now, so that none waits for another
    FOLDER/layout/            an OCI layout, in which an image's tag is a hash of the name that apps give it
    FOLDER/roots/<digest>/    its files; no device is among them
    FOLDER/pulled             what was pulled here and not brought by somebody else, with its last use
"""

import asyncio
import contextlib
import hashlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kato.drivers.runtime.brought.pulled import Pulled, PullsUnderWay, login, may_pull, policy, reference, registry
from kato.drivers.runtime.folders.sandbox import delete
from kato.drivers.runtime.oci.config import Image
from kato.drivers.runtime.oci.tools import run
from kato.model.app import Docker
from kato.model.errors import DriverError
from kato.model.secret import Secret

COPY = ("skopeo", "--insecure-policy", "copy", "--quiet")
REF = "org.opencontainers.image.ref.name"
SILENCE = 60.0
"""Seconds in which LEAST of an image has to come, or its pull is given up."""
LEAST = 16 << 10
"""Bytes: a line that carries less in a minute brings no image in a day."""
AT_ONCE = 4
"""Images that are pulled at one time: more of them only share the same line."""

log = structlog.get_logger()


class Images:
    """Of one node. logins: the file that `docker login` writes. used: the digests that tasks are laid over now.
    engine: which may have built some, as DOCKER_HOST has it."""

    def __init__(
        self,
        folder: Path,
        logins: Path | None,
        used: Callable[[], set[str]],
        clock: Callable[[], float] = time.time,
        engine: str | None = None,
        silence: float = SILENCE,
        least: int = LEAST,
    ) -> None:
        self._engine = engine
        self._silence = silence
        self._least = least
        self._folder = folder
        self._logins = logins
        self._used = used
        self._pulls = PullsUnderWay()
        self._layout = asyncio.Lock()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._coming: dict[str, tuple[Path, int]] = {}
        self._count = itertools.count()
        self._known: dict[str, Image] = {}
        self._pulled = Pulled(folder / "pulled", clock)
        _clear(folder / "coming")  # an earlier life of the cell was killed while it pulled

    def root(self, image: Image) -> Path:
        """The folder with its files."""
        return self._folder / "roots" / image.digest

    async def have(self, docker: Docker, secrets: Mapping[str, Secret] | None = None) -> None:
        """Has the image here: pulls it where it is missing, or always where the app says so; one pull for all."""
        name = docker.image or ""
        if policy(docker) != "always" and self._here(name):
            await self._pulled.use(name)
            return
        own = login(docker, secrets or {})
        await self._pulls.one(name, own, self._bring(name, docker, own))

    async def close(self) -> None:
        """Gives up what has not come yet."""
        await self._pulls.close()

    def _here(self, name: str) -> bool:
        image = self.known(name)
        return image is not None and self.root(image).is_dir()

    async def _bring(self, name: str, docker: Docker, own: bytes | None) -> None:
        if policy(docker) == "always" or not await self._stands(name):
            if not docker.built:
                may_pull(docker)
            async with self._gate:
                await (self._take(docker) if docker.built else self._pull(name, own))
        async with self._layout:  # neither skopeo nor umoci bears another beside it
            image = self._read(name)
            if image is None:
                raise DriverError(
                    f"Its image {name} is none for this machine. Name one for Linux on its processor."
                )
            if not self.root(image).is_dir():
                await self._unpack(name, image)
            self._known[name] = image

    async def _stands(self, name: str) -> bool:
        async with self._layout:
            return self._read(name) is not None

    def coming(self) -> dict[str, int]:
        """The images that are pulled just now, and the bytes of each that are here. Blocks."""
        return {name: max(0, _weight(place) - before) for name, (place, before) in [*self._coming.items()]}

    async def _pull(self, name: str, own: bytes | None) -> None:
        place = self._folder / "coming" / str(next(self._count))
        try:
            await asyncio.to_thread(self._begin, place)
            self._coming[name] = place, await asyncio.to_thread(_weight, place)
            with _login(own, place, self._logins) as logins:
                words = [*_copy(name, logins), f"docker://{_source(name)}", f"oci:{place / 'layout'}:{tag(name)}"]
                await self._as_long_as_it_comes(words, place)
            async with self._layout:
                await self._settle(name, place)
        except DriverError as error:
            raise DriverError(f"Its image {name} cannot be pulled: {error}.") from error
        finally:
            self._coming.pop(name, None)
            await asyncio.to_thread(_clear, place)
        log.info("an image was pulled", image=name)

    def _begin(self, place: Path) -> None:
        """A layout for one pull, in which what is here already need not come again. Blocks."""
        place.mkdir(parents=True, mode=0o700)
        _link(self._folder / "layout", place / "layout")

    async def _settle(self, name: str, place: Path) -> None:
        """Has what came among the other images; who calls holds the layout's lock."""
        known = self._read(name) is not None
        await asyncio.to_thread(_link, place / "layout", self._folder / "layout")
        await run([*COPY, f"oci:{place / 'layout'}:{tag(name)}", f"oci:layout:{tag(name)}"], self._folder)
        if not known or name in self._pulled:
            await self._pulled.add(name)

    async def _as_long_as_it_comes(self, words: Sequence[str], place: Path) -> None:
        """Runs a pull to its end. DriverError where its registry keeps silent, or as good as that."""
        pulling, before = asyncio.create_task(run(words, self._folder)), -self._least
        try:
            while not pulling.done():
                weight = await asyncio.to_thread(_weight, place)
                if weight - before < self._least:
                    sent = f"{weight - before} bytes" if weight > before else "nothing"
                    raise DriverError(f"its registry has sent {sent} for {self._silence:g} s")
                before = weight
                await asyncio.wait([pulling], timeout=self._silence)
            await pulling
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)

    async def _take(self, docker: Docker) -> None:
        """Has the image from the engine that built it, by a file: skopeo speaks too old an API for some."""
        name, place = docker.image or "", self._folder / "coming" / str(next(self._count))
        host = [f"--host={self._engine}"] if self._engine else []
        place.mkdir(parents=True, mode=0o700)
        try:
            await run(["docker", *host, "save", f"--output={place / 'built.tar'}", name], self._folder)
            async with self._layout:
                words = [*COPY, f"docker-archive:{place / 'built.tar'}", f"oci:layout:{tag(name)}"]
                await run(words, self._folder)
        except (DriverError, FileNotFoundError) as error:
            log.warning("an image was not taken from the engine", image=name, why=str(error))
            may_pull(docker)
        finally:
            await asyncio.to_thread(_clear, place)
        await self._pulled.add(name)

    async def _unpack(self, name: str, image: Image) -> None:
        """Files come under another name first, so that half of them are never taken for the whole."""
        half = self._folder / "half"
        try:
            await asyncio.to_thread(_clear, half)
            await run(["umoci", "raw", "unpack", "--image", f"layout:{tag(name)}", "half"], self._folder)
            await run(
                ["find", "half", "-xdev", "(", "-type", "b", "-o", "-type", "c", ")", "-delete"], self._folder
            )
        except DriverError as error:
            raise DriverError(f"Its image {name} cannot be unpacked: {error}.") from error
        self.root(image).parent.mkdir(exist_ok=True)
        half.rename(self.root(image))

    def known(self, name: str) -> Image | None:
        """What an image says of its containers; None where nobody had it here in this life of the cell."""
        return self._known.get(name)

    def _read(self, name: str) -> Image | None:
        """The same from the layout, which is whole only for who holds its lock."""
        for entry in self._index():
            if entry.get("annotations", {}).get(REF) == tag(name):
                manifest = self._blob(entry["digest"])
                return _image(entry["digest"], self._blob(manifest["config"]["digest"]).get("config") or {})
        return None

    def _index(self) -> list[dict[str, Any]]:
        try:
            index: dict[str, Any] = msgspec.json.decode((self._folder / "layout/index.json").read_bytes())
        except FileNotFoundError:
            return []
        return index.get("manifests") or []

    def _blob(self, digest: str) -> dict[str, Any]:
        kind, _, name = digest.partition(":")
        blob: dict[str, Any] = msgspec.json.decode((self._folder / "layout/blobs" / kind / name).read_bytes())
        return blob

    async def tidy(self) -> None:
        """Removes what was pulled here and used for the last time long ago, and files that no image has; those
        that a task is laid over stay. While one is unpacked nothing goes."""
        if self._layout.locked():
            return
        async with self._layout:
            old, roots = self._pulled.old(), await asyncio.to_thread(self._spare)
            if not old and not roots:
                return
            used = await asyncio.to_thread(self._used)
            for name in old:
                await self._forget(name, used)
            for root in await asyncio.to_thread(self._spare):
                if root.name not in used:
                    await asyncio.to_thread(delete, root)

    async def _forget(self, name: str, used: set[str]) -> None:
        image = self._read(name)
        if image is not None and image.digest in used:
            return
        self._known.pop(name, None)
        if image is not None:
            await run(["umoci", "rm", "--image", f"layout:{tag(name)}"], self._folder)
            await run(["umoci", "gc", "--layout", "layout"], self._folder)
        log.info("an image was removed that nothing has used for a week", image=name)
        await self._pulled.drop(name)

    def _spare(self) -> list[Path]:
        """The files of images that are no more."""
        standing = {entry["digest"].partition(":")[2] for entry in self._index()}
        return [root for root in (self._folder / "roots").glob("*") if root.name not in standing]


def tag(name: str) -> str:
    """What an image is called in the layout: the names of apps have characters that a tag has not."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def _source(name: str) -> str:
    """The name as skopeo wants it: never both a tag and a digest.

    >>> _source("a:1"), _source("localhost:5000/a:1@sha256:00"), _source("a")
    ('a:1', 'localhost:5000/a@sha256:00', 'a:latest')
    """
    place, which = reference(name)
    return f"{reference(place)[0]}@{which}" if "@" in name else f"{place}:{which}"


def _copy(name: str, logins: Path | None) -> list[str]:
    words = [*COPY]
    host = registry(reference(name)[0]).rpartition(":")[0] or registry(reference(name)[0])
    if host.startswith("127.") or host in ("localhost", "[::1]"):
        words.append("--src-tls-verify=false")  # as Docker has it
    return [*words, f"--src-authfile={logins}" if logins and logins.exists() else "--src-no-creds"]


@contextlib.contextmanager
def _login(own: bytes | None, place: Path, logins: Path | None) -> Iterator[Path | None]:
    """The file with logins: the app's own for as long as it is read, else what `docker login` wrote."""
    file = place / "login"
    if own is None:
        yield logins
        return
    try:
        file.touch(mode=0o600)
        file.write_bytes(own)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _weight(place: Path) -> int:
    """Bytes of all files."""
    weight = 0
    for file in place.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            weight += file.stat().st_size
    return weight


def _link(source: Path, target: Path) -> None:
    """Has the blobs of one layout in another too: they are never written to. Without links they come anew."""
    for blob in source.glob("blobs/*/*"):
        other = target / blob.relative_to(source)
        other.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            other.hardlink_to(blob)


def _image(digest: str, said: Mapping[str, Any]) -> Image:
    return Image(
        digest=digest.partition(":")[2],
        env=tuple(said.get("Env") or ()),
        entrypoint=tuple(said.get("Entrypoint") or ()),
        cmd=tuple(said.get("Cmd") or ()),
        user=said.get("User") or "",
        cwd=said.get("WorkingDir") or "",
        stop=said.get("StopSignal") or "",
        volumes=tuple(said.get("Volumes") or ()),
    )


def _clear(folder: Path) -> None:
    if folder.exists():
        delete(folder)


def overlays(folder: Path) -> bool:
    """Whether a task's files can be laid over an image's in this folder: the kernel is asked. Blocks."""
    place = folder / "try"
    _clear(place)
    for name in ("lower", "upper", "work", "rootfs"):
        (place / name).mkdir(parents=True)
    words = ["unshare", "--mount", "mount", "-t", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work"]
    try:
        done = subprocess.run([*words, "overlay", "rootfs"], cwd=place, capture_output=True)
    except FileNotFoundError:  # without unshare no task is started either, which `tools.check` says
        return False
    finally:
        delete(place)
    return done.returncode == 0
