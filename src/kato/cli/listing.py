"""What there is: ls, ps, nodes and why ask a cell and print what it says."""

from typing import Any

from kato.cli.names import find_app
from kato.cli.place import HERE, AppName, Place
from kato.cli.show import Output, document, listing
from kato.cli.state import app_row, task_row


async def ls(*, output: Output = "table", place: Place = HERE) -> None:
    """List apps.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    async with place.client() as client:
        apps, services = await client.apps(), await client.services()
    urls = urls_by_app(services)
    rows = [app_row(app, urls) for app in sorted(apps, key=lambda app: str(app["id"]))]
    listing(
        rows,
        ["app", "state", "tasks", "cpus", "mem", "ports", "urls"],
        output,
        empty="Nothing is deployed. Deploy something: kato up FILE",
    )


async def ps(app: AppName | None = None, /, *, output: Output = "table", place: Place = HERE) -> None:
    """List tasks, of one app or of all.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    async with place.client() as client:
        apps = {each["id"]: each for each in await client.apps()}
    chosen = [find_app(app, apps)] if app else sorted(apps)
    rows = [task_row(task, apps[id]) for id in chosen for task in apps[id].get("tasks") or ()]
    empty = "No task runs." + (f" See: kato why {app}" if app else " See: kato ls")
    listing(rows, ["task", "state", "node", "ports", "started"], output, empty=empty)


async def nodes(*, output: Output = "table", place: Place = HERE) -> None:
    """List machines.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    async with place.client() as client:
        found = await client.nodes()
    rows = [node_row(node) for node in found]
    columns = ["node", "hostname", "cpus", "mem", "tasks", "runtimes", "notes"]
    listing(rows, columns, output, empty="No machine has joined yet.")


async def why(app: AppName, /, *, output: Output = "table", place: Place = HERE) -> None:
    """Say why an app has not what was wished for.

    Parameters
    ----------
    output
        How to print: table (as sentences), json or yaml.
    """
    async with place.client() as client:
        id = find_app(app, [each["id"] for each in await client.apps()])
        said = await client.why(id)
    if output != "table":
        document(said, output)
        return
    print(f"{said['app']}: {said['healthy']} of {said['wished']} healthy.")
    for sentence in said["sentences"] or ["Nothing is missing."]:
        print(sentence)


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
