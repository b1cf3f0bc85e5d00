"""Images that a node is to have: the apps that wait for theirs flow in; which are here, or why not, flows out."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from kato.agent.edge import Edge
from kato.agent.runtimes import Runtimes
from kato.drivers.runtime import Images as Power
from kato.model.app import App
from kato.model.errors import DriverError
from kato.model.secret import Secret

Secrets = Mapping[str, Mapping[str, Secret]]

SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before an image that cannot be had is asked for again; doubled each time."""

log = structlog.get_logger()


class Images:
    """Fetches what is wanted, each image in its own time. heard: called when there is news of one."""

    def __init__(self, runtimes: Runtimes, heard: Callable[[], None]) -> None:
        self._runtimes = runtimes
        self._heard = heard
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, str] = {}
        self._secrets: Secrets = {}

    @property
    def known(self) -> Mapping[str, str]:
        """Image -> '' where it is here, else why it cannot be had; none that nobody waits for."""
        return dict(self._known)

    def want(self, apps: tuple[App, ...], secrets: Secrets, group: asyncio.TaskGroup) -> None:
        """Fetches the images of `apps`, and lets go of others. secrets: by app, and by what it calls them."""
        self._secrets = secrets
        wanted = {f"{app.id} {app.config_version}": app for app in apps}
        for key in self._fetches.keys() - wanted.keys():
            self._fetches.pop(key).cancel()
        images = {app.image for app in apps}
        self._known = {image: why for image, why in self._known.items() if image in images}
        for key, app in wanted.items():
            if key not in self._fetches:
                self._fetches[key] = group.create_task(self._fetch(app, app.image or ""))

    async def _fetch(self, app: App, image: str) -> None:
        pause, edge = SHORTEST_PAUSE, Edge(image)
        while True:
            why = ""
            try:
                runtime = self._runtimes[app.runtime]
                if isinstance(runtime, Power):
                    with edge.guard():
                        await runtime.fetch(app, self._secrets.get(app.id, {}))
            except DriverError as error:
                why = str(error)
            if self._known.get(image) != why:
                self._known[image] = why
                self._heard()
            if not why:
                return
            log.warning("an image cannot be had", app=app.id, why=why, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
