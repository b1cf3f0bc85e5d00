"""Changing what is there: scale, restart, rm and rollback send a wish and show how it comes true."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kato.cli.follow import until_gone, until_settled
from kato.cli.live import View
from kato.cli.names import find_app
from kato.cli.place import HERE, WAIT, AppName, Place, Waiting
from kato.cli.usage import whole
from kato.model.app import MAX_INSTANCES
from kato.model.errors import NotFound

if TYPE_CHECKING:
    from kato.client import Accepted, Client

SHOWN = 5
"""Versions that are named to somebody who asks for another."""
Instances = Annotated[int, Parameter(converter=whole("INSTANCES", "tasks", MAX_INSTANCES))]


async def scale(app: AppName, instances: Instances, /, *, waiting: Waiting = WAIT, place: Place = HERE) -> None:
    """Change how many tasks an app has.

    Parameters
    ----------
    instances
        How many tasks.
    """
    async with place.client() as client:
        id = await known(client, app)
        await carry_out(client, await client.scale(id, instances, force=waiting.force), [id], waiting)


async def restart(app: AppName, /, *, waiting: Waiting = WAIT, place: Place = HERE) -> None:
    """Exchange all tasks of an app, as an upgrade does."""
    async with place.client() as client:
        id = await known(client, app)
        await carry_out(client, await client.restart(id, force=waiting.force), [id], waiting)


async def rm(app: AppName, /, *, waiting: Waiting = WAIT, place: Place = HERE) -> None:
    """Remove an app."""
    async with place.client() as client:
        id = await known(client, app)
        await client.delete_app(id, force=waiting.force)
        if not waiting.detach:
            await until_gone(client, [id], timeout=waiting.timeout)
    print(f"{id} {'goes' if waiting.detach else 'is gone'}.")


async def rollback(
    app: AppName, version: str | None = None, /, *, waiting: Waiting = WAIT, place: Place = HERE
) -> None:
    """Take an app back to a former version. A deployment that is still running is taken back whole.

    Parameters
    ----------
    version
        Which version (its time, as in `kato ls -o json`); the one before, if left out.
    """
    async with place.client() as client:
        apps = {each["id"]: each for each in await client.apps()}
        id = find_app(app, apps)
        held = apps[id]["deployment"]
        if version is None and held:
            affected = [each["id"] for each in apps.values() if each["deployment"] == held]
            print(f"Taking back deployment {held} of {', '.join(affected)}.")
            await carry_out(client, await client.undo(held), affected, waiting)
            return
        version = await _former(client, id, apps[id]["version"], version)
        print(f"Taking {id} back to {version}.")
        await carry_out(client, await client.roll_back(id, version, force=waiting.force), [id], waiting)


async def known(client: "Client", name: str) -> str:
    """The id of the app that a person means."""
    return find_app(name, [each["id"] for each in await client.apps()])


async def carry_out(client: "Client", accepted: "Accepted", apps: Collection[str], waiting: Waiting) -> None:
    """Shows a wish coming true, unless nobody wants to wait for it."""
    if waiting.detach:
        print(f"Deployment {accepted.deployment} has begun." if accepted.deployment else "Nothing to change.")
        return
    with View() as view:
        await until_settled(client, apps, view, timeout=waiting.timeout)
    print(f"Done after {view.seconds:.1f} s.")


async def _former(client: "Client", app: str, current: str | None, asked: str | None) -> str:
    """The version that was asked for, or else the one before the current."""
    versions = await client.versions(app)
    if asked is not None:
        if asked not in versions:
            raise NotFound(f"{app} has no version {asked!r}. The last that it has: {', '.join(versions[:SHOWN])}.")
        return asked
    older = [each for each in versions if current is None or each < current]
    if not older:
        raise NotFound(f"{app} has no version before {current}, so there is nothing to go back to.")
    return older[0]
