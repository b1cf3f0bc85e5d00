"""The cell itself in the foreground, and the version."""

from kato.cli.words.place import HERE, Place
from kato.config import apart


async def serve(*, place: Place = HERE) -> None:
    """Run a cell in the foreground, until SIGTERM, Ctrl-C or `kato down --all`. Its tasks outlive it."""
    from kato import node
    from kato.cli.upkeep.cell import make_folder

    config = place.config
    apart(config)
    make_folder(config)
    await node.serve(config)


def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    print(f"kato {version('katosys')}")
