"""What Marathon has no word for: `/v1/…`. JSON; times are epoch seconds."""

import math
from asyncio import to_thread
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kato.api import own_forms as own
from kato.api.answers import answer
from kato.api.body import flag, many, read_object
from kato.api.conversation import Conversation
from kato.api.foresee import foresee, wait_in_words
from kato.api.logs import Logs
from kato.api.operation import FORCE, LINES, TEXT, WISH, Body, Operation, Query, ok
from kato.api.parts import Parts, app_id
from kato.api.problems import Problems
from kato.api.stacks import stacks
from kato.api.version import kato_version
from kato.api.wish import find, history
from kato.model.errors import InvalidInput
from kato.model.frontend import Service, shape_of
from kato.model.ids import absolute, short_task
from kato.model.node import Node
from kato.model.world import World
from kato.plan import frontends, why
from kato.plan.drill import Drill, drill, named
from kato.store import keys
from kato.store.backup import written

Json = dict[str, Any]
BACKUP = "Lines of JSON: a head, one line a key, and a checksum of all before it."


class Native:
    """The routes of Káto's own API."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        group = Query("group", str, "Only what lies in this group.")
        lose = Query("lose", str, "A task or a machine, by name or id, or an engine (docker). It must be said.")
        plan = Body(own.PlanOf, example={"apps": [{"id": "/shop/web", "cmd": "sleep 1000"}]})
        back = Body(own.Version, example={})
        logs = (
            Query("stream", list[str], "stdout, stderr, or both."),
            Query("tail", int, "Only the last so many lines, and then what comes."),
            Query("since", float, "Only what came since, in epoch seconds."),
            Query("follow", bool, "Go on with what comes, and with the tasks that come."),
        )
        lines = ok(
            {LINES: str},
            "Lines of JSON: {task, stream, offset, time, text}. time: when it came, null where unknown.",
        )
        talk = ok({LINES: str}, "Lines of JSON: what the command writes, and last how it left.")
        words = Body(str, LINES, '{"type":"command","argv":["true"]}\n')
        return [
            Operation("GET", "/v1/cell", self.cell, ok(own.CellInfo)),
            Operation("GET", "/v1/backup", self.backup, ok({LINES: str}, BACKUP), fails=(503,)),
            Operation("GET", "/v1/stacks", self.stacks, ok({TEXT: str}, "Where threads and coroutines stand.")),
            Operation("POST", "/v1/stop", self.stop, ok(own.Said, "It ends.", 202)),
            Operation("GET", "/v1/apps", self.apps, ok(own.Standing), (group,)),
            Operation("GET", "/v1/nodes", self.nodes, ok(own.NodeList)),
            Operation("POST", "/v1/plan", self.plan, ok(own.Foreseen), (), plan, WISH),
            Operation("GET", "/v1/drill", self.drill, ok(Drill), (lose,), None, (404,)),
            Operation("GET", "/v1/why/{id:path}", self.why, ok(own.WhyInfo), (), None, (404,)),
            Operation("GET", "/v1/versions/{id:path}", self.versions, ok(own.KeptVersions), (), None, (404, 503)),
            Operation("POST", "/v1/rollback/{id:path}", self.rollback, ok(own.RolledBack), (FORCE,), back, WISH),
            Operation("GET", "/v1/services", self.services, ok(own.ServiceList)),
            Operation("GET", "/v1/ended", self.ended, ok(own.EndedList)),
            Operation("GET", "/v1/logs", self.all_logs, lines, logs),
            Operation("GET", "/v1/logs/{id:path}", self.logs, lines, logs, None, (404,)),
            Operation("POST", "/v1/exec/{id:path}", self.exec, talk, (), words, (404, 409, 503)),
        ]

    async def cell(self, request: Request) -> Response:
        """Which cell this is, and where it lives."""
        parts = self._parts
        cell = parts.mirror.cell
        return answer(
            {
                "id": parts.mirror.cell_id,
                "incarnation": cell.incarnation if cell else 0,
                "version": kato_version(),
                "pid": parts.pid,
                "api": parts.config.listens,
                "ingress": parts.config.ingress,
                "dns": parts.config.dns,
                "log": parts.config.log,
                "ship": ":".join(parts.config.ship) if parts.config.ship else None,
                "data": str(parts.config.data),
                "started": parts.started,
                "leader": parts.leader(),
            }
        )

    async def backup(self, request: Request) -> Response:
        """All that the store holds, at one revision, secrets included, for `kato restore`."""
        standing = await self._parts.store.range("")
        # Beside the event loop: what thousands of apps and tasks are would hold up the leader's lease.
        body = await to_thread(written, standing, kato_version(), self._parts.clock())
        return Response(body, media_type=LINES)

    async def stacks(self, request: Request) -> Response:
        """What the cell does right now, for whoever looks why it hangs."""
        return Response(stacks(), media_type=TEXT)

    async def stop(self, request: Request) -> Response:
        """Ends the cell once this is answered; tasks go on."""
        response = answer({"message": "The cell ends; its tasks go on."}, 202)
        response.background = BackgroundTask(self._stop)
        return response

    async def _stop(self) -> None:
        self._parts.stop()

    async def apps(self, request: Request) -> Response:
        """How every app, or those in a `group`, and their tasks stand."""
        group = absolute("/" + request.query_params.get("group", ""))
        found = b",".join(self._parts.standings.apps(self._parts.world, group))
        return answer(b'{"apps":[%b]}' % found)

    async def nodes(self, request: Request) -> Response:
        """The nodes, with what is used of each."""
        world = self._parts.world
        used = _used(world)
        return answer({"nodes": [_node(world, node, used.get(node.id, {})) for node in world.nodes.values()]})

    async def plan(self, request: Request) -> Response:
        """What a wish would change, and what the leader would do first; nothing is done."""
        body = await read_object(request)
        world, parts = self._parts.world, self._parts
        salt, own = parts.mirror.cell_id, parts.config.own_ports
        before = await parts.planner.now(world)
        # Beside the event loop: thousands of apps in one wish must not hold up the leader's lease.
        return answer(await to_thread(foresee, world, body, before, parts.clock(), salt=salt, own=own))

    async def why(self, request: Request) -> Response:
        """What an app is missing, and which refusal of which node it meets; of one that goes, what is left."""
        world, parts, id = self._parts.world, self._parts, app_id(request)
        app = world.apps.get(id)
        pulls = await parts.calls.pulls() if app is not None and app.image else ()
        said = why(world, await parts.planner.now(world), id, parts.clock(), pulls)
        wait = wait_in_words(said.wait) if said.wait else None
        problems = Problems(world.borders).of(app) if app is not None else ()
        sentences = (*problems, *said.sentences)
        return answer({**msgspec.structs.asdict(said), "sentences": sentences, "wait": wait, "problems": problems})

    async def drill(self, request: Request) -> Response:
        """What would happen if something were lost now; nothing is."""
        world, now, name = self._parts.world, self._parts.clock(), request.query_params.get("lose")
        if not name:
            raise InvalidInput("lose is missing; it takes a task, a machine or an engine.")
        # Beside the event loop: it is many decisions, and the leader's lease is kept meanwhile.
        return answer(await to_thread(drill, world, named(world, name), now))

    async def versions(self, request: Request) -> Response:
        """The versions that are kept of an app, the newest first: what each changed, and where a rollback goes."""
        id = find.app(self._parts.world, app_id(request)).id
        return answer({"versions": history.kept(self._parts.world, id, await self._versions(id))})

    async def rollback(self, request: Request) -> Response:
        """An app goes back to its former version, or to `version`; what that changes, app by app."""
        id, body, parts = app_id(request), await read_object(request), self._parts
        version = body.get("version")
        if version is not None and version not in (versions := await self._versions(id)):
            raise history.missing(id, str(version), versions)
        done = await parts.wishes.commit(
            lambda world: history.rolled_back(world, id, version), force=flag(request, "force")
        )
        parts.tell_posted(request, done)
        changes = history.told(parts.world, done.deployment) if done.deployment else []
        return answer({"version": done.version, "deploymentId": done.id, "changes": changes})

    async def _versions(self, id: str) -> list[str]:
        """The newest first."""
        return sorted((version for _, version in await self._parts.versions(keys.versions(id))), reverse=True)

    async def services(self, request: Request) -> Response:
        """The services, with their ports, hosts, servers, problems, and the URLs at which they answer.

        applied: whether every border has looked at these very ports, hosts and paths.
        """
        world = self._parts.world
        addresses = [ack.address for ack in world.borders.values()] or ["127.0.0.1"]
        ingress = next((ack.ingress for ack in world.borders.values() if ack.ingress), self._parts.config.ingress)
        found = frontends(world).services
        problems, shape = Problems(world.borders), shape_of(found)
        return answer(
            {
                "services": [_service(each, addresses[0], ingress, problems) for each in found],
                "problems": problems.all,
                "applied": all(ack.shape == shape for ack in world.borders.values()),
            }
        )

    async def ended(self, request: Request) -> Response:
        """The tasks that have gone and whose output is kept, the newest end last."""
        found = sorted(await self._parts.calls.kept(), key=lambda each: each.ended or 0.0)
        tasks = [{**msgspec.structs.asdict(each), "short": short_task(each.task)} for each in found]
        return answer({"tasks": tasks})

    async def all_logs(self, request: Request) -> Response:
        """The output of every task, as lines of JSON."""
        return _said(self._output(request), "/")

    async def logs(self, request: Request) -> Response:
        """The output of a task, or of every task of an app or a group, as lines of JSON."""
        logs = self._output(request)
        return _said(logs, await logs.find(str(request.path_params["id"])))

    def _output(self, request: Request) -> Logs:
        query = request.query_params
        tail = query.get("tail")
        if tail is not None and not tail.isdecimal():
            raise InvalidInput(f"tail is {tail!r}; it takes a number of lines.")
        streams = many(request, "stream") or ["stdout", "stderr"]
        if unknown := [each for each in streams if each not in ("stdout", "stderr")]:
            raise InvalidInput(f"There is no stream {unknown[0]!r}; there are stdout and stderr.")
        return Logs(
            self._parts.mirror,
            self._parts.calls,
            streams=streams,
            tail=int(tail) if tail else None,
            follow=query.get("follow", "").lower() == "true",
            since=_moment(query.get("since")),
            ended=self._parts.stream.closed,
        )

    async def exec(self, request: Request) -> Response:
        """A command beside a task, or beside a task of an app: what is typed and said passes as lines of JSON."""
        conversation = Conversation(self._parts, request)
        await conversation.begin()
        return conversation


def _moment(text: str | None) -> float | None:
    try:
        found = None if text is None else float(text)
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise InvalidInput(f"since is {text!r}; it takes epoch seconds.")
    return found


def _said(logs: Logs, name: str) -> Response:
    return StreamingResponse(logs.lines(name), media_type="application/x-ndjson")


def _used(world: World) -> Mapping[str, Json]:
    used: dict[str, Json] = {}
    for tasks in world.tasks.values():
        for task in (each for each in tasks.values() if each.goal != "done"):
            sums = used.setdefault(task.node, {"cpus": 0.0, "mem": 0.0, "disk": 0.0, "gpus": 0, "tasks": 0})
            for name in ("cpus", "mem", "disk", "gpus"):
                sums[name] = round(sums[name] + getattr(task.resources, name), 6)
            sums["tasks"] += 1
    return used


def _node(world: World, node: Node, used: Json) -> Json:
    nothing: Json = {"cpus": 0, "mem": 0, "disk": 0, "gpus": 0, "tasks": 0}
    problems = world.borders[node.id].problems if node.id in world.borders else ()
    return {
        **msgspec.to_builtins(node),
        "used": used or nothing,
        "dark": node.id in world.dark,
        "problems": problems,
    }


def _service(service: Service, address: str, ingress: str, problems: Problems) -> Json:
    port = ingress.rpartition(":")[2]
    return {
        **msgspec.to_builtins(service),
        "urls": _urls(service, address, "" if port == "80" else f":{port}", problems),
        "problems": problems.of_service(service),
    }


def _urls(service: Service, address: str, port: str, problems: Problems) -> list[str]:
    answers, hosts = problems.reach(service)
    if service.leaving:
        return []
    if not service.hosts:
        return [f"tcp://{address}:{service.port}"] if answers else []
    return [f"http://{host}{port}{service.path}" for host in hosts]
