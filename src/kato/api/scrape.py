"""The World goes in; what a Prometheus should ask comes out, in the form that its `http_sd_configs` reads.

The form is Prometheus' (its manual, "HTTP SD"): a list of groups, each of addresses and the labels of all of them.
"""

from collections.abc import Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import answer
from kato.api.metrics import PROMETHEUS
from kato.api.operation import TEXT, Operation, ok
from kato.api.parts import Parts
from kato.model.app import App
from kato.model.errors import DriverError, NotFound, Unavailable
from kato.model.ids import short_task
from kato.model.task import TaskState
from kato.model.world import World

BALANCER = "/v1/prometheus/balancer"
PORT, PATH = "prometheus.io/port", "prometheus.io/path"
"""An app's labels: which of its ports has figures, by place (0 is the first) or by name; and at which path."""


class ScrapeGroup(msgspec.Struct, frozen=True):
    """What is asked at one address. labels: of all its figures; those that begin with __ say how it is asked."""

    targets: tuple[str, ...]
    labels: dict[str, str]


class Scrape:
    """The route for a Prometheus."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        return [
            Operation("GET", "/v1/prometheus/targets", self.targets, ok(list[ScrapeGroup])),
            Operation("GET", BALANCER, self.balancer, ok({TEXT: str}), (), None, (404, 503)),
        ]

    async def targets(self, request: Request) -> Response:
        """What a Prometheus should ask: the cell, its balancer, the tasks of apps that ask for it by a label."""
        # A Prometheus would show the token that this cell asks for to every task of the list, too.
        own = [] if self._parts.config.https else list(self._own())
        return answer([*own, *tasks(self._parts.world)])

    async def balancer(self, request: Request) -> Response:
        """What the balancer's own exporter says."""
        if self._parts.exported is None:
            raise NotFound("The balancer of this cell gives no figures: it was built without its exporter.")
        try:
            return Response(await self._parts.exported(), headers={"Content-Type": PROMETHEUS})
        except DriverError as error:
            raise Unavailable(str(error)) from error

    def _own(self) -> Iterator[ScrapeGroup]:
        """The cell, and what it hands on."""
        yield ScrapeGroup((self._parts.config.api,), {"job": "kato"})
        if self._parts.exported is not None:
            yield ScrapeGroup((self._parts.config.api,), {"job": "haproxy", "__metrics_path__": BALANCER})


def tasks(world: World) -> Iterator[ScrapeGroup]:
    """Every task that runs, healthy or not, of an app version whose labels ask for it."""
    for app, placed in sorted(world.tasks.items()):
        statuses = world.statuses.get(app, {})
        for task in placed.values():
            status = statuses.get(task.id)
            if status is None or status.state is not TaskState.RUNNING or task.node not in world.nodes:
                continue
            wish = world.spec(app, task.version)
            place = _place(wish) if wish else None
            if wish is None or place is None or place >= len(task.ports):
                continue
            labels = {"job": app, "app": app, "task": short_task(task.id), "node": task.node}
            if PATH in wish.labels:
                labels["__metrics_path__"] = wish.labels[PATH]
            yield ScrapeGroup((f"{_host(world.nodes[task.node].address)}:{task.ports[place]}",), labels)


def _place(app: App) -> int | None:
    """Which port an app's label means; None where it has none, or the label names none."""
    word = app.labels.get(PORT)
    if word is None:
        return None
    names = [port.name for port in app.ports]
    if word in names:
        return names.index(word)
    return int(word) if word.isascii() and word.isdigit() else None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
