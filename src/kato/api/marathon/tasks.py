"""`/v2/tasks`: lists as JSON or as text for load balancers come out, wishes to stop tasks go on."""

from collections.abc import Callable, Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from kato.api import asked, forms
from kato.api.answers import answer, deployed
from kato.api.body import flag, many, read_object
from kato.api.marathon.documents import host, shown, task_document
from kato.api.operation import KILL, TEXT, WISH, Body, Operation, Query, killed, ok
from kato.api.parts import Parts
from kato.api.wish import wish
from kato.model.app import App
from kato.model.errors import InvalidInput
from kato.model.ids import safe
from kato.model.task import Task, TaskState
from kato.model.world import World

_STAGED = (TaskState.STAGING, TaskState.STARTING)
Documents = list[dict[str, object]]


class Tasks:
    """The routes of tasks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        status = Query("status", list[str], "staging or running; all where it is not said.")
        found = ok({"application/json": forms.TaskList, TEXT: str})
        takes = Body(forms.Ids, example={"ids": []})
        return [
            Operation("GET", "/v2/tasks", self.index, found, (status,)),
            Operation("POST", "/v2/tasks/delete", self.delete, killed(forms.TaskList), KILL, takes, WISH),
        ]

    async def index(self, request: Request) -> Response:
        """All tasks, or those that stage or run."""
        world = self._parts.world
        if wants_text(request):
            return Response(tasks_text(world, world.apps.values()), media_type="text/plain")
        asked = set(many(request, "status", "status[]"))
        found = [
            task_document(world, task)
            for app, tasks in world.tasks.items()
            for task in shown(tasks)
            if not asked or _condition(world, app, task) in asked
        ]
        return answer({"tasks": found})

    async def delete(self, request: Request) -> Response:
        """The tasks that the body names."""
        body = await read_object(request)
        return await stopped(
            self._parts,
            request,
            lambda world: asked.tasks_by_id(world, body.get("ids")),
            lambda docs: {"tasks": docs},
        )


async def stopped(
    parts: Parts,
    request: Request,
    choose: Callable[[World], Sequence[Task]],
    shape: Callable[[Documents], dict[str, object]],
) -> Response:
    """Stops tasks; with `scale` their apps become smaller, and the answer is the deployment."""
    scale, wipe = flag(request, "scale"), flag(request, "wipe")
    if scale and wipe:
        raise InvalidInput("You cannot use scale and wipe at the same time.")
    if scale:
        done = await parts.wishes.commit(
            lambda world: wish.scale_away(world, choose(world)), force=flag(request, "force")
        )
        return deployed(done.id, done.version)
    world = parts.world
    tasks = choose(world)
    await parts.wishes.kill(wish.kills(tasks, wipe=wipe))
    return answer(shape([task_document(world, task) for task in tasks]))


def wants_text(request: Request) -> bool:
    """Whether a client asks for text and not for JSON."""
    accepted = request.headers.get("accept", "")
    return "text/plain" in accepted and "json" not in accepted


def tasks_text(world: World, apps: Iterable[App]) -> str:
    """Marathon's table for scripts: a line a service port, `app<TAB>port<TAB>host:port<TAB>…`."""
    lines: list[str] = []
    for app in sorted(apps, key=lambda app: app.id):
        running = [task for task in world.tasks.get(app.id, {}).values() if _running(world, task)]
        hosts = [host(world.nodes.get(task.node)) for task in running]
        for index, port in enumerate(app.ports):
            ends = [f"{name}:{_port(task, index)}" for task, name in zip(running, hosts, strict=True)]
            lines.append("\t".join([safe(app.id), str(port.service), *ends, ""]))
        if not app.ports:
            lines.append("\t".join([safe(app.id), " ", *hosts, ""]))
    return "".join(f"{line}\n" for line in lines)


def _port(task: Task, index: int) -> int:
    return task.ports[index] if index < len(task.ports) else 0


def _running(world: World, task: Task) -> bool:
    return _condition(world, task.app, task) == "running"


def _condition(world: World, app: str, task: Task) -> str:
    status = world.statuses.get(app, {}).get(task.id)
    if status is None or status.state in _STAGED:
        return "staging"
    return "running" if status.state is TaskState.RUNNING else "other"
