"""A URL flows in; an open store, or what stands in one, flows out. Only the driver that it names is imported."""

from pathlib import Path

from kato.model.errors import InvalidInput
from kato.store import Range, Store


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
            from kato.store.local import LocalStore

            return await LocalStore.open(address)
    raise _unknown(url)


async def read_store(url: str) -> Range | None:
    """What stands in a store that no cell has open, which is left as it is; None where there is none yet.

    Raises InvalidInput for another URL, and StoreRefused as `open_store` does.
    """
    scheme, colon, address = url.partition(":")
    match scheme if colon else "":
        case "memory" if not address:
            return None  # it is gone with its process
        case "local" if address:
            from kato.store.cellfile import read

            return read(Path(address).absolute())
    raise _unknown(url)


def _unknown(url: str) -> InvalidInput:
    return InvalidInput(f"No store opens by {url!r}. There are memory: and local:PATH.")
