"""uninstall: a cell's folder goes in; what the cell has made on this machine is said, and has gone where that is
wanted: service, cell, tasks, containers, images, balancer, folder.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kato.cli.upkeep import cell
from kato.cli.upkeep.systemd import NAME, Service, service_of
from kato.cli.words.place import HERE, Place
from kato.config import RESOLVERS, Config
from kato.folder import held
from kato.model.errors import Conflict, InvalidInput
from kato.model.runtimes import RUNTIMES

Flag = Annotated[bool, Parameter(negative=())]
MIB = 1 << 20


async def uninstall(*, purge: Flag = False, yes: Flag = False, place: Place = HERE) -> int:
    """Say what the cell has made on this machine; with --purge remove all of it, so that the machine is as it was.
    What apps keep in named volumes goes too. The program stays: pip uninstall katosys.

    Parameters
    ----------
    purge
        Remove it, once you have said yes.
    yes
        Do not ask.
    """
    config = place.config
    manager = service_of(config.data)
    from kato.agent.identity import is_cell, is_ours

    names = sorted(os.listdir(config.data)) if config.data.is_dir() else []
    if not is_cell(names) and manager is None:
        print(f"No cell lives in {config.data}: there is nothing to remove.")
        return 0
    ours = [name for name in names if is_ours(name)] if is_cell(names) else []
    for line in told(config, manager, ours):
        print(line)
    if not purge:
        print("Nothing was removed. All of this goes with: kato uninstall --purge")
        return 1
    if not (yes or _agreed()):
        print("Nothing was removed.")
        return 1
    kept = await _purge(place, manager, ours)
    if left := sorted(set(names) - set(ours)):
        print(f"{config.data} stays, for what is not Káto's in it: {', '.join(left[:5])}.")
    for line in kept:
        print(line)
    print(f"{'The rest' if kept else 'All of it'} is removed. The program itself: pip uninstall katosys")
    return 0


def told(config: Config, manager: Service | None, names: list[str]) -> Iterator[str]:
    """What there is, a line each."""
    from kato.agent.volumes import size, sizes
    from kato.drivers.dns.machine import kept, mark
    from kato.removal import remnants

    if manager is not None:
        yield f"the service {NAME}: {manager.path}"
    for runtime in RUNTIMES:
        if tasks := [name for name in remnants(config, runtime) if not name.startswith(".")]:
            yield f"{'processes' if runtime == 'process' else f'{runtime} containers'}: {len(tasks)}"
    if ".images" in remnants(config, "docker"):
        yield "images that the cell pulled and nobody uses"
    volumes = config.data / "volumes"
    for name, bytes in () if volumes.is_symlink() else sizes(volumes):
        yield f"the volume {name}: {bytes / MIB:.1f} MiB"
    if (found := mark(RESOLVERS)) is not None and found.folder == config.data:
        yield f"{RESOLVERS}, by which this machine asks the cell for names; {kept(RESOLVERS)} is put back"
    if names:
        yield f"the cell in {config.data}: {sum(size(config.data / each) for each in names) / MIB:.1f} MiB"


async def _purge(place: Place, manager: Service | None, names: list[str]) -> Sequence[str]:
    """Removes it; what an engine keeps, as sentences."""
    from kato.cli.upkeep.service import take_away
    from kato.drivers.dns.machine import give_back
    from kato.removal import end_all

    config = place.config
    if manager is not None:
        take_away(manager)
    async with place.client() as client:
        if await client.ping():
            cell.same_folder(await client.cell(), config)
            await cell.end(client)
    if held(config.data):
        raise Conflict(
            f"A cell runs in {config.data} and does not answer at {config.api}. Name its address: --api, KATO_API."
        )
    if left := give_back(RESOLVERS, config.data):
        print(f"kato: {left}", file=sys.stderr)
    kept: Sequence[str] = ()
    if names:
        kept = await end_all(config)
        # Listed again: it has written to its log. The lock goes last, so that what is left is known as a cell's.
        for name in sorted(_ours(config.data), key=lambda each: each == "node.lock"):
            _delete(config.data / name)
    if config.data.is_dir() and not any(config.data.iterdir()):
        config.data.rmdir()
    return kept


def _delete(path: Path) -> None:
    """Deletes a part of a cell; of a link nothing but itself, whoever made it."""
    from kato.drivers.runtime.folders.sandbox import delete

    if path.is_symlink():
        print(f"{path} led to {path.resolve()}, where all stays: nothing is deleted through a link.")
        path.unlink()
    elif path.is_dir():
        delete(path)
    else:
        path.unlink()


def _ours(folder: Path) -> list[str]:
    from kato.agent.identity import is_ours

    return [name for name in os.listdir(folder) if is_ours(name)]


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise InvalidInput("Nobody is here to say yes. To remove all of it without being asked: --purge --yes")
    return input("Remove all of it? [y/N] ").strip().lower() in ("y", "yes")
