"""down: a file, or nothing, goes in; its apps, or all and the cell too, have gone."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kato.cli.changes.follow import until_gone
from kato.cli.changes.source import ALL, Chosen, load, owns
from kato.cli.changes.volumes import take_away
from kato.cli.printing.show import count_of, say_anyway
from kato.cli.signals import Parting
from kato.cli.upkeep import cell
from kato.cli.upkeep.systemd import service_of
from kato.cli.words.place import HERE, TIMEOUT, Place, Seconds

if TYPE_CHECKING:
    from kato.client import Client
    from kato.language import Manifest


async def down(
    file: str = ".",
    /,
    *,
    all: Annotated[bool, Parameter(negative=())] = False,
    volumes: Annotated[bool, Parameter(name=["--volumes", "-v"], negative=())] = False,
    timeout: Seconds = TIMEOUT,
    chosen: Chosen = ALL,
    place: Place = HERE,
) -> None:
    """Remove what a file deployed; with --all every app, and then the cell itself.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    all
        Every app, and the cell.
    volumes
        Remove its named volumes too, with all in them, but those that a Compose file calls external or that
        another app names; with --all every one.
    timeout
        Seconds to wait at most.
    """
    manifest = None if all else load(file, chosen)
    with Parting() as parting:
        async with place.client() as client:
            process = None
            if not await client.ping():
                if not cell.lives(place.config):
                    print(f"No cell lives in {place.config.data}: there is nothing to remove.")
                    return
                # Tasks outlive a cell that was killed; only a cell can end them in order.
                process = await cell.ensure(client, place.config)
            await take_down(client, manifest, timeout=timeout, parting=parting)
            if volumes:
                kept = [each["name"] for each in await client.volumes()] if manifest is None else manifest.volumes
                await take_away(client, kept)
            if all and await _is_service(client, place):
                print("The cell stays, for it is a service of this machine: kato service uninstall.")
            elif all:
                parting.left = "The apps are removed; the cell was being ended, and ends by itself if it was told."
                await cell.end(client, process)
                print("The cell has ended.")


async def _is_service(client: "Client", place: Place) -> bool:
    manager = service_of(place.config.data)
    return manager is not None and manager.pid == (await client.cell())["pid"]


async def take_down(
    client: "Client",
    manifest: "Manifest | None",
    *,
    keep: Collection[str] = (),
    timeout: float = 60.0,
    parting: Parting | None = None,
) -> None:
    """Removes the apps of a manifest but those to `keep`, or (None) all, and waits until their tasks have gone."""
    parting = parting or Parting()
    present = {str(app["id"]) for app in await client.apps() if app["version"]}
    wished = present if manifest is None else {app.id for app in manifest.apps}
    if manifest is not None and not keep:
        wished |= {app for app in present if owns(manifest, app)}
    gone = (wished & present) - set(keep)
    parting.asks(f"the removal of {count_of(gone)}")
    if manifest is None:
        await client.delete_group("/", force=True)
    elif manifest.group is None or keep:
        for app in sorted(gone):
            await client.delete_app(app, force=True)
    elif gone:
        await client.delete_group(manifest.group, force=True)
    parting.left = f"The removal of {count_of(gone)} goes on, and the cell stays. `kato down --all` ends it too."
    await until_gone(client, None if manifest is None else wished - set(keep), timeout=timeout)
    say_anyway(f"{count_of(gone)} removed." if gone else "Nothing was deployed.")
