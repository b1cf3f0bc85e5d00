"""Lines over a Unix socket, to what listens at PATH."""

import asyncio
from typing import Self

from kato.drivers.receiver.stream import Connection


class Driver(Connection):
    """One receiver at a path."""

    @classmethod
    async def open(cls, where: str) -> Self:
        """Nobody is dialled before there is something to say."""
        return cls(f"The receiver at {where}", lambda: asyncio.open_unix_connection(where))
