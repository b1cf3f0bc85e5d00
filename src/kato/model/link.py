"""What passes between a master and the agents and borders that dial it: assignments down, facts up.

On one machine the link is a function call; over a network the same words travel on a stream.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from kato.model.app import App
from kato.model.conversation import Command, Said, Typing
from kato.model.frontend import BorderAck, Frontends
from kato.model.names import Names
from kato.model.node import Node
from kato.model.secret import Secret
from kato.model.task import Status, Task
from kato.model.volume import NamedVolume


class Assignment(msgspec.Struct, frozen=True):
    """One task for a node: the decision, the app version that it launches, its whole environment, and its secrets
    by what the app calls them.

    former: it was placed before the store was put back, so that a node that does not know it may have ended and
    forgotten it long ago: it is not started.
    """

    task: Task
    app: App
    env: Mapping[str, str]
    former: bool = False
    secrets: Mapping[str, Secret] = {}


class Assignments(msgspec.Struct, frozen=True):
    """The complete list for one node. Older ones, by (incarnation, epoch, revision), are refused; a task
    that is absent is stopped only by a newer complete list. cell: the id of the cell that says so; ages of
    different cells are not compared. upgrades: newer versions of apps of which older tasks run there; their images
    are wanted before any of those is stopped; secrets: theirs, by app and by what it calls them.
    """

    incarnation: int
    epoch: int
    revision: int
    items: tuple[Assignment, ...]
    cell: str = ""
    upgrades: tuple[App, ...] = ()
    secrets: Mapping[str, Mapping[str, Secret]] = {}

    @property
    def age(self) -> tuple[int, int, int]:
        """What orders two lists of one cell."""
        return (self.incarnation, self.epoch, self.revision)


class Output(msgspec.Struct, frozen=True):
    """A piece of a task's output. offset: of its first byte in the stream since the task's start. time: when it
    came, in nanoseconds since the epoch; None where nobody wrote that down.
    """

    task: str
    stream: str
    offset: int
    data: bytes
    time: int | None = None

    @property
    def end(self) -> "Reached":
        """Where whoever has read it has got to."""
        return Reached(self.offset + len(self.data), self.time)


class Reached(msgspec.Struct, frozen=True):
    """How far a stream was read: the offset of its next byte, and when the last piece came. A runtime goes by the
    one or the other."""

    offset: int = 0
    time: int | None = None


class RemovedTask(msgspec.Struct, frozen=True):
    """A task that was removed and whose output is kept. started, ended: epoch seconds, None where unknown.

    message: how it ended, as a sentence.
    """

    task: str
    started: float | None
    ended: float | None
    message: str


class Pull(msgspec.Struct, frozen=True):
    """An image that a node brings just now. got, whole: bytes, so far and of all layers; None where not known.

    >>> str(Pull("n1", "shop/web:1", 34_000_000, 80_400_000)), str(Pull("n1", "shop/web:1", 34_000_000))
    ('pulling shop/web:1, 34 MB of 80', 'pulling shop/web:1, 34 MB')
    """

    node: str
    image: str
    got: int
    whole: int | None = None

    def __str__(self) -> str:
        whole = f" of {self.whole / 1e6:.0f}" if self.whole else ""
        return f"pulling {self.image}, {self.got / 1e6:.0f} MB{whole}"


class Used(msgspec.Struct, frozen=True):
    """What a task uses. cpu: seconds of processors since its start; memory: bytes that it has now."""

    cpu: float
    memory: int


class Sample(msgspec.Struct, frozen=True):
    """What the tasks of one node use, by task. at: seconds of that node's clock, which never goes back."""

    at: float
    tasks: Mapping[str, Used]


class AgentCalls(Protocol):
    """What a master may ask of an agent over its link."""

    async def pulls(self) -> Sequence[Pull]:
        """The images that it brings just now, and how far it is. Nobody stores that."""
        ...

    async def kept(self) -> Sequence[RemovedTask]:
        """The tasks that have gone and whose output can still be asked for."""
        ...

    async def volumes(self) -> Sequence[NamedVolume]:
        """The named volumes that there are, and how large they are now."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Removes one with all that is in it. NotFound, Conflict where a task has it, DriverError."""
        ...

    async def stats(self) -> Sequence[Sample]:
        """What tasks use now, node by node. It is looked up when it is asked for."""
        ...

    def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        """The output of a task (`stdout` or `stderr`), its last `tail` lines, or what came `since`, first.
        NotFound if unknown."""
        ...

    def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command beside a task. It is ended where the generator is closed. NotFound if unknown."""
        ...


class AgentLink(Protocol):
    """An agent's link to a master."""

    def assignments(self, node: Node, calls: AgentCalls) -> AsyncIterator[Assignments]:
        """Registers the node, then yields its assignments whenever they change."""
        ...

    async def update(self, node: Node) -> None:
        """Replaces the node's facts."""
        ...

    async def report(self, statuses: Sequence[Status]) -> None:
        """Hands statuses up; returns once they are committed."""
        ...


class BorderLink(Protocol):
    """A border's link to a master."""

    def frontends(self, node: str) -> AsyncIterator[Frontends]:
        """Yields the whole view whenever it changes, and whenever a new plan awaits an acknowledgement."""
        ...

    async def acknowledge(self, ack: BorderAck) -> None:
        """Says what was applied; returns once it is committed."""
        ...


class NamesLink(Protocol):
    """A name server's link to a master."""

    def names(self, node: str) -> AsyncIterator[Names]:
        """Yields the whole view whenever it changes."""
        ...
