"""Changing what is there: scale, restart, rm and rollback send a wish and show how it comes true."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kato.cli.changes.follow import until_gone, until_settled
from kato.cli.printing.live import View
from kato.cli.printing.show import named, say
from kato.cli.signals import Parting
from kato.cli.words.names import find_app, find_apps
from kato.cli.words.place import THERE, WAIT, Address, AppName, AppOrProject, Waiting
from kato.cli.words.usage import whole
from kato.model.app import MAX_INSTANCES

if TYPE_CHECKING:
    from kato.client import Client

NOTHING = "Nothing to change."
Instances = Annotated[int, Parameter(converter=whole("INSTANCES", "tasks", MAX_INSTANCES))]


async def scale(app: AppName, instances: Instances, /, *, waiting: Waiting = WAIT, place: Address = THERE) -> None:
    """Change how many tasks an app has.

    Parameters
    ----------
    instances
        How many tasks.
    """
    async with asking(app, f"{instances} tasks", place) as (client, id, parting):
        accepted = await client.scale(id, instances, force=waiting.force)
        parting.goes_on(f"change of {id} to {instances} tasks")
        await carry_out(client, accepted.deployment is not None, [id], waiting)


async def restart(app: AppOrProject, /, *, waiting: Waiting = WAIT, place: Address = THERE) -> None:
    """Exchange all tasks of an app, or of every app of a project, as an upgrade does."""
    with Parting() as parting:
        async with place.client() as client:
            found = {str(each["id"]): each for each in await client.apps() if each["version"]}
            # What a deployment holds first: where that is refused, nothing has begun.
            ids = sorted(find_apps(app, found), key=lambda id: not found[id]["deployment"])
            parting.asks(f"a restart of {named(ids)}")
            for id in ids:
                await client.restart(id, force=waiting.force)
                parting.goes_on(f"restart of {named(ids)}")
            await carry_out(client, True, ids, waiting)


async def rm(app: AppName, /, *, waiting: Waiting = WAIT, place: Address = THERE) -> None:
    """Remove an app."""
    async with asking(app, "the removal", place) as (client, id, parting):
        await client.delete_app(id, force=waiting.force)
        parting.goes_on(f"removal of {id}")
        if not waiting.no_wait:
            await until_gone(client, [id], timeout=waiting.timeout)
    print(f"{id} {'goes' if waiting.no_wait else 'is gone'}.")


async def rollback(
    app: AppName, version: str | None = None, /, *, waiting: Waiting = WAIT, place: Address = THERE
) -> None:
    """Take an app back to the last version before the present one that was whole: deployed, every task healthy.

    It never goes forward to a version that was taken back. A deployment that is still running is taken back whole.

    Parameters
    ----------
    version
        Which version instead, one that `kato versions APP` lists.
    """
    async with asking(app, "a rollback", place) as (client, id, parting):
        done = await client.roll_back(id, version, force=waiting.force)
        changes = done["changes"]
        parting.goes_on(f"rollback of {id}")
        for change in changes:
            say(change["sentence"])
        await carry_out(client, bool(changes and done["deploymentId"]), _apps(id, changes), waiting)


@asynccontextmanager
async def asking(app: str, what: str, place: Address) -> AsyncIterator[tuple["Client", str, Parting]]:
    """The cell that is asked for something of an app, the app's id, and what is told where a person leaves."""
    with Parting() as parting:
        async with place.client() as client:
            id = await known(client, app)
            parting.asks(f"{what} of {id}")
            yield client, id, parting


async def known(client: "Client", name: str) -> str:
    """The id of the app that a person means."""
    return find_app(name, [each["id"] for each in await client.apps()])


async def carry_out(client: "Client", changed: bool, apps: Collection[str], waiting: Waiting) -> None:
    """Shows a wish coming true, unless nobody wants to wait for it. changed: whether it is another than before."""
    if waiting.no_wait:
        say(begun(apps) if changed else NOTHING)
        return
    with View() as view:
        await until_settled(client, apps, view, timeout=waiting.timeout)
    print(f"Done after {view.seconds:.1f} s.")


def begun(apps: Collection[str]) -> str:
    """What is said of a wish that nobody waits for."""
    return f"The deployment of {named(apps)} has begun. See: kato wait"


def _apps(id: str, changes: Sequence[Mapping[str, Any]]) -> set[str]:
    """The app that was asked for, and those that went back with it."""
    return {id} | {str(change["app"]) for change in changes}
