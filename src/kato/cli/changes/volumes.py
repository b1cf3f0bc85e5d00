"""volumes: a cell is asked what it keeps for apps; the names, sizes and users come out, or one has gone."""

from typing import TYPE_CHECKING, Literal

from kato.cli.printing.show import Output, listing, say, say_anyway
from kato.cli.words.place import THERE, Address
from kato.model.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kato.client import Client

MIB = 1 << 20


async def volumes(
    act: Literal["ls", "rm"] = "ls", /, *names: str, output: Output = "table", place: Address = THERE
) -> None:
    """List the named volumes: what each takes on the disk (MiB), and which apps name it; or remove some, with all
    that is in them: kato volumes rm NAME. One that an app names is not removed; `kato down --volumes` removes a
    project's with it.

    Parameters
    ----------
    act
        ls or rm.
    names
        The volumes to remove, such as shop_data.
    output
        How ls prints: table, json or yaml.
    """
    if act == "ls" and names:
        raise InvalidInput(f"{names[0]!r} is too much: kato volumes ls lists all.")
    if act == "rm" and not names:
        raise InvalidInput("Which volume? Write: kato volumes rm NAME. See: kato volumes")
    async with place.client() as client:
        if act == "ls":
            rows = [
                {"volume": each["name"], "size": f"{each['bytes'] / MIB:.1f}", **each}
                for each in await client.volumes()
            ]
            listing(rows, ["volume", "size", "apps"], output, empty="No named volume is kept.")
            return
        for name in names:
            await client.remove_volume(name)
            say(f"The volume {name} is removed.")


async def take_away(client: "Client", names: "Iterable[str]") -> None:
    """Removes volumes of what was taken down; says which stay, since another app names them."""
    for name in sorted(names):
        try:
            await client.remove_volume(name)
            say_anyway(f"The volume {name} is removed.")
        except NotFound:
            continue  # nothing was ever kept in it
        except Conflict as conflict:
            say_anyway(f"The volume {name} stays. {conflict}")
