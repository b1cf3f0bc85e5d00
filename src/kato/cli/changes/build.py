"""Images that a Compose file says how to build: a manifest goes in; how far each build is comes out, and the
manifest with the images' names. The engine builds them: drivers/runtime/docker/build.py.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from kato.cli.printing.live import Row, View
from kato.cli.printing.show import harmless
from kato.cli.signals import cancelled_by_signals
from kato.config import variables
from kato.model.build import Build
from kato.model.errors import KatoError

if TYPE_CHECKING:
    from kato.drivers.runtime.docker.build import Builder
    from kato.language import Manifest

INSTALL = "Run: apt-get install docker.io (since Debian 13: docker-cli)"
LAST_LINES = 15


class NotBuilt(KatoError):
    """An image could not be built; it says why, with the last lines of the build."""


async def built(manifest: "Manifest", engine: str | None) -> "Manifest":
    """Builds what is to be built, all at once, and shows how far it is. engine: as DOCKER_HOST has it."""
    if not manifest.builds:
        return manifest
    from kato.drivers.runtime.docker.build import Builder, has_client, unfit

    if not has_client():
        raise NotBuilt(
            f"{_named(manifest.builds)} is to be built, and there is no `docker` on the PATH. {INSTALL}"
        )
    apps: dict[Build, list[str]] = {}
    for app, build in manifest.builds.items():
        apps.setdefault(build, []).append(app)
        if (path := unfit(build)) is not None:
            raise NotBuilt(
                f"The image of {app} was not built: {path} is no regular file, and `docker build` would read it "
                "without end. Name a file: build.dockerfile"
            )
    with cancelled_by_signals(), View() as view:
        builds = _Builds(Builder(variables(), engine), view)
        try:
            async with asyncio.TaskGroup() as group:
                works = {build: group.create_task(builds.build(build, _named(of))) for build, of in apps.items()}
        except* NotBuilt as failed:
            raise failed.exceptions[0] from None
    return manifest.named({app: works[build].result() for build, of in apps.items() for app in of})


class _Builds:
    """All builds of one command, in one view."""

    def __init__(self, builder: "Builder", view: View) -> None:
        self._builder = builder
        self._view = view
        self._rows: dict[str, Row] = {}

    async def build(self, build: Build, name: str) -> str:
        """Builds an image; what it is called. name: of who is to have it."""
        from kato.drivers.runtime.docker.build import Ended

        last: deque[str] = deque(maxlen=LAST_LINES)

        def heard(raw: str) -> None:
            if line := harmless(raw):
                last.append(line)
                self._show(name, "building", line)

        try:
            image = await self._builder.build(build, heard)
        except Ended as ended:
            if ended.step == "tag":
                raise NotBuilt(f"The image of {name} was built, and not named: {' '.join(last)}") from None
            said = "\n".join(f"  {line}" for line in last)
            raise NotBuilt(
                f"The image of {name} was not built: `docker build` ended with exit code {ended.code}. Nothing "
                f"was deployed. The last lines:\n{said}"
            ) from None
        self._show(name, "built", image)
        return image

    def _show(self, name: str, state: str, note: str) -> None:
        self._rows[name] = Row(name, name, "", state, note)
        self._view.update([*self._rows.values()], {})


def _named(apps: Collection[str]) -> str:
    first, *more = apps
    return f"{first} and {len(more)} more" if more else first
