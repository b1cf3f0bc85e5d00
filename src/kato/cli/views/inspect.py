"""All that is known of one thing: an app's, a task's or a node's name goes in; one document comes out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kato.cli.printing.show import document
from kato.cli.views.listing import task_row
from kato.cli.words.names import find_task, missing
from kato.cli.words.place import THERE, Address
from kato.model.errors import NotFound
from kato.model.ids import short_task, timestamp

if TYPE_CHECKING:
    from kato.client import Client, Json

Format = Annotated[Literal["yaml", "json"], Parameter(name=["--output", "-o"])]
_NOT_WISHED = (
    "tasks",
    "tasksStaged",
    "tasksRunning",
    "tasksHealthy",
    "tasksUnhealthy",
    "deployments",
    "lastTaskFailure",
)


async def inspect(name: str, /, *, output: Format = "yaml", place: Address = THERE) -> None:
    """Print all that is known of an app, a task or a machine, as one document: of an app the wish, why it is not
    met, tasks, services with their URLs, and versions. The environment of an app is shown as it was written.

    Parameters
    ----------
    name
        An app (`vote`, `/voting/vote`), a task (`vote.3`, or its whole id; also one that has ended lately), or a
        machine (its id or host name, as of `kato nodes`).
    output
        How to print: yaml or json.
    """
    async with place.client() as client:
        document(await inspected(client, name), output)


async def inspected(client: "Client", name: str) -> "Json":
    """The document. NotFound with what was probably meant."""
    apps = {each["id"]: each for each in await client.apps()}
    tasks = {task["id"]: app for app in apps.values() for task in app["tasks"]}
    try:
        found = find_task(name, tasks, apps)
    except NotFound:
        other = await _node(client, name, apps.values()) or await _ended(client, name)
        if other is None:
            raise NotFound(missing("app, task or machine", name, apps)) from None
        return other
    if found in apps:
        return await _app(client, apps[found])
    return await _task(client, found, tasks[found])


async def _app(client: "Client", app: "Json") -> "Json":
    id = app["id"]
    services = [each for each in await client.services() if each["app"] == id]
    wished = app["version"] is not None  # else it is one that goes
    wish = await client.app(id) if wished else {}
    return {
        "app": id,
        **{key: value for key, value in app.items() if key not in ("id", "tasks")},
        "why": (await client.why(id))["sentences"] if wished else [],
        "urls": [url for service in services for url in service["urls"]],
        "tasks": [task_row(task, id) for task in app["tasks"]],
        "services": [{key: value for key, value in each.items() if key != "app"} for each in services],
        "versions": await client.versions(id) if wished else [],
        "wish": {key: value for key, value in wish.items() if key not in _NOT_WISHED},
    }


async def _task(client: "Client", id: str, app: "Json") -> "Json":
    task = next(each for each in app["tasks"] if each["id"] == id)
    servers = [
        {"port": service["port"], "hosts": service["hosts"], "urls": service["urls"], "state": server["state"]}
        for service in await client.services()
        for server in service["servers"]
        if server["task"] == id
    ]
    wish = await client.app(app["id"], task["version"])
    return {**task_row(task, app["id"]), "services": servers, "wish": wish}


async def _node(client: "Client", name: str, apps: "Sequence[Json] | Any") -> "Json | None":
    found = [each for each in await client.nodes() if name in (each["id"], each.get("hostname"))]
    if not found:
        return None
    node = found[0]["id"]
    tasks = [task_row(task, app["id"]) for app in apps for task in app["tasks"] if task["node"] == node]
    return {"node": node, **{key: value for key, value in found[0].items() if key != "id"}, "tasks": tasks}


async def _ended(client: "Client", name: str) -> "Json | None":
    for each in reversed(await client.ended()):
        if name in (each["task"], short_task(each["task"])):
            times = {key: each[key] and timestamp(each[key]) for key in ("started", "ended")}
            return {
                "task": each["short"],
                "id": each["task"],
                "state": "ended",
                **times,
                "message": each["message"],
            }
    return None
