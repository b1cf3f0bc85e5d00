"""What there is: ls, ps, nodes and versions ask a cell and print what it says."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kato.cli.printing.show import Output, Row, listing
from kato.cli.printing.watch import Watch, shown
from kato.cli.words.names import find_app, find_apps
from kato.cli.words.place import THERE, Address, AppName, AppOrProject
from kato.model.ids import timestamp


async def ls(*, output: Output = "table", watch: Watch = False, place: Address = THERE) -> None:
    """List apps.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    columns = ["app", "state", "tasks", "cpus", "mem", "ports", "urls"]
    empty = "Nothing is deployed. Deploy something: kato up FILE"

    def show(rows: Sequence[Row]) -> None:
        if output == "table":
            for problem in dict.fromkeys(problem for row in rows for problem in row["problems"]):
                print(f"kato: {problem}", file=sys.stderr)
        listing(rows, columns, output, empty=empty)

    async with place.client() as client:

        async def look() -> Sequence[Row]:
            apps, urls = await client.apps(), urls_by_app(await client.services())
            return [app_row(app, urls.get(app["id"], [])) for app in apps]

        await shown(look, show, output, watch)


async def ps(
    app: AppOrProject | None = None, /, *, output: Output = "table", watch: Watch = False, place: Address = THERE
) -> None:
    """List tasks, of one app, of a project or of all.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    columns = ["task", "state", "node", "ports", "started", "health"]
    empty = "No task runs." + (f" See: kato why {app}" if app else " See: kato ls")
    async with place.client() as client:

        async def look() -> Sequence[Row]:
            apps = {each["id"]: each for each in await client.apps()}
            chosen = find_apps(app, apps) if app else list(apps)
            return [task_row(task, id) for id in chosen for task in apps[id]["tasks"]]

        await shown(look, lambda rows: listing(rows, columns, output, empty=empty), output, watch)


async def nodes(*, output: Output = "table", watch: Watch = False, place: Address = THERE) -> None:
    """List machines.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    columns = ["node", "hostname", "cpus", "mem", "tasks", "runtimes"]
    wished: set[str] = set()

    def show(rows: Sequence[Row]) -> None:
        listing(rows, columns, output, empty="No machine has joined yet.")
        for line in remarks(rows, wished) if output == "table" else ():
            print(line)

    async with place.client() as client:

        async def look() -> Sequence[Row]:
            wished.clear()
            wished.update(app["runtime"] for app in await client.apps() if app["runtime"])
            return [node_row(node) for node in await client.nodes()]

        await shown(look, show, output, watch)


async def versions(
    app: AppName, /, *, output: Output = "table", watch: Watch = False, place: Address = THERE
) -> None:
    """List an app's versions, the newest first, with what each changed. `former` is where `kato rollback` goes;
    `whole` ones once were deployed with every task healthy.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    columns = ["version", "state", "change"]
    async with place.client() as client:
        id = find_app(app, [each["id"] for each in await client.apps()])

        async def look() -> Sequence[Row]:
            return await client.versions(id)

        await shown(look, lambda rows: listing(rows, columns, output, empty="No version is kept."), output, watch)


def app_row(app: dict[str, Any], urls: list[str]) -> dict[str, Any]:
    """One app for `kato ls`. ports: its service ports."""
    same = ("state", "cpus", "mem", "ports", "version", "wished", "healthy", "settled", "deployment", "problems")
    row = {"app": app["id"], "tasks": f"{app['healthy']}/{app['wished']}", "urls": urls}
    return row | {key: app[key] for key in same}


def task_row(task: dict[str, Any], app: str) -> dict[str, Any]:
    """One task for `kato ps`."""
    started = task["started"]
    same = ("state", "node", "pid", "ports", "version", "current", "id")
    row = {"task": task["short"], "app": app, "started": None if started is None else timestamp(started)}
    row["health"] = ": ".join(filter(None, (task["checks"], task["health"]))) or None
    return row | {key: task[key] for key in same}


def remarks(rows: Sequence[Mapping[str, Any]], wished: Collection[str]) -> list[str]:
    """What nodes say of themselves, each sentence once, with the nodes that say it. wished: the runtimes that apps
    need; what is said of others is left out."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for sentence in (*row["problems"], *(note for note in row["notes"] if note.partition(":")[0] in wished)):
            said.setdefault(sentence, []).append(row["node"])
    return [f"{', '.join(nodes)}: {sentence}" for sentence, nodes in said.items()]


def urls_by_app(services: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Where each app answers on the ingress."""
    found: dict[str, list[str]] = {}
    for service in services:
        found.setdefault(service["app"], []).extend(service.get("urls") or ())
    return found


def node_row(node: dict[str, Any]) -> dict[str, Any]:
    """One machine for `kato nodes`: what is used of what it has, beside all that it says of itself."""
    has, used = node.get("resources") or {}, node.get("used") or {}
    return {
        "node": node["id"],
        "hostname": node.get("hostname"),
        "cpus": f"{used.get('cpus', 0):g}/{has.get('cpus', 0):g}",
        "mem": f"{used.get('mem', 0):.0f}/{has.get('mem', 0):.0f}",
        "tasks": used.get("tasks", 0),
        **{key: value for key, value in node.items() if key not in ("id", "hostname")},
    }
