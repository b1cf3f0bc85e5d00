"""A backup and the folder of a cell that does not run flow in; the folder's store is the backup's, in a new
incarnation, or everything is as it was.
"""

import os
import pwd
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from kato.agent.identity import Identity
from kato.agent.journal import remembered
from kato.model.errors import Conflict, Refused, StoreRefused
from kato.store import KeyValue, Range, cellfile, keys
from kato.store.backup import Backup
from kato.store.local import own
from kato.store.mirror import Mirror


def restore(folder: Path, store: Path, backup: Backup) -> keys.Cell:
    """Makes `store`, in `folder`, what the backup holds; the cell that now lives there.

    Tasks that still run, and that the backup knows, are kept: the folder's other parts stay as they are. Raises
    Conflict where a cell runs in the folder or another one has its store there, Refused where the folder is no
    cell's, and StoreRefused where what stands in the backup cannot be understood. Nothing is changed then.
    """
    Mirror().reset(backup.standing)  # refused before anything is touched, as a cell would
    _same_user(folder)
    with closing(Identity.claim(folder)):
        lock = own(store)
        try:
            incarnation = _last(folder, store, backup.head.cell, backup.head.incarnation)
            standing, cell = _raised(backup.standing, incarnation + 1)
            cellfile.put_back(store, standing)
        finally:
            os.close(lock)
    return cell


def _same_user(folder: Path) -> None:
    with suppress(FileNotFoundError):
        owner = folder.stat().st_uid
        if owner != os.geteuid():
            raise Refused(
                f"{folder} is the folder of {_user(owner)}, whose cell could not open what somebody else puts "
                f"there. Restore it as that user, or choose another folder with --data or KATO_DATA."
            )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _last(folder: Path, store: Path, id: str, incarnation: int) -> int:
    """The highest incarnation of the cell `id` that is known. Conflict where another cell has its store here."""
    known = remembered(folder)
    there, reached = known[0] if known else None, known[1][0] if known else 0
    try:
        standing = cellfile.read(store)
        if standing is None:
            return max(incarnation, reached)
        cell = _cell(standing)
        there, reached = cell.id, max(cell.incarnation, reached)
    except StoreRefused as error:  # it may be why a backup is put back: then the agent says whose it was
        if there is None:
            raise Conflict(
                f"Nobody can tell whose store {store} is. {error} Move it away first if it is not needed."
            ) from error
    if there != id:
        raise Conflict(
            f"{store} is the store of another cell ({there}) than the backup's ({id}). Choose an empty folder "
            "with --data or KATO_DATA, or move that file away first."
        )
    return max(incarnation, reached)


def _cell(standing: Range) -> keys.Cell:
    found: keys.Cell = next(keys.read(each.key, each.value) for each in standing.items if each.key == keys.CELL)
    return found


def _raised(standing: Range, incarnation: int) -> tuple[Range, keys.Cell]:
    """What stands in a backup, one revision later: its cell is in another incarnation."""
    cell = msgspec.structs.replace(_cell(standing), incarnation=incarnation)
    later = standing.revision + 1

    def raised(item: KeyValue) -> KeyValue:
        if item.key != keys.CELL:
            return item
        version = item.version + 1
        return KeyValue(item.key, keys.encode(cell), item.created, later, version)

    return Range(later, tuple(map(raised, standing.items))), cell
