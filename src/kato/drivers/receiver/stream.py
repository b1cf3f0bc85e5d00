"""Lines over a connection that is made anew whenever it breaks; what flows back is read and passed over."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from kato.model.errors import DriverError

CONNECT = 5.0
"""Seconds that a connection may take."""

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Connection:
    """One receiver behind a socket. name: what it is called in errors."""

    def __init__(self, name: str, dial: Dial) -> None:
        self._name = name
        self._dial = dial
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None

    async def take(self, lines: bytes) -> None:
        """Writes; returns once the kernel has all of them. There is no word back: what a receiver has not read
        when it dies is lost."""
        writer = await self._connected()
        try:
            writer.write(lines)
            await writer.drain()
        except OSError as error:
            await self.close()
            raise DriverError(f"{self._name} broke off: {error}.") from error
        except asyncio.CancelledError:
            writer.transport.abort()
            raise

    async def _connected(self) -> asyncio.StreamWriter:
        if self._writer is not None and self._listening is not None and not self._listening.done():
            return self._writer
        await self.close()
        try:
            async with asyncio.timeout(CONNECT):
                reader, self._writer = await self._dial()
        except (OSError, TimeoutError) as error:
            raise DriverError(
                f"{self._name} does not take a connection: {error or 'it does not answer'}."
            ) from error
        # So that `drain` waits for all of it, and that a close is heard before the next line is lost to it.
        self._writer.transport.set_write_buffer_limits(high=0)
        self._listening = asyncio.create_task(_until_closed(reader))
        return self._writer

    async def close(self) -> None:
        """Lets go."""
        if self._listening is not None:
            self._listening.cancel()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._writer = self._listening = None


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65536):
            pass
