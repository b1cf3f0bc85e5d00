"""plan: a file goes in; what it would change comes out, whether the cell runs, has ended or never was."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kato.cli.changes.source import ALL, Chosen, load, owns, warn
from kato.cli.printing.show import Output, document
from kato.cli.words.place import HERE, Place
from kato.folder import held
from kato.model.app import BUILT
from kato.model.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from kato.client import Client
    from kato.language import Manifest


async def plan(file: str = ".", /, *, output: Output = "table", chosen: Chosen = ALL, place: Place = HERE) -> int:
    """Say what a file would change. Exit code: 0 nothing, 1 something, 2 an error. It starts nothing.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    output
        How to print: table (as sentences), json or yaml.
    """
    manifest = load(file, chosen)
    warn(manifest.warnings)
    if manifest.builds:
        names = ", ".join(manifest.builds)
        warn([f"kato up builds the image of {names} first, and another image is a change too: none is built now."])
    found = await foreseen(manifest, place)
    warn(found.get("warnings") or ())
    changes = found.get("changes") or []
    found["locks"] = locks = locked(manifest, changes, found.pop("deployments"))
    if output != "table":
        document(found, output)
        return 1 if changes else 0
    if not changes:
        print("Nothing would change.")
        return 0
    for change in changes:
        print(change["sentence"])
    for lock in locks:
        print(lock)
    for wait in found.get("waits") or ():
        if wait.get("refusals"):
            print(f"But {wait['sentence']}.")
    before, after = found.get("price_before"), found.get("price_after")
    if before is not None and after is not None:
        print(f"${before:.4f} an hour before, ${after:.4f} after.")
    return 1


def locked(
    manifest: "Manifest", changes: Sequence[Mapping[str, Any]], deployments: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What holds an app that would change, as sentences, and what `kato up` makes of it."""
    from kato.client.refusals import under_way

    apps = {change["app"] for change in changes}
    held = [each for each in deployments if not apps.isdisjoint(each["affectedApps"])]
    words = {
        True: "kato up takes it over.",
        False: "It changes other apps too, so kato up is refused until it has ended, or has --force.",
    }
    return [
        f"{under_way(each)} {words[all(owns(manifest, app) for app in each['affectedApps'])]}" for each in held
    ]


async def foreseen(manifest: "Manifest", place: Place) -> dict[str, Any]:
    """What a wish would change: by the cell that answers, else by what stands in its folder.

    What is to be built is taken to become what it is now.
    """
    config = place.config
    async with place.client() as client:
        if await client.ping():
            images = {app: await _image(client, app) for app in manifest.builds}
            body = as_built(manifest, images).plan_body
            return {**await client.plan(body), "deployments": await client.deployments()}
    if held(config.data):  # its file says less than it knows
        raise Unavailable(
            f"A cell runs in {config.data} and does not answer at {config.api}. Name its address: --api, KATO_API."
        )
    from kato.api.foresee import foresee
    from kato.api.marathon.deployments import deployment_document
    from kato.plan import Recall, decide
    from kato.store.mirror import Mirror
    from kato.store.opening import read_store

    mirror, now = Mirror(), time.time()
    if (standing := await read_store(config.store_url)) is None:
        print(f"kato: No cell lives in {config.data} yet: all of it is new.", file=sys.stderr)
    else:
        print(f"kato: The cell in {config.data} has ended; this is what its apps would become.", file=sys.stderr)
        mirror.reset(standing)
    world = mirror.world()
    before = decide(world, now, Recall())
    deployments = [deployment_document(each, world) for each in world.deployments.values()]
    present = {app: world.apps[app].image for app in manifest.builds if app in world.apps}
    body = as_built(manifest, present).plan_body
    found = foresee(world, body, before, now, salt=mirror.cell_id, own=config.own_ports)
    return {**found, "deployments": deployments}


def as_built(manifest: "Manifest", present: Mapping[str, str | None]) -> "Manifest":
    """The manifest with the images that its apps have now, where these were built too."""
    return manifest.named({app: image for app, image in present.items() if image and image.startswith(BUILT)})


async def _image(client: "Client", app: str) -> str | None:
    with suppress(NotFound):
        docker = ((await client.app(app)).get("container") or {}).get("docker") or {}
        return docker.get("image")
    return None
