"""A URL flows in, an open store flows out; only the driver that it names is imported."""

from pathlib import Path

from kato.model.errors import InvalidInput
from kato.store import Store


async def open_store(url: str) -> Store:
    """Opens a store by URL.

    `memory:` is a store of this process alone, `local:PATH` a file.
    Raises InvalidInput for another URL, and what the driver's `open` raises.
    """
    scheme, colon, address = url.partition(":")
    match scheme if colon else "":
        case "memory" if not address:
            from kato.store.memory import MemoryStore

            return await MemoryStore.open(address)
        case "local" if address:
            from kato.store.ballast import Ballast
            from kato.store.local import LocalStore

            return await LocalStore.open(address, Ballast(Path(address).absolute().parent))
    raise InvalidInput(f"No store opens by {url!r}. There are memory: and local:PATH.")
