"""What every route needs, handed in once; and what several routes compute alike."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import deployed
from kato.api.commit import Committer, Deployed
from kato.api.events import posted
from kato.api.marathon.documents import Documents
from kato.api.metrics import Requests
from kato.api.stream import Stream
from kato.api.wishes import Change
from kato.config import Config
from kato.model.action import Plan
from kato.model.ids import absolute
from kato.model.link import AgentCalls
from kato.model.world import World
from kato.plan import Memory, decide
from kato.store import Store, keys
from kato.store.mirror import Mirror


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The api's surroundings. clock: epoch seconds; leader: host:port of who leads; stop: ends the cell."""

    config: Config
    store: Store
    mirror: Mirror
    calls: AgentCalls
    clock: Callable[[], float]
    leader: Callable[[], str | None]
    stop: Callable[[], None]
    committer: Committer
    stream: Stream
    started: float
    pid: int
    documents: Documents = field(default_factory=Documents)
    requests: Requests = field(default_factory=Requests)

    @property
    def world(self) -> World:
        """The World as of now."""
        return self.mirror.world()

    async def wish(self, change: Callable[[World], Change], *, force: bool, status: int = 200) -> Response:
        """Commits a change; Marathon's answer to it."""
        done = await self.committer.commit(change, force=force)
        return deployed(done.id, done.version, status)

    def tell_posted(self, request: Request, done: Deployed) -> None:
        """Tells listeners what a request made of apps."""
        if not self.stream.heard or done.deployment is None:
            return
        client = request.client.host if request.client else ""
        for id, version in done.deployment.target.items():
            app = self.world.spec(id, version) if version else None
            if app is not None:
                self.stream.publish(posted(client, request.url.path, app, self.clock()))

    async def plan(self, world: World) -> Plan:
        """What the leader would decide now; computed beside the event loop."""
        return await asyncio.to_thread(decide, world, self.clock(), Memory())

    async def versions(self, prefix: str) -> list[tuple[str, str]]:
        """(app, version) of everything kept under a prefix of keys, in key order."""
        room, _, _ = keys.versions("").partition("@")
        found = (await self.store.range(prefix)).items
        pairs = (item.key.removeprefix(room).rpartition("@") for item in found)
        return [(app, version) for app, _, version in pairs]


def app_id(request: Request) -> str:
    """The absolute id in a request's path."""
    return absolute("/" + str(request.path_params["id"]))
