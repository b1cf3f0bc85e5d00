"""What a container needs beside an image: an App goes in, its networks and volumes are made where there are none,
and the engine's names for them come out.

What is made here carries the node's label, so that it is known whose it is. A network that somebody else made is
used where an app names it, and never removed.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from kato.drivers.runtime import Doors
from kato.drivers.runtime.docker.engine import CONFLICT, NOT_FOUND, Engine, Rejected, about, filters, unless
from kato.drivers.runtime.docker.reach import walled
from kato.drivers.runtime.folders.sandbox import links
from kato.model.app import DEFAULT, App
from kato.model.errors import Conflict, DriverError
from kato.model.frontend import Door
from kato.model.ids import parent, safe

STRANGE = frozenset(":/?#%")
"""Letters that a network's name does not have: what has them means another thing in a mode, or in a path."""
RESTART = "restart the engine while none of its containers runs (systemctl restart docker)"
LEAVING = 10.0
"""Seconds that a volume is waited for whose last container is being removed."""
SURE = 3
"""Looks until nobody goes who is waited for: an engine tells of no container a little before it lets go of it."""
log = structlog.get_logger()


class Supplies:
    """Of one node's containers. volumes: the folder of the cell's named volumes; doors: to the cell."""

    def __init__(self, engine: Engine, node: str, volumes: Path, doors: Doors | None = None) -> None:
        self._engine = engine
        self._node = node
        self._volumes = volumes
        self._doors = doors
        self._servers: dict[str, Sequence[str]] = {}
        self._reached: set[str] = set()
        self._walled: set[str] = set()
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

    def servers(self, networks: Iterable[str]) -> Sequence[str]:
        """Whom a container asks for names; nobody: whom the engine says. networks: as the engine calls them."""
        return next((found for each in networks if (found := self._servers.get(each))), ())

    async def meet(self) -> None:
        """Opens the doors of the networks that an earlier life of the cell made."""
        mine = filters(label=f"kato.node={self._node}")
        if self._doors is None:
            return
        for each in await self._engine.ask("GET", "/networks", filters=mine):
            if (found := self._place(each)) is not None:
                await self._doors.open(found[0])

    async def _open(self, network: Mapping[str, Any]) -> None:
        """Opens the door of a network before a container is made on it. One that a firewall keeps shut is not
        tried again: whom containers ask first must answer, whatever it is.
        """
        if self._doors is None or (found := self._place(network)) is None:
            return
        door, subnet = found
        id = network["Id"]
        servers = await self._doors.open(door) if id not in self._walled else ()
        if servers and id not in self._reached:
            if await asyncio.to_thread(walled, door, subnet):
                self._walled.add(id)
                await self._doors.shut(door.interface)
                servers = ()
                log.warning(
                    "a firewall keeps containers on a network from the cell, so that they are told no names but "
                    f"their network's own. Let them in (ufw allow in on {door.interface} to {door.address}), and "
                    "start the cell anew",
                    network=network["Name"],
                )
            else:
                self._reached.add(id)
        self._servers[network["Name"]] = servers

    def _place(self, network: Mapping[str, Any]) -> tuple[Door, str] | None:
        """The machine's address on a network of our own, and all that are there; None where it is no bridge."""
        if (network["Labels"] or {}).get("kato.node") != self._node or network["Driver"] != "bridge":
            return None
        for each in network["IPAM"]["Config"] or ():
            if "." in each.get("Gateway", ""):
                return Door(each["Gateway"], _bridge(network)), each["Subnet"]
        return None

    def _called(self, app: App, name: str) -> str:
        return f"kato-{self._node}-{safe(parent(app.id)) or 'root'}" if name == DEFAULT else name

    async def _network(self, name: str) -> str:
        if STRANGE & set(name):
            raise DriverError(
                f"Its network is called {name!r}, which says something else to the engine: container:… is a place "
                f"in another container. Name one without any of {' '.join(sorted(STRANGE))}."
            )
        async with self._making:  # asked for the same name twice at a time, an engine makes two of them
            with unless(NOT_FOUND):
                await self._open(await self._engine.ask("GET", f"/networks/{name}"))
                return name
            asked = {"Name": name, "CheckDuplicate": True, "Labels": {"kato.node": self._node}}
            with about(f"Its network {name} cannot be made"), unless(CONFLICT):  # somebody else was quicker
                made = await self._engine.ask("POST", "/networks/create", asked)
                await self._open(await self._engine.ask("GET", f"/networks/{made['Id']}"))
            return name

    async def volumes(self, app: App) -> Mapping[str, str]:
        """The engine's name of each volume that is the cell's, by its place in the container.

        It is a folder of the cell's, which every runtime shares, handed over as a named volume, so that the engine
        fills an empty one with what the image has there, as users expect.
        """
        found: dict[str, str] = {}
        for link in links(app, self._volumes, Path(), nested=True):
            if link.owned:
                await asyncio.to_thread(link.target.mkdir, exist_ok=True)
                found[f"/{link.place}"] = await self._volume(link.target)
        return found

    async def _volume(self, folder: Path) -> str:
        name = self._name(folder.name)
        asked = {
            "Name": name,
            "Driver": "local",
            "DriverOpts": {"type": "none", "o": "bind", "device": str(folder)},
            "Labels": {"kato.node": self._node},
        }
        with about(f"Its volume {folder.name} cannot be made"):
            await self._engine.ask("POST", "/volumes/create", asked)
        return name

    def _name(self, volume: str) -> str:
        return f"kato-{self._node}-{volume}"

    async def let_go(self, volume: str) -> None:
        """Has the engine forget its volume of that name. Conflict where it holds it: an engine that was started
        anew while containers ran (live-restore) counts their mounts wrong, and keeps the folder mounted for ever.
        """
        name = self._name(volume)
        path = f"/volumes/{quote(name, safe='')}"
        with unless(NOT_FOUND):
            if ((await self._engine.ask("GET", path))["Labels"] or {}).get("kato.node") != self._node:
                return
            deadline, without = time.monotonic() + LEAVING, 0
            while (words := await self._kept(path)) is not None:
                without += not await self._leaves(name)
                if time.monotonic() > deadline or without == SURE:
                    raise Conflict(
                        f"The engine holds the volume {volume} and does not let go of it ({words}). Remove the "
                        f"containers that have it (docker ps --all --filter volume={name}); where there are none, "
                        f"{RESTART}."
                    )
                await asyncio.sleep(0.1)

    async def _kept(self, path: str) -> str | None:
        """Why the engine does not remove a volume; None where it has."""
        try:
            await self._engine.ask("DELETE", path)
        except Rejected as error:
            return None if error.status == NOT_FOUND else str(error)
        return None

    async def _leaves(self, volume: str) -> bool:
        """Whether containers of this node's have a volume, and nobody else's: they have ended, and go by now."""
        having = await self._engine.ask("GET", "/containers/json", all=1, filters=filters(volume=volume))
        nodes = [each["Labels"].get("kato.node") for each in having]
        return bool(nodes) and all(each == self._node for each in nodes)

    def explained(self, error: DriverError) -> DriverError:
        """Why a container did not start, where an engine has a volume mounted whose folder was deleted since."""
        words = str(error)
        found = re.search(rf"/volumes/{re.escape(self._name(''))}([^/]+)/_data\b", words)
        if found is None or "no such file or directory" not in words:
            return error
        return DriverError(
            f"the engine holds the volume {found[1]} as it was before its folder was deleted. For a new one, "
            f"{RESTART}."
        )

    async def tidy(self) -> None:
        """Removes networks and names of volumes of this node that no container uses. Volumes' folders stay."""
        mine = f"kato.node={self._node}"
        for each in await self._engine.ask("GET", "/networks", filters=filters(label=mine)):
            if await self._discard(f"/networks/{each['Id']}") and self._doors:
                await self._doors.shut(_bridge(each))
        for each in (await self._engine.ask("GET", "/volumes", filters=filters(label=mine)))["Volumes"] or ():
            await self._discard(f"/volumes/{each['Name']}")

    async def _discard(self, path: str) -> bool:
        with contextlib.suppress(Rejected):  # it is in use
            await self._engine.ask("DELETE", path)
            return True
        return False


def _bridge(network: Mapping[str, Any]) -> str:
    """What the machine calls the interface of a network."""
    named = (network["Options"] or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{network['Id'][:12]}")
