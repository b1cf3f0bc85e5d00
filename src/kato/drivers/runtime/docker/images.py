"""Images of containers: a name flows in; its image is on the engine, pulled where it was missing, or it says why.

Which images were pulled here is remembered, with the time of their last use, so that one that no wish named for a
week can go. An image that somebody else brought is never removed.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kato.drivers.runtime.docker.engine import NOT_FOUND, Engine, Rejected, about, unless
from kato.model.app import Docker
from kato.model.errors import DriverError

KEPT = 7 * 86_400.0
"""Seconds after its last use that an image stays which was pulled here."""
FRESH = 3600.0
"""Seconds in which a use is not written down again."""
HUB = "https://index.docker.io/v1/"
"""What Docker's own registry is called among logins."""

log = structlog.get_logger()


class Images:
    """Of one node. file: what was pulled here. logins: the file that `docker login` writes."""

    def __init__(
        self, engine: Engine, file: Path, logins: Path | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._file = file
        self._logins = logins
        self._clock = clock
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._pulled: dict[str, float] = {}
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            self._pulled = msgspec.json.decode(file.read_bytes(), type=dict[str, float])

    async def have(self, docker: Docker) -> None:
        """Has the image here: pulls it where it is missing, or always where the app says so; one pull for all."""
        image = docker.image or ""
        if docker.force_pull_image or not await self._has(image):
            pull = self._pulls.get(image)
            if pull is None:
                pull = self._pulls[image] = asyncio.create_task(self._pull(image))
                pull.add_done_callback(lambda _: self._pulls.pop(image))
            await asyncio.shield(pull)
        elif self._clock() - self._pulled.get(image, self._clock()) > FRESH:
            await self._remember(image)

    async def _has(self, image: str) -> bool:
        with unless(NOT_FOUND):
            await self._engine.ask("GET", f"/images/{image}/json")
            return True
        return False

    async def _pull(self, image: str) -> None:
        known = await self._has(image)
        name, tag = reference(image)
        login = await asyncio.to_thread(login_for, name, self._logins)
        with about(f"Its image {image} cannot be pulled"):
            async for told in self._engine.told("POST", "/images/create", login, fromImage=name, tag=tag):
                if "error" in told:
                    raise DriverError(told["error"])
        log.info("an image was pulled", image=image)
        if not known or image in self._pulled:
            await self._remember(image)

    async def _remember(self, image: str) -> None:
        self._pulled[image] = self._clock()
        await asyncio.to_thread(self._file.write_bytes, msgspec.json.encode(self._pulled))

    async def tidy(self) -> None:
        """Removes what was pulled here and used for the last time long ago; one in use stays."""
        old = [image for image, used in self._pulled.items() if self._clock() - used > KEPT]
        for image in old:
            with contextlib.suppress(Rejected):
                await self._engine.ask("DELETE", f"/images/{image}")
                log.info("an image was removed that nothing has used for a week", image=image)
            if not await self._has(image):
                del self._pulled[image]
        if old:
            await asyncio.to_thread(self._file.write_bytes, msgspec.json.encode(self._pulled))


def reference(image: str) -> tuple[str, str]:
    """An image's name, and its tag or digest.

    >>> reference("busybox"), reference("localhost:5000/a/b:1"), reference("a@sha256:00")
    (('busybox', 'latest'), ('localhost:5000/a/b', '1'), ('a', 'sha256:00'))
    """
    name, _, digest = image.partition("@")
    if digest:
        return name, digest
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")


def registry(name: str) -> str:
    """The registry of an image, as `docker login` writes it.

    >>> registry("busybox"), registry("localhost:5000/a"), registry("quay.io/b/c"), registry("b/c")
    ('https://index.docker.io/v1/', 'localhost:5000', 'quay.io', 'https://index.docker.io/v1/')
    """
    first, slash, _ = name.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else HUB


def login_for(name: str, logins: Path | None) -> dict[str, str]:
    """The header that an engine wants for an image of a private registry; none where nobody has logged in."""
    if logins is None:
        return {}
    try:
        known: Any = msgspec.json.decode(logins.read_bytes())
        user, _, password = base64.b64decode(known["auths"][registry(name)]["auth"]).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    login = {"username": user, "password": password, "serveraddress": registry(name)}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(msgspec.json.encode(login)).decode()}
