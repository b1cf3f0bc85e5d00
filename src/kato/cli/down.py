"""down: a file, or nothing, goes in; its apps, or all and the cell too, have gone."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kato.cli import cell
from kato.cli.follow import until_gone
from kato.cli.place import HERE, TIMEOUT, Place, Seconds
from kato.cli.show import say_anyway
from kato.cli.source import load

if TYPE_CHECKING:
    from kato.client import Client
    from kato.language import Manifest


async def down(
    file: str = ".",
    /,
    *,
    all: Annotated[bool, Parameter(negative=())] = False,
    timeout: Seconds = TIMEOUT,
    place: Place = HERE,
) -> None:
    """Remove what a file deployed; with --all every app, and then the cell itself.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    all
        Every app, and the cell.
    timeout
        Seconds to wait at most.
    """
    manifest = None if all else load(file)
    async with place.client() as client:
        process = None
        if not await client.ping():
            if not cell.lives(place.config):
                print(f"No cell lives in {place.config.data}: there is nothing to remove.")
                return
            # Tasks outlive a cell that was killed; only a cell can end them in order.
            process = await cell.ensure(client, place.config)
        await take_down(client, manifest, timeout=timeout)
        if all:
            await cell.end(client, process)
            print("The cell has ended.")


async def take_down(client: "Client", manifest: "Manifest | None", *, timeout: float = 60.0) -> None:
    """Removes the apps of a manifest, or (None) all, and waits until their tasks have gone."""
    present = {str(app["id"]) for app in await client.apps() if app["version"]}
    if manifest is None:
        names = None
        await client.delete_group("/", force=True)
    elif manifest.group is not None:
        names = {app for app in present if app.startswith(f"{manifest.group}/")} | {
            app.id for app in manifest.apps
        }
        if names & present:
            await client.delete_group(manifest.group, force=True)
    else:
        names = {app.id for app in manifest.apps}
        for app in sorted(names & present):
            await client.delete_app(app, force=True)
    await until_gone(client, names, timeout=timeout)
    gone = present if names is None else names & present
    say_anyway(f"{len(gone)} app{'' if len(gone) == 1 else 's'} removed." if gone else "Nothing was deployed.")
