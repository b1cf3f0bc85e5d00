"""What Marathon says of itself: `/v2/info`, `/v2/leader`, `/v2/events`, `/ping`, `/metrics` and `/`."""

from asyncio import to_thread
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from kato.api import forms, metrics
from kato.api.answers import answer
from kato.api.body import many
from kato.api.operation import TEXT, Operation, Query, ok
from kato.api.parts import Parts
from kato.api.version import kato_version
from kato.model.app import SERVICE_PORTS
from kato.model.errors import NotFound

MARATHON = "1.11.24"
"""The release of Marathon whose API this is, for clients that ask."""


class Cell:
    """The routes of the cell itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        text = ok({TEXT: str})
        stream = ok({"text/event-stream": str}, "Events, for as long as the client listens.")
        kinds = Query("event_type", list[str], "Only these types of event.")
        light = Query("plan-format", str, "`light`: without a deployment's original and target.")
        return [
            Operation("GET", "/", self.root, ok(forms.Root)),
            Operation("GET", "/ping", self.ping, text),
            Operation("GET", "/metrics", self.figures, ok({TEXT: str, "application/json": forms.Figures})),
            Operation("GET", "/metrics/prometheus", self.prometheus, text),
            Operation("GET", "/v2/info", self.info, ok(forms.Info)),
            Operation("GET", "/v2/leader", self.leader, ok(forms.Leader), (), None, (404,)),
            Operation("GET", "/v2/events", self.events, stream, (kinds, light), None, (405,)),
        ]

    async def root(self, request: Request) -> Response:
        """What this is, for who looks."""
        return answer({"name": "kato", "version": kato_version(), "apis": ["/v1/cell", "/v2/info", "/metrics"]})

    async def ping(self, request: Request) -> Response:
        """Whether it is up."""
        return PlainTextResponse("pong")

    async def figures(self, request: Request) -> Response:
        """Figures, as JSON for who asks for JSON and else as Prometheus reads them."""
        if "application/json" in request.headers.get("accept", ""):
            return answer(await to_thread(metrics.as_json, await self._figures()))
        return await self.prometheus(request)

    async def prometheus(self, request: Request) -> Response:
        """Figures in Prometheus' text format."""
        # Beside the event loop: thousands of apps have many figures.
        text = await to_thread(metrics.as_text, await self._figures())
        return Response(text, headers={"Content-Type": metrics.PROMETHEUS})

    async def leader(self, request: Request) -> Response:
        """Who leads."""
        leader = self._parts.leader()
        if leader is None:
            raise NotFound("There is no leader")
        return answer({"leader": leader})

    async def info(self, request: Request) -> Response:
        """Marathon's description of itself; of its settings only those that mean something here."""
        parts, cell = self._parts, self._parts.mirror.cell
        leader = parts.leader()
        host, _, port = parts.config.api.rpartition(":")
        ports = (0, int(port)) if parts.config.https else (int(port), 0)
        return answer(
            {
                "name": "marathon",
                "version": MARATHON,
                "buildref": f"kato-{kato_version()}",
                "elected": leader == parts.config.api,
                "leader": leader,
                "frameworkId": cell.id if cell else "",
                "marathon_config": {
                    "checkpoint": True,
                    "features": [],
                    "framework_name": "kato",
                    "ha": False,
                    "hostname": host,
                    "local_port_min": SERVICE_PORTS[0],
                    "local_port_max": SERVICE_PORTS[1],
                    "mesos_role": "*",
                    "webui_url": parts.config.url,
                },
                "zookeeper_config": {},
                "http_config": dict(zip(("http_port", "https_port"), ports, strict=True)),
            }
        )

    async def events(self, request: Request) -> Response:
        """The stream of events, for as long as the client listens."""
        accepted = request.headers.get("accept", "*/*")
        if not any(kind in accepted for kind in ("text/event-stream", "text/*", "*/*")):
            raise HTTPException(405, "This is a stream of events; ask for it with Accept: text/event-stream.")
        remote = request.client.host if request.client else ""
        light = request.query_params.get("plan-format") == "light"
        kinds = many(request, "event_type")
        stream = self._parts.stream

        async def lines() -> AsyncIterator[bytes]:
            listener = stream.attach(remote, kinds, light)
            try:
                async for line in listener.lines():
                    yield line
            finally:
                stream.detach(listener)

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _figures(self) -> metrics.Figures:
        parts = self._parts
        passed, used = await parts.traffic() if parts.traffic else (), await parts.calls.stats()
        leads = parts.leader() is not None
        version, shipping = kato_version(), parts.shipping
        return metrics.Figures(
            parts.world, parts.requests, leads=leads, version=version, shipping=shipping, traffic=passed, used=used
        )
