"""The cell itself in the foreground, and the version."""

from kato.cli.place import HERE, Place


async def serve(*, place: Place = HERE) -> None:
    """Run a cell in the foreground, until SIGTERM, Ctrl-C or `kato down --all`. Its tasks outlive it."""
    from kato import node

    await node.serve(place.config)


def version() -> None:
    """Print the version."""
    from importlib.metadata import version

    print(f"kato {version('katosys')}")
