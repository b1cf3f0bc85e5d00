"""Images pulled here, and when each was last used: names flow in; those that nobody used for a week flow
out, so that they can go. What somebody else brought is not among them.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kato.model.app import App, Docker
from kato.model.errors import DriverError
from kato.model.secret import Secret

KEPT = 7 * 86_400.0
"""Seconds after its last use that an image stays which was pulled here."""
FRESH = 3600.0
"""Seconds in which a use is not written down again."""
HUB = "https://index.docker.io/v1/"
"""What Docker's own registry is called among logins."""


class Pulled:
    """Of one driver. file: where it is remembered. clock: epoch seconds."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._used: dict[str, float] = {}
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            self._used = msgspec.json.decode(file.read_bytes(), type=dict[str, float])

    def __contains__(self, image: str) -> bool:
        return image in self._used

    async def use(self, image: str) -> None:
        """An image was used; one that was not pulled here stays unknown."""
        if self._clock() - self._used.get(image, self._clock()) > FRESH:
            await self.add(image)

    async def add(self, image: str) -> None:
        """An image was pulled."""
        self._used[image] = self._clock()
        await self._write()

    async def drop(self, image: str) -> None:
        """An image is gone."""
        del self._used[image]
        await self._write()

    def old(self) -> list[str]:
        """Those that nobody used for long."""
        return [image for image, used in self._used.items() if self._clock() - used > KEPT]

    def all(self) -> list[str]:
        """All that were pulled here."""
        return list(self._used)

    async def _write(self) -> None:
        await asyncio.to_thread(self._file.write_bytes, msgspec.json.encode(self._used))


class PullsUnderWay:
    """Of one driver: all who want the same image by the same login wait for one."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, bytes | None], asyncio.Task[None]] = {}

    async def one(self, image: str, own: bytes | None, pull: Coroutine[Any, Any, None]) -> None:
        """Returns once `pull`, or the one begun before it, is done; it goes on though who waits has gone."""
        key = image, own
        if key in self._running:
            pull.close()
        else:
            running = self._running[key] = asyncio.create_task(pull)
            running.add_done_callback(lambda _: self._running.pop(key))
        await asyncio.shield(self._running[key])

    async def close(self) -> None:
        """Gives up what has not come yet."""
        running = [*self._running.values()]
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def docker_of(app: App) -> Docker:
    """What an app that runs in a container says of its image."""
    assert app.container is not None and app.container.docker is not None
    return app.container.docker


def login(docker: Docker, secrets: Mapping[str, Secret]) -> bytes | None:
    """What the app's own secret says to registries, as `docker login` would have written it; None without one.

    DriverError where it says nothing to the registry of the image.
    """
    if docker.pull_config is None or docker.pull_config.secret not in secrets:
        return None
    said, where = secrets[docker.pull_config.secret].value, registry(reference(docker.image or "")[0])
    if credentials(said, where) is None:
        raise DriverError(
            f"Its secret {docker.pull_config.secret!r} for pulling has no login for {where}. It has to be what "
            "`docker login` writes to its config.json, with `auths`; set it again: kato secrets set."
        )
    return said


def credentials(logins: bytes, where: str) -> tuple[str, str] | None:
    """User and password for a registry, of what `docker login` wrote; None where nobody has logged in there."""
    try:
        known: Any = msgspec.json.decode(logins)
        user, _, password = base64.b64decode(known["auths"][where]["auth"]).decode().partition(":")
    except (ValueError, KeyError, TypeError):
        return None
    return user, password


def policy(docker: Docker) -> str:
    """When its image is pulled: always, missing or never, as `docker run --pull` has it."""
    asked = [each.value for each in docker.parameters if each.key == "pull"]
    return "always" if docker.force_pull_image else asked[-1] if asked else "missing"


def may_pull(docker: Docker) -> None:
    """Before a pull: DriverError where the app wants none."""
    if docker.built:
        raise DriverError(
            f"Its image {docker.image} was built by `kato up` and is not on this node: it went after a week "
            "without use, or another engine built it. `kato up` builds it again, with the cell's DOCKER_HOST."
        )
    if policy(docker) == "never":
        raise DriverError(
            f"Its image {docker.image} is not on this node, and is never to be pulled. Bring it here, or leave "
            "out `pull_policy: never`."
        )


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
