"""Named volumes: what nodes keep, and which apps name it, goes out; one that no app names is removed."""

from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import answer
from kato.api.naming import naming
from kato.api.operation import Operation, ok
from kato.api.parts import Parts
from kato.model.errors import Conflict
from kato.model.volume import named_volumes
from kato.model.world import World


class VolumeEntry(TypedDict):
    """A volume of a node. bytes: what it takes on the disk; apps: those that name it."""

    name: str
    node: str
    bytes: int
    apps: list[str]


class VolumeList(TypedDict):
    """Every named volume."""

    volumes: list[VolumeEntry]


class VolumeRemoved(TypedDict):
    """A volume is no more."""

    name: str


class Volumes:
    """The routes of volumes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        fails = (404, 409, 503)
        return [
            Operation("GET", "/v1/volumes", self.list_all, ok(VolumeList)),
            Operation("DELETE", "/v1/volumes/{name}", self.remove, ok(VolumeRemoved), (), None, fails),
        ]

    async def list_all(self, request: Request) -> Response:
        """The named volumes, what each takes on the disk, counted when it is asked for, and which apps name it."""
        found, world = await self._parts.calls.volumes(), self._parts.world
        rows = [
            VolumeEntry(name=each.name, node=each.node, bytes=each.bytes, apps=users(world, each.name))
            for each in sorted(found, key=lambda each: (each.name, each.node))
        ]
        return answer({"volumes": rows})

    async def remove(self, request: Request) -> Response:
        """Removes a volume with all that is in it, unless an app names it."""
        name = str(request.path_params["name"])
        if apps := users(self._parts.world, name):
            raise Conflict(
                f"The volume {name} is named by {', '.join(apps)}. Remove that first: kato rm {apps[0]}"
            )
        await self._parts.calls.remove_volume(name)
        return answer(VolumeRemoved(name=name))


def users(world: World, name: str) -> list[str]:
    """The apps that name a volume."""
    return naming(world, lambda app: name in named_volumes((app,)))
