"""`/v2/queue`: what the planner waits with comes out, in the words of Marathon's launch queue."""

import math
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kato.api import forms
from kato.api.answers import answer
from kato.api.body import many
from kato.api.operation import CHANGE, Answer, Operation, Query, ok
from kato.api.parts import Parts, app_id
from kato.api.wish import find
from kato.model.action import Refusal
from kato.model.app import App
from kato.model.errors import NotFound
from kato.model.world import World
from kato.plan import queue
from kato.plan.why import Queued

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

    def routes(self) -> list[Operation]:
        """All of them."""
        embed = (Query("embed", list[str], "lastUnusedOffers, of which there are none."),)
        return [
            Operation("GET", "/v2/queue", self.index, ok(forms.QueueList), embed),
            Operation("DELETE", "/v2/queue/{id:path}/delay", self.reset, {204: Answer()}, (), None, CHANGE),
        ]

    async def index(self, request: Request) -> Response:
        """Every app that misses tasks, and why."""
        world, now = self._parts.world, self._parts.clock()
        waiting = queue(world, await self._parts.planner.now(world), now)
        offers = "lastUnusedOffers" in many(request, "embed")
        return answer({"queue": [self._item(world, each, offers) for each in waiting]})

    async def reset(self, request: Request) -> Response:
        """Forgets the delay after failures, so that the next launch is tried at once."""
        world, id = self._parts.world, app_id(request)
        if id not in world.apps or not missing(world, world.apps[id]):
            raise NotFound(f"Application {id} not found in tasks queue.")
        await self._parts.wishes.nudge(id)
        return Response(status_code=204)

    def _item(self, world: World, waiting: Queued, offers: bool) -> dict[str, object]:
        item: dict[str, object] = {
            "app": msgspec.Raw(self._parts.documents.app(waiting.app)),
            "count": waiting.count,
            "delay": {"timeLeftSeconds": math.ceil(waiting.left), "overdue": waiting.overdue},
            "since": waiting.since,
            "processedOffersSummary": summary(world, waiting.refusals),
        }
        if offers:
            item["lastUnusedOffers"] = []
        return item


def missing(world: World, app: App) -> int:
    """How many of an app's tasks are not there."""
    return max(app.instances - len(find.tasks(world, app.id)), 0)


def summary(world: World, refusals: Sequence[Refusal]) -> dict[str, object]:
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
