"""why: the name of an app, a project or a task goes in; what it is missing, and why, comes out in sentences."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kato.cli.printing.show import Output, Row, document
from kato.cli.printing.watch import Watch, shown
from kato.cli.words.names import beneath, ended_task, find_task, group_of
from kato.cli.words.place import THERE, Address
from kato.model.errors import NotFound

if TYPE_CHECKING:
    from kato.client import Client

Name = Annotated[str, Parameter(help="An app (`vote`), a project (`voting`), or a task (`vote.3`).")]


async def why(name: Name, /, *, output: Output = "table", watch: Watch = False, place: Address = THERE) -> None:
    """Say why an app, or each app of a project, has not what was wished for; of a task also how it is, or how it
    ended.

    Parameters
    ----------
    output
        How to print: table (as sentences), json or yaml (of a project a list).
    """
    several = False

    def show(rows: Sequence[Row]) -> None:
        if output != "table":
            document([dict(row) for row in rows] if several else dict(rows[0]), output)
            return
        for row in rows:
            _tell(row)

    async with place.client() as client:
        apps = {each["id"]: each for each in await client.apps()}
        group = group_of(name, apps)
        several = group is not None
        task, ids = (None, beneath(group, apps)) if group is not None else await _meant(client, name, apps)

        async def look() -> Sequence[Row]:
            found = [row for id in ids if (row := await _said(client, task, id)) is not None]
            if not found:
                raise NotFound(f"{name!r} has been removed meanwhile. `kato ls` lists what there is.")
            return found

        await shown(look, show, output, watch)


async def _said(client: "Client", task: str | None, id: str) -> Row | None:
    """What is said of one app, and of the task that is meant; None where it has gone since it was listed."""
    try:
        return (await client.why(id)) | (await _of_task(client, task, id) if task else {})
    except NotFound:
        return None


def _tell(said: Row) -> None:
    if "task" in said:
        print(f"{said['task']['short']}: {said['task']['message']}")
    print(f"{said['app']}: {said['healthy']} of {said['wished']} healthy.")
    for sentence in said["sentences"] or ["Nothing is missing."]:
        print(sentence)


async def _meant(
    client: "Client", name: str, apps: Mapping[str, Mapping[str, Any]]
) -> tuple[str | None, Sequence[str]]:
    """The task that is meant, if one is, and its app. NotFound."""
    owners = {task["id"]: id for id, app in apps.items() for task in app["tasks"]}
    try:
        found = find_task(name, owners, apps, kind="app, project or task")
    except NotFound:
        ended = await ended_task(client, name)
        if ended is None:
            raise
        owner = next(
            (id for id in apps if ended["short"].rpartition(".")[0] == id.strip("/").replace("/", "_")), None
        )
        if owner is None:
            raise NotFound(f"{ended['short']} has ended, and its app is no more. {ended['message']}") from None
        return ended["task"], [owner]
    return (found, [owners[found]]) if found in owners else (None, [found])


async def _of_task(client: "Client", task: str, app: str) -> dict[str, Any]:
    """How one task is: its state with what its check says, or how it ended."""
    for each in (each for found in await client.apps(app) if found["id"] == app for each in found["tasks"]):
        if each["id"] == task:
            how = f"{each['state']}{': ' + each['health'] if each['health'] else '.'}"
            return {"task": {"id": task, "short": each["short"], "state": each["state"], "message": how}}
    for each in await client.ended():
        if each["task"] == task:
            return {"task": {"id": task, "short": each["short"], "state": "ended", "message": each["message"]}}
    return {}
