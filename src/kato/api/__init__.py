"""The api: requests come in, over loopback and guarded; answers from the mirror and writes to the store go out.

`marathon/` and `native.py` speak to clients; `asked.py` reads what they ask for; `wish/` puts it in force.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from kato.access import Access
from kato.api.answers import http_refusal, refusal
from kato.api.guard import Guard
from kato.api.marathon.apps import Apps
from kato.api.marathon.cell import Cell
from kato.api.marathon.deployments import Deployments
from kato.api.marathon.groups import Groups
from kato.api.marathon.queue import Queue
from kato.api.marathon.tasks import Tasks
from kato.api.metrics import Shipping
from kato.api.native import Native
from kato.api.openapi import described
from kato.api.parts import Parts, Planner
from kato.api.scrape import Scrape
from kato.api.secrets import Secrets
from kato.api.server import listen, serve
from kato.api.stats import Stats
from kato.api.stream import Stream
from kato.api.volumes import Volumes
from kato.api.wish import Wishes
from kato.config import Config
from kato.model.deployment import Deployment
from kato.model.errors import Compacted, KatoError, Unavailable
from kato.model.frontend import Traffic
from kato.model.link import AgentCalls
from kato.store import Store, keys
from kato.store.changes import Changes
from kato.store.mirror import Mirror

if TYPE_CHECKING:
    from kato.api.traces import Traces

log = structlog.get_logger()

ROOMS = (Apps, Groups, Deployments, Tasks, Queue, Cell, Native, Secrets, Volumes, Scrape, Stats)
RETRY = 1.0
"""Seconds until the store is asked again, at the start."""


class Api:
    """The api of one node.

    calls: what agents can be asked for. clock: epoch seconds. leader: host:port of the master that leads. stop:
    ends the node. uuid: ids of deployments. listener: a socket that listens already; None for one of its own at
    the configured address. access: what lets others in; None for what the folder has.
    """

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        mirror: Mirror,
        calls: AgentCalls,
        clock: Callable[[], float],
        leader: Callable[[], str | None],
        stop: Callable[[], None],
        uuid: Callable[[], str],
        listener: socket.socket | None = None,
        shipping: Shipping | None = None,
        traces: "Traces | None" = None,
        traffic: Callable[[], Awaitable[Sequence[Traffic]]] | None = None,
        exported: Callable[[], Awaitable[str]] | None = None,
        access: Access | None = None,
    ) -> None:
        self._listener = listener
        self._access = access or Access.open(config)
        self._traces = traces
        begins = traces.began if traces else lambda deployment: None
        self._parts = Parts(
            config=config,
            store=store,
            mirror=mirror,
            calls=calls,
            clock=clock,
            leader=leader,
            stop=stop,
            wishes=Wishes(store=store, mirror=mirror, clock=clock, uuid=uuid, own=config.own_ports, begins=begins),
            stream=Stream(mirror=mirror, clock=clock),
            planner=Planner(clock),
            started=clock(),
            pid=os.getpid(),
            shipping=shipping,
            traffic=traffic,
            exported=exported,
        )

    def application(self) -> Starlette:
        """The ASGI application."""
        parts = self._parts
        operations = [each for room in ROOMS for each in room(parts).routes()]
        app = Starlette(routes=[each.route for each in (*operations, described(operations))])
        app.router.redirect_slashes = False
        app.add_exception_handler(KatoError, _refuse)
        app.add_exception_handler(HTTPException, _refuse_by_http)
        host = parts.config.api.rpartition(":")[0]
        guard = Middleware(Guard, host=host, leader=parts.leader, access=self._access, requests=parts.requests)
        app.user_middleware.append(guard)
        if self._traces is not None:
            app.user_middleware.append(self._traces.middleware)
        return app

    async def run(self) -> None:
        """Serves until cancelled. InvalidInput where the port is in use."""
        stream = self._parts.stream
        config = self._parts.config
        with contextlib.closing(self._listener or listen(config.api)) as listener:
            names = {"dns": config.dns} if config.dns else {}
            log.info("this cell listens", api=config.url, ingress=f"http://{config.ingress}", **names)
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(stream.run()), group.create_task(self._keep_house())]
                beside += [group.create_task(self._traces.run())] if self._traces else []
                try:
                    await serve(self.application(), listener, stream.close, self._access)
                finally:
                    for task in beside:
                        task.cancel()

    async def _keep_house(self) -> None:
        """Settles what was left half written, and removes versions that are not kept: at the start, and always."""
        settle = self._parts.wishes.settle
        while True:
            with self._parts.mirror.changes() as changes, contextlib.suppress(Compacted):
                await _until_done(settle)
                await _until_done(lambda: self._prune([keys.versions_below("/")]))
                await _until_done(self._parts.wishes.prune_secrets)
                async for step in changes:
                    if any(isinstance(each.now, Deployment) and not each.now.settled for each in step.items):
                        await _until_done(settle)
                    if ended := _ended(step):
                        await self._try_prune(ended)

    async def _try_prune(self, apps: Iterable[str]) -> None:
        try:
            await self._prune([keys.versions(app) for app in apps])
            await self._parts.wishes.prune_secrets()
        except Unavailable as error:
            log.info("old versions stay for now", why=str(error))

    async def _prune(self, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            held: dict[str, list[str]] = {}
            for app, version in await self._parts.versions(prefix):
                held.setdefault(app, []).append(version)
            await self._parts.wishes.prune(held)
            await asyncio.sleep(0)  # where nothing goes, nothing was waited for


async def _until_done(act: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await act()
        except Unavailable as error:
            log.warning("the api waits for the store", why=str(error))
            await asyncio.sleep(RETRY)


def _ended(step: Changes) -> list[str]:
    """The apps of deployments that are over."""
    gone = [each.before for each in step.items if isinstance(each.before, Deployment) and each.now is None]
    return [app for deployment in gone for app in deployment.target]


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, KatoError)
    return refusal(error)


async def _refuse_by_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_refusal(error)
