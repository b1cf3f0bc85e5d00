"""Images of containers: a name flows in; its image is on the engine, pulled where it was missing, or it says why.

Which images were pulled or built here is remembered, with the time of their last use, so that one that no wish
named for a week can go. An image that somebody else brought is never removed.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from kato.drivers.runtime.brought.pulled import (
    Pulled,
    PullsUnderWay,
    credentials,
    login,
    may_pull,
    policy,
    reference,
    registry,
)
from kato.drivers.runtime.docker.engine import NOT_FOUND, Engine, Rejected, about, unless
from kato.drivers.runtime.docker.state import check_of
from kato.model.app import Docker, HealthCheck
from kato.model.errors import DriverError
from kato.model.secret import Secret

log = structlog.get_logger()


class Progress:
    """How far a pull is: what the engine tells of each layer flows in. got, whole: bytes, of what it downloads."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    @property
    def got(self) -> int:
        return sum(got for got, _ in self._layers.values())

    @property
    def whole(self) -> int | None:
        """Of the layers that it has begun: the engine tells no more. None before the first."""
        return sum(whole for _, whole in self._layers.values()) or None

    def hear(self, told: Mapping[str, Any]) -> None:
        """Takes one line of the engine's. Once a layer is downloaded the engine counts how it is unpacked."""
        layer, counted = str(told.get("id", "")), told.get("progressDetail") or {}
        if told.get("status") == "Downloading" and "total" in counted:
            self._layers[layer] = (int(counted["current"]), int(counted["total"]))
        elif told.get("status") == "Download complete" and layer in self._layers:
            whole = self._layers[layer][1]
            self._layers[layer] = (whole, whole)


class Images:
    """Of one node. file: what was pulled here. logins: the file that `docker login` writes."""

    def __init__(
        self, engine: Engine, file: Path, logins: Path | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._logins = logins
        self._pulls = PullsUnderWay()
        self._pulled = Pulled(file, clock)
        self.coming: dict[str, Progress] = {}
        self._checks: dict[str, HealthCheck | None] = {}

    async def have(self, docker: Docker, secrets: Mapping[str, Secret] | None = None) -> None:
        """Has the image here: pulls it where it is missing, or always where the app says so; one pull for all."""
        image, own = docker.image or "", login(docker, secrets or {})
        if policy(docker) == "always" or not await self._has(image):
            may_pull(docker)
            await self._pulls.one(image, own, self._pull(image, own))
        else:
            await self.use(docker)

    async def use(self, docker: Docker) -> None:
        """Remembers that its image was used, where it was pulled here or built by `kato up`."""
        image = docker.image or ""
        await (self._pulled.add(image) if docker.built and image not in self._pulled else self._pulled.use(image))

    async def _has(self, image: str) -> bool:
        with unless(NOT_FOUND):
            await self._engine.ask("GET", f"/images/{image}/json")
            return True
        return False

    async def check(self, digest: str) -> HealthCheck | None:
        """What the image of that digest asks to know how its containers are."""
        if digest not in self._checks:
            found = None
            with unless(NOT_FOUND):  # it was removed under a container that still runs
                found = check_of(await self._engine.ask("GET", f"/images/{digest}/json"))
            self._checks[digest] = found
        return self._checks[digest]

    async def _pull(self, image: str, own: bytes | None) -> None:
        known = await self._has(image)
        name, tag = reference(image)
        logins = await asyncio.to_thread(_read, self._logins) if own is None else own
        header = login_for(name, logins)
        progress = self.coming[image] = Progress()
        try:
            with about(f"Its image {image} cannot be pulled"):
                async for told in self._engine.told("POST", "/images/create", header, fromImage=name, tag=tag):
                    if "error" in told:
                        raise DriverError(told["error"])
                    progress.hear(told)
        finally:
            self.coming.pop(image, None)
        log.info("an image was pulled", image=image)
        if not known or image in self._pulled:
            await self._pulled.add(image)

    async def tidy(self) -> None:
        """Removes what was pulled here and used for the last time long ago; one in use stays."""
        await self._remove(self._pulled.old())

    async def clear(self) -> None:
        """Removes all that was pulled here; one that a container uses stays."""
        await self._remove(self._pulled.all())

    async def _remove(self, images: Iterable[str]) -> None:
        for image in images:
            with contextlib.suppress(Rejected):
                await self._engine.ask("DELETE", f"/images/{image}")
                log.info("an image was removed", image=image)
            if not await self._has(image):
                await self._pulled.drop(image)


def login_for(name: str, logins: bytes) -> dict[str, str]:
    """The header that an engine wants for an image of a private registry; none where nobody has logged in."""
    if (found := credentials(logins, registry(name))) is None:
        return {}
    said = {"username": found[0], "password": found[1], "serveraddress": registry(name)}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(msgspec.json.encode(said)).decode()}


def _read(logins: Path | None) -> bytes:
    with contextlib.suppress(OSError):
        return logins.read_bytes() if logins else b""
    return b""
