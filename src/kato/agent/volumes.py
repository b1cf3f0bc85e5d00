"""Named volumes of a node: their folder goes in; what there is, and how large it is, comes out, and goes where
nobody names it.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from kato.drivers.runtime.folders.sandbox import delete
from kato.model.errors import DriverError, NotFound

_GOING = ".going."
"""How the folder of a volume that is being deleted is called at first: no app can name one so."""


def sizes(folder: Path) -> Sequence[tuple[str, int]]:
    """Name and bytes of each volume, in order. Blocks."""
    if not folder.is_dir():
        return ()
    names = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    return [(name, size(folder / name)) for name in names]


def there(folder: Path, name: str) -> None:
    """That a volume is there, and may be removed. Blocks. NotFound, DriverError."""
    if not name or "/" in name or name.startswith(".") or not _is_there(folder / name):
        raise NotFound(f"There is no volume {name}. See: kato volumes")
    for link in (folder, folder / name):
        if link.is_symlink():
            raise DriverError(
                f"{link} is a link to {link.resolve()}, and nothing is deleted through a link. Remove it "
                f"yourself: {(folder / name).resolve()}"
            )


def remove(folder: Path, name: str) -> None:
    """Removes a volume, and what a removal has left that was cut short. Blocks. NotFound, DriverError."""
    there(folder, name)
    try:
        # From here on it is gone, whatever becomes of the rest; what was cut short may have had the same name.
        (folder / name).rename(folder / f"{_GOING}{secrets.token_hex(8)}")
        for each in sorted(folder.glob(f"{_GOING}*")):
            delete(each)
    except OSError as error:
        raise DriverError(f"The volume {name} cannot be removed: {error}.") from error


def _is_there(volume: Path) -> bool:
    try:
        return volume.is_dir()
    except OSError:  # no file can be called so
        return False


def size(path: Path) -> int:
    """Bytes on the disk of a file, or of all in a folder; what cannot be looked into counts nothing. Blocks."""
    total = 0
    for folder, _, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total
