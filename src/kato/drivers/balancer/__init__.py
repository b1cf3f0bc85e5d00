"""The balancer port: hands that make a view of frontends true on one node, at run time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import msgspec

from kato.model.frontend import BorderAck, Door, Frontends, Traffic


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every balancer driver is opened with.

    folder: for its configuration and sockets. address: where service ports listen.
    ingress: host:port for HTTP by host name. node: whose border it is.
    """

    folder: Path
    node: str
    address: str = "127.0.0.1"
    ingress: str = "127.0.0.1:8080"


class Balancer(Protocol):
    """A balancer driver. Errors are DriverError."""

    name: str

    @classmethod
    async def open(cls, options: Options) -> Self:
        """Opens it; adopts a balancer that an earlier life of the cell left running. DriverMissing."""
        ...

    async def apply(self, view: Frontends) -> BorderAck:
        """Makes the view true and says what is: open sessions of draining servers included.

        The answer carries the `seq` of the last view that was taken whole (-1: none was yet): the planner stops
        a task only on the word of a view without it. `problems` say what could not be taken.
        """
        ...

    async def close(self, *, stop: bool) -> None:
        """Lets go; the balancer itself goes on serving its last view unless `stop`."""
        ...


@runtime_checkable
class Admitting(Protocol):
    """A power of drivers whose balancer listens on doors too: containers reach no loopback but their own."""

    def admit(self, doors: Sequence[Door]) -> None:
        """Every service port is served at these doors from the next `apply` on, which is then due."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A power of drivers whose balancer counts what passes."""

    async def traffic(self) -> Sequence[Traffic]:
        """What passed for each service. Nothing where the balancer does not answer at once."""
        ...


@runtime_checkable
class Exporting(Protocol):
    """A power of drivers whose balancer may tell of itself in Prometheus' words."""

    @property
    def exports(self) -> bool:
        """Whether this one does."""
        ...

    async def exported(self) -> str:
        """What it counts, in Prometheus' text format; what is an app's has the label `app`. DriverError."""
        ...


@runtime_checkable
class Supervised(Protocol):
    """A power of drivers whose balancer may die, or that may have work left over."""

    async def due(self) -> None:
        """Returns when `apply` should be called though the view is the same."""
        ...
