"""What a container needs beside an image: an App goes in, its networks and volumes are made where there are none,
and the engine's names for them come out.

What is made here carries the node's label, so that it is known whose it is. A network that somebody else made is
used where an app names it, and never removed.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

from kato.drivers.runtime.docker.engine import CONFLICT, NOT_FOUND, Engine, Rejected, about, filters, unless
from kato.drivers.runtime.folders.sandbox import links
from kato.model.app import DEFAULT, App
from kato.model.ids import parent, safe


class Supplies:
    """Of one node's containers. volumes: the folder of the cell's named volumes."""

    def __init__(self, engine: Engine, node: str, volumes: Path) -> None:
        self._engine = engine
        self._node = node
        self._volumes = volumes
        self._making = asyncio.Lock()

    async def networks(self, app: App) -> Mapping[str, str]:
        """The engine's name for each network that the app names; one that the engine does not know is made.

        `default`, which is what a Compose project's services share, is a network of the app's group on this node.
        """
        found: dict[str, str] = {}
        for network in app.networks:
            if network.name is not None:
                found[network.name] = await self._network(self._called(app, network.name))
        return found

    def _called(self, app: App, name: str) -> str:
        return f"kato-{self._node}-{safe(parent(app.id)) or 'root'}" if name == DEFAULT else name

    async def _network(self, name: str) -> str:
        async with self._making:  # asked for the same name twice at a time, an engine makes two of them
            with unless(NOT_FOUND):
                await self._engine.ask("GET", f"/networks/{name}")
                return name
            asked = {"Name": name, "CheckDuplicate": True, "Labels": {"kato.node": self._node}}
            with about(f"Its network {name} cannot be made"), unless(CONFLICT):  # somebody else was quicker
                await self._engine.ask("POST", "/networks/create", asked)
            return name

    async def volumes(self, app: App) -> Mapping[str, str]:
        """The engine's name of each volume that is the cell's, by its place in the container.

        It is a folder of the cell's, which every runtime shares, handed over as a named volume, so that the engine
        fills an empty one with what the image has there, as users expect.
        """
        found: dict[str, str] = {}
        for link in links(app, self._volumes, Path()):
            if link.owned:
                await asyncio.to_thread(link.target.mkdir, exist_ok=True)
                found[f"/{link.place}"] = await self._volume(link.target)
        return found

    async def _volume(self, folder: Path) -> str:
        name = f"kato-{self._node}-{folder.name}"
        asked = {
            "Name": name,
            "Driver": "local",
            "DriverOpts": {"type": "none", "o": "bind", "device": str(folder)},
            "Labels": {"kato.node": self._node},
        }
        with about(f"Its volume {folder.name} cannot be made"):
            await self._engine.ask("POST", "/volumes/create", asked)
        return name

    async def tidy(self) -> None:
        """Removes networks and names of volumes of this node that no container uses. Volumes' folders stay."""
        mine = f"kato.node={self._node}"
        for each in await self._engine.ask("GET", "/networks", filters=filters(label=mine)):
            await self._discard(f"/networks/{each['Id']}")
        for each in (await self._engine.ask("GET", "/volumes", filters=filters(label=mine)))["Volumes"] or ():
            await self._discard(f"/volumes/{each['Name']}")

    async def _discard(self, path: str) -> None:
        with contextlib.suppress(Rejected):  # it is in use
            await self._engine.ask("DELETE", path)
