"""`/v2/queue`: what the planner waits with comes out, in the words of Marathon's launch queue."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kato.api import changes
from kato.api.answers import answer
from kato.api.body import many
from kato.api.parts import Parts, app_id
from kato.model.action import Refusal, Wait
from kato.model.app import App
from kato.model.errors import NotFound
from kato.model.ids import timestamp
from kato.model.world import World

REASONS = {
    "role": "UnfulfilledRole",
    "constraint": "UnfulfilledConstraint",
    "cpus": "InsufficientCpus",
    "mem": "InsufficientMemory",
    "disk": "InsufficientDisk",
    "gpus": "InsufficientGpus",
    "ports": "InsufficientPorts",
    "drain": "AgentMaintenance",
}
"""Marathon's word for a filter's refusal; another filter's own name stands for itself."""


class Queue:
    """The routes of the queue."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v2/queue", self.index, methods=["GET"]),
            Route("/v2/queue/{id:path}/delay", self.reset, methods=["DELETE"]),
        ]

    async def index(self, request: Request) -> Response:
        """Every app that misses tasks, and why."""
        world, now = self._parts.world, self._parts.clock()
        waits = (await self._parts.plan(world)).waits
        offers = "lastUnusedOffers" in many(request, "embed")
        items = [self._item(world, wait, now, offers) for wait in waits.values() if wait.app in world.apps]
        return answer({"queue": items})

    async def reset(self, request: Request) -> Response:
        """Forgets the delay after failures, so that the next launch is tried at once."""
        world, id = self._parts.world, app_id(request)
        if id not in world.apps or not missing(world, world.apps[id]):
            raise NotFound(f"Application {id} not found in tasks queue.")
        await self._parts.committer.nudge(id)
        return Response(status_code=204)

    def _item(self, world: World, wait: Wait, now: float, offers: bool) -> dict[str, object]:
        app = world.apps[wait.app]
        left = max((wait.until or now) - now, 0.0)
        item: dict[str, object] = {
            "app": msgspec.Raw(self._parts.documents.app(app)),
            "count": wait.count,
            "delay": {"timeLeftSeconds": round(left), "overdue": left <= 0},
            "since": timestamp(since(world, app)),
            "processedOffersSummary": summary(world, wait.refusals),
        }
        if offers:
            item["lastUnusedOffers"] = []
        return item


def missing(world: World, app: App) -> int:
    """How many of an app's tasks are not there."""
    return max(app.instances - len(changes.chosen_tasks(world, app.id, None)), 0)


def since(world: World, app: App) -> float:
    """Epoch seconds since when tasks of an app are missing, as far as it is known."""
    scaled = app.version_info.last_scaling_at if app.version_info else app.version
    launches = world.launches.get(app.id)
    failed = launches.last_failure.time if launches and launches.last_failure else 0.0
    return max(datetime.fromisoformat(scaled).timestamp(), failed)


def summary(world: World, refusals: Iterable[Refusal]) -> dict[str, object]:
    """Refusals as declined offers: each node makes one."""
    nodes = len(world.nodes)
    declined = [
        {"reason": REASONS.get(each.filter, each.filter), "declined": each.nodes, "processed": nodes}
        for each in refusals
    ]
    unused = min(sum(each.nodes for each in refusals), nodes)
    return {
        "processedOffersCount": nodes,
        "unusedOffersCount": unused,
        "rejectSummaryLastOffers": declined,
        "rejectSummaryLaunchAttempt": declined,
    }
