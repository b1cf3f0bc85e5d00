"""What agents tell of their tasks goes in, with the World; how every task stands and what it uses comes out.

It is looked up when somebody asks, and at no other time.
"""

from collections.abc import Iterable, Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import answer
from kato.api.operation import Operation, ok
from kato.api.parts import Parts
from kato.api.standing import standing_app
from kato.model.link import Sample, Used
from kato.model.world import World


class TaskStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a task uses. short: as people call it; state and checks: as in /v1/apps.

    at: seconds of its node's clock; cpu: of processors since its start, so that of two answers the difference of
    cpu by that of at is how many cores it used between; memory: bytes. None where nobody can tell.
    limit: bytes of memory that it asked for; restarts: how often its app failed in a row.
    """

    task: str
    short: str
    app: str
    node: str
    state: str
    checks: str | None
    started: float | None
    restarts: int
    at: float | None
    cpu: float | None
    memory: int | None
    limit: int


class StatsList(msgspec.Struct, frozen=True):
    """Every task, in the order of apps and starts."""

    tasks: tuple[TaskStats, ...]


class Stats:
    """The route for those who watch."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """The only one."""
        return [Operation("GET", "/v1/stats", self.stats, ok(StatsList))]

    async def stats(self, request: Request) -> Response:
        """How every task stands, and what it uses now of processors and memory."""
        samples = await self._parts.calls.stats()
        return answer(StatsList(tuple(stats(self._parts.world, samples))))


def stats(world: World, samples: Iterable[Sample]) -> Iterator[TaskStats]:
    """How every task of a World stands, and what it uses by these samples."""
    used: dict[str, tuple[float, Used]] = {
        task: (sample.at, each) for sample in samples for task, each in sample.tasks.items()
    }
    for app in (standing_app(world, id) for id in sorted(world.tasks)):
        launches = world.launches.get(app.id)
        for task in app.tasks:
            at, uses = used.get(task.id, (None, None))
            yield TaskStats(
                task=task.id,
                short=task.short,
                app=app.id,
                node=task.node,
                state=task.state,
                checks=task.checks,
                started=task.started,
                restarts=launches.failures if launches else 0,
                at=at,
                cpu=uses.cpu if uses else None,
                memory=uses.memory if uses else None,
                limit=round(world.tasks[app.id][task.id].resources.mem * (1 << 20)),
            )
