"""Traces: requests that change something, and what the mirror tells of deployments and tasks, flow in; spans flow
out, by OpenTelemetry's SDK, to where OTEL_EXPORTER_OTLP_ENDPOINT says.

A deployment is a child of the request that wished for it, and each task, from its placement until it serves, a
child of the deployment that holds its app. Imported only where traces are asked for: OpenTelemetry is an extra.
"""

import threading
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kato.model import task as tasks
from kato.model.deployment import Deployment
from kato.model.errors import Compacted
from kato.model.ids import short_task
from kato.model.task import Task, TaskState
from kato.model.world import World
from kato.store.changes import Change
from kato.store.mirror import Mirror

LAST = 3.0
"""Seconds that what waits may take when the cell ends."""
MOST = 10_000
"""Spans that are under way at a time; what begins beyond is not traced."""
SAFE = ("GET", "HEAD", "OPTIONS")
ASKS = "/v1/plan"
"""What changes nothing, though it is posted."""


class Traces:
    """The spans of one cell. clock: epoch seconds."""

    def __init__(self, *, mirror: Mirror, clock: Callable[[], float], node: str, version: str) -> None:
        self._mirror = mirror
        self._clock = clock
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say is stronger.
        about = {"service.name": "kato", "service.version": version, "host.name": node}
        resource = Resource(about).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("kato", version)
        self._asked: dict[str, Any] = {}
        """The contexts of requests whose deployments have not been seen yet, by deployment."""
        self._deployments: dict[str, Span] = {}
        self._tasks: dict[str, Span] = {}

    # -- requests -------------------------------------------------------------------------------------------

    @property
    def middleware(self) -> Middleware:
        """What makes a span of each request that changes something."""
        return Middleware(_Traced, tracer=self._tracer)

    def began(self, deployment: str) -> None:
        """The request that is being answered is about to put this deployment in force."""
        while len(self._asked) >= MOST:
            del self._asked[next(iter(self._asked))]
        self._asked[deployment] = trace.set_span_in_context(trace.get_current_span())

    # -- what becomes of them -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follows the mirror until cancelled. What was under way before is taken up where it stands."""
        try:
            while True:
                with self._mirror.changes() as changes:
                    self._take_up(self._mirror.world())
                    try:
                        async for step in changes:
                            for change in step.items:
                                self._see(change, self._mirror.world())
                    except Compacted:
                        continue
        finally:
            ending = threading.Thread(target=self._provider.shutdown, daemon=True)
            ending.start()
            ending.join(LAST)

    def _take_up(self, world: World) -> None:
        for deployment in world.deployments.values():
            self._begin_deployment(deployment)
        for app, placed in world.tasks.items():
            for task in placed.values():
                status = world.statuses.get(app, {}).get(task.id)
                if not task.serves(status) and not (status and status.state.ended):
                    self._begin_task(task, world)

    def _see(self, change: Change, world: World) -> None:
        before, after = change.before, change.now
        match after if after is not None else before:
            case Deployment() as deployment if after is None:
                self._end_deployment(deployment)
            case Deployment() as deployment if before is None:
                self._begin_deployment(deployment)
            case Task() as task if after is None:
                self._end_task(task.id, "it was stopped before it served")
            case Task() as task if before is None:
                self._begin_task(task, world)
            case tasks.Status() as status if after is not None:
                self._hear(before, status, world)

    def _begin_deployment(self, found: Deployment) -> None:
        parent = self._asked.pop(found.id, None)
        if found.id not in self._deployments and len(self._deployments) < MOST:
            about = {"kato.deployment": found.id, "kato.apps": sorted(found.target), "kato.version": found.version}
            span = self._tracer.start_span("deployment", parent, attributes=about, start_time=_ns(found.started))
            self._deployments[found.id] = span

    def _end_deployment(self, found: Deployment) -> None:
        if (span := self._deployments.pop(found.id, None)) is not None:
            if found.cancelled:
                span.set_status(Status(StatusCode.ERROR, "it was taken over by another"))
            span.end(_ns(self._clock()))

    def _begin_task(self, task: Task, world: World) -> None:
        if task.id in self._tasks or len(self._tasks) >= MOST:
            return
        deployment = world.locks.get(task.app)
        held = self._deployments.get(deployment or "")
        about = {"kato.app": task.app, "kato.task": task.id, "kato.node": task.node, "kato.version": task.version}
        about |= {"kato.deployment": deployment} if deployment else {}
        parent = trace.set_span_in_context(held) if held is not None else None
        span = self._tracer.start_span(
            f"start {short_task(task.id)}", parent, attributes=about, start_time=_ns(task.created)
        )
        self._tasks[task.id] = span

    def _hear(self, before: tasks.Status | None, status: tasks.Status, world: World) -> None:
        span, now = self._tasks.get(status.task), self._clock()
        if span is None:
            return
        if before is None or before.state is not status.state:
            words = {"message": status.message} if status.message else {}
            span.add_event(status.state.removeprefix("TASK_").lower(), words, _ns(now))
        task = world.tasks.get(status.app, {}).get(status.task)
        if (task is not None and task.serves(status)) or status.state is TaskState.FINISHED:
            self._end_task(status.task)
        elif status.state.ended:
            self._end_task(status.task, status.message or "it ended before it served")

    def _end_task(self, id: str, why: str = "") -> None:
        if (span := self._tasks.pop(id, None)) is not None:
            if why:
                span.set_status(Status(StatusCode.ERROR, why))
            span.end(_ns(self._clock()))


class _Traced:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, tracer: Any) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE or scope["path"] == ASKS:
            await self._app(scope, receive, send)
            return
        parent = TraceContextTextMapPropagator().extract(dict(Headers(scope=scope)))
        about = {"http.request.method": scope["method"], "url.path": scope["path"]}
        name = f"{scope['method']} {scope['path']}"
        with self._tracer.start_as_current_span(name, parent, SpanKind.SERVER, about) as span:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await self._app(scope, receive, sending)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
