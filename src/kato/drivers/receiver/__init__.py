"""Where lines are shipped to: the contract of receivers. Whole lines of JSON go in, and stay wherever they go."""

from typing import Protocol, Self


class Receiver(Protocol):
    """A receiver driver. Errors are DriverError; what was not taken is offered again."""

    @classmethod
    async def open(cls, where: str) -> Self:
        """Opens it; whoever receives need not be there yet. where: what stands behind `file:`, `tcp:`, `unix:`."""
        ...

    async def take(self, lines: bytes) -> None:
        """Hands lines over; returns once they are out of this process, however long that takes."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...
