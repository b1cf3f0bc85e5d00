"""The DNS port: hands that answer for the names of a view."""

from pathlib import Path
from typing import Protocol, Self

import msgspec

from kato.model.names import Names


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every DNS driver is opened with.

    listen: host:port, UDP and TCP. resolvers: a resolv.conf whose servers are asked for names that are not ours;
    None: they are refused. upstream_port: where those servers listen.
    connections: over TCP, at once. patience: seconds that a TCP client may take for its next question, or to read
    an answer (RFC 7766, 6.2.3).
    """

    listen: str
    resolvers: Path | None = None
    upstream_port: int = 53
    connections: int = 256
    patience: float = 5.0


class Answering(Protocol):
    """What answers by a view."""

    async def apply(self, view: Names) -> None:
        """Answers by this view from now on."""
        ...


class Dns(Answering, Protocol):
    """A DNS driver. Errors are DriverError."""

    name: str

    @classmethod
    async def open(cls, options: Options) -> Self:
        """Takes its port and answers from now on; InvalidInput where the port is not to be had."""
        ...

    async def close(self) -> None:
        """Answers no more."""
        ...
