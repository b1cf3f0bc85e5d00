"""Lines over TCP, to what listens at HOST:PORT."""

import asyncio
from typing import Self

from kato.drivers.receiver.stream import Connection


class Driver(Connection):
    """One receiver at an address."""

    @classmethod
    async def open(cls, where: str) -> Self:
        """Nobody is dialled before there is something to say."""
        host, _, port = where.rpartition(":")
        return cls(f"The receiver at {where}", lambda: asyncio.open_connection(host.strip("[]"), int(port)))
