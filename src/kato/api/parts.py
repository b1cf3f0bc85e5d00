"""What every route needs, handed in once; and what several routes compute alike."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import deployed
from kato.api.events import posted
from kato.api.marathon.documents import Documents
from kato.api.metrics import Requests, Shipping
from kato.api.standing import Standings
from kato.api.stream import Stream
from kato.api.wish import Deployed, Wishes
from kato.api.wish.wish import Asked
from kato.config import Config
from kato.model.action import Plan
from kato.model.frontend import Traffic
from kato.model.ids import absolute
from kato.model.link import AgentCalls
from kato.model.world import World
from kato.plan import Recall, decide
from kato.store import Store, keys
from kato.store.mirror import Mirror

FRESH = 1.0
"""Seconds for which a plan of one World is shown again."""


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
    wishes: Wishes
    stream: Stream
    started: float
    pid: int
    planner: "Planner"
    documents: Documents = field(default_factory=Documents)
    standings: Standings = field(default_factory=Standings)
    requests: Requests = field(default_factory=Requests)
    shipping: Shipping | None = None
    traffic: Callable[[], Awaitable[Sequence[Traffic]]] | None = None
    exported: Callable[[], Awaitable[str]] | None = None

    @property
    def world(self) -> World:
        """The World as of now."""
        return self.mirror.world()

    async def wish(self, asked: Asked, *, force: bool, status: int = 200) -> Response:
        """Commits a wish; Marathon's answer to it."""
        done = await self.wishes.commit(asked, force=force)
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

    async def versions(self, prefix: str) -> list[tuple[str, str]]:
        """(app, version) of everything kept under a prefix of keys, in key order."""
        return [keys.version_of(item.key) for item in (await self.store.range(prefix)).items]


class Planner:
    """What the leader would decide, for those who ask why. clock: epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recall = Recall()
        self._turn = asyncio.Lock()
        self._last: tuple[World, float, Plan] | None = None

    async def now(self, world: World) -> Plan:
        """The plan for the mirror's newest World, computed beside the event loop; at most one a second for one."""
        async with self._turn:
            now = self._clock()
            if self._last is None or self._last[0] is not world or now - self._last[1] > FRESH:
                plan = await asyncio.to_thread(decide, world, now, self._recall)
                self._last = (world, now, plan)
            return self._last[2]


def app_id(request: Request) -> str:
    """The absolute id in a request's path."""
    return absolute("/" + str(request.path_params["id"]))
