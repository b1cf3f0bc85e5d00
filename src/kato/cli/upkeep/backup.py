"""backup and restore: what a cell's store holds becomes a file, and the file a cell's store again."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kato.cli.words.place import HERE, THERE, Address, Place
from kato.model.errors import InvalidInput
from kato.store.backup import Backup, read

File = Annotated[str, Parameter(help="The file. It is closed to others: secrets of apps are in it.")]


async def backup(file: File, /, *, place: Address = THERE) -> None:
    """Write all that the cell knows to one file, as it is at one moment, while it runs: apps with their versions,
    tasks, deployments. What apps keep in volumes is not in it, nor what their tasks wrote.
    """
    path = Path(file)
    _writable(path)
    async with place.client() as client:
        content = await client.backup()
    taken = read(content, file).head
    replace(path, content)
    print(
        f"{file} has the {taken.items} keys of cell {taken.cell} at revision {taken.revision}. Secrets of its "
        "apps are in it, so you alone can read it; what apps keep in volumes is not."
    )


def restore(file: File, /, *, place: Place = HERE) -> None:
    """Put a backup back: into an empty folder, or over the store of the same cell once it has ended. Its tasks
    that still run, and that the backup knows, are kept; others are ended when the cell starts.
    """
    from kato.restore import restore as put_back

    config = place.config
    found = _read(file)
    cell = put_back(config.data, config.store_file, found)
    print(
        f"{config.data} has cell {cell.id} as it was at {found.head.taken}, in incarnation {cell.incarnation}. "
        f"Start it: kato serve{'' if place == HERE else f' --data {config.data}'}"
    )


def replace(path: Path, content: bytes) -> None:
    """Writes a file whole, closed to others: whatever cuts it short leaves the former one, or none."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _writable(path: Path) -> None:
    """InvalidInput where the file cannot be, or something else than a backup would be lost."""
    if not path.parent.is_dir() or path.is_dir():
        raise InvalidInput(f"{path} cannot be a file: name one in a folder that is there.")
    if path.exists():
        try:
            read(path.read_bytes(), str(path))
        except Exception as error:
            raise InvalidInput(
                f"{path} is there and is no whole backup. Name another file, or remove it."
            ) from error


def _read(file: str) -> Backup:
    try:
        return read(Path(file).read_bytes(), file)
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror}. Name a file that kato backup wrote."
        ) from error
