"""The runtime port: hands that start, watch and stop the tasks of one node, one driver a kind of container.

A driver owns a folder (`sandboxes`) and everything in it. What it started outlives Káto; `found` adopts it.
"""

import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import msgspec

from kato.model.app import App, HealthCheck
from kato.model.conversation import Command, Said, Typing
from kato.model.frontend import Door
from kato.model.link import Output, Pull, Reached, RemovedTask, Used
from kato.model.secret import Secret

LAST = 4096
"""Bytes of a command's output that are kept."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a driver needs to start a task. env is whole: nothing is inherited but what is in it.

    ports: the host ports given to it, in the order of `App.ports`. secrets: by what the app calls them.
    """

    task: str
    app: App
    env: Mapping[str, str]
    ports: tuple[int, ...] = ()
    secrets: Mapping[str, Secret] = {}


class Exit(msgspec.Struct, frozen=True):
    """How a task ended: a code, or a signal's number, or neither where nobody knows (its keeper was killed).

    ended: epoch seconds, None where unknown. message: for a person. rebooted: what carried it, the machine or its
    engine, went down under it.
    """

    code: int | None = None
    signal: int | None = None
    ended: float | None = None
    message: str = ""
    rebooted: bool = False
    oom: bool = False


class Executed(msgspec.Struct, frozen=True):
    """What came of a command that was run beside a task. code: its exit code, 128 + n where signal n ended it.

    output: the last of what it wrote to stdout and stderr together, at most `LAST` bytes.
    """

    code: int
    output: bytes = b""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A task that the driver knows: running where `exit` is None. started: epoch seconds.

    check: what its image asks to know how it is; it counts where its app asks nothing.
    """

    task: str
    started: float | None
    pid: int | None = None
    exit: Exit | None = None
    check: HealthCheck | None = None


class Server(Protocol):
    """What answers for names on a network."""

    async def close(self) -> None:
        """Answers no more."""
        ...


Look = Callable[[str, str], Sequence[str] | None]
"""The addresses of a name, as whoever is at an address is told of them; None where there is no such name."""
Answer = Callable[[socket.socket, socket.socket, Look], Coroutine[Any, Any, Server]]
"""Answers for names on two sockets that are bound, for UDP and for TCP, by what a Look says."""


class Doors(Protocol):
    """Where containers reach the cell: at the machine's own address on their network."""

    async def open(self, door: Door) -> Sequence[str]:
        """Whom containers on its network are to ask for names; nobody where no door can be there."""
        ...

    async def shut(self, interface: str) -> None:
        """A network is no more."""
        ...


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What every runtime driver is opened with. folder: for sandboxes and records; volumes: named volumes.

    node: whose tasks these are, and address: where their ports are published, for those that engines hold.
    engine: where its API is (DOCKER_HOST); None for the usual place. privileged: whether a container may be what
    would give it the machine; where not, own: places of the cell's that no container gets.
    logins: the file in which `docker login` keeps what registries ask for.
    user: whom tasks run as where the app names no one; None for whoever runs the cell.
    environ: what a task has for PATH, HOME and LANG where its app does not say. descriptors: a task's soft limit
    of open files; None for the cell's own, which a cell that has raised its own does not want.
    answer: who serves names on the networks that a driver makes itself; None where nobody does.
    doors: who does on those that an engine makes for it, and has the balancer there; None where nobody does.
    """

    folder: Path
    volumes: Path
    node: str = "node"
    address: str = "127.0.0.1"
    engine: str | None = None
    privileged: bool = False
    own: tuple[Path, ...] = ()
    logins: Path | None = None
    user: str | None = None
    environ: Mapping[str, str] = {}
    descriptors: int | None = None
    answer: Answer | None = None
    doors: Doors | None = None


@runtime_checkable
class Images(Protocol):
    """The power `images` of a runtime whose tasks need one."""

    async def fetch(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """Has the image of an app here, pulled where it is missing. DriverError says why it cannot be had.

        secrets: by what the app calls them.
        """
        ...


@runtime_checkable
class Pulls(Protocol):
    """A runtime that tells how far the images are that it fetches."""

    async def pulls(self) -> Sequence[Pull]:
        """What it pulls just now."""
        ...


@runtime_checkable
class Exec(Protocol):
    """The power `exec` of a runtime in whose tasks a person may run a command, on a terminal too."""

    def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """What the command writes, and last how it left. DriverError, before anything was said, where it cannot be
        run. It is ended where the generator is closed before.
        """
        ...


@runtime_checkable
class Stats(Protocol):
    """The power `stats` of a runtime that tells what its tasks use. It looks only when it is asked."""

    async def stats(self, pids: Mapping[str, int]) -> Mapping[str, Used]:
        """What tasks use now, by their first processes; those that cannot be told are left out."""
        ...


@runtime_checkable
class Carried(Protocol):
    """A runtime whose tasks an engine carries, which may fall silent and answer again."""

    @property
    def silence(self) -> str | None:
        """Why the engine does not answer now; None while it does."""
        ...

    def hear(self, changed: Callable[[], None]) -> None:
        """Has `changed` called whenever the engine falls silent, and when it answers again."""
        ...


@runtime_checkable
class Brings(Protocol):
    """A runtime that brings to the machine what is not in its folder."""

    async def clear(self) -> None:
        """Takes away what it brought and nobody uses: images, networks. DriverError."""
        ...


@runtime_checkable
class Holds(Protocol):
    """A runtime whose engine has names of its own for named volumes, and may hold their folders."""

    async def let_go(self, volume: str) -> None:
        """Has the engine forget a named volume. Conflict where it does not: the folder is not to be deleted then.
        DriverError.
        """
        ...


class Runtime(Protocol):
    """A runtime driver. All verbs are idempotent for one task id; errors are DriverError."""

    name: str
    powers: tuple[str, ...]
    notes: tuple[str, ...]
    """What it cannot do on this machine, as sentences (no memory limit: …); shown as facts about the node."""

    @classmethod
    async def open(cls, options: Options) -> Self:
        """Opens it; DriverMissing where something that it needs is not installed."""
        ...

    async def found(self) -> Mapping[str, Found]:
        """Every task it knows, running or ended and not yet removed, whoever started it (adoption)."""
        ...

    async def start(self, launch: Launch) -> Found:
        """Starts the task; returns once it is durably recorded. DriverError says why it could not."""
        ...

    async def wait(self, task: str) -> Exit:
        """Returns when the task has ended, with how."""
        ...

    async def stop(self, task: str, grace: float) -> None:
        """Asks it to end, and ends all of it after `grace` seconds. Returns at once; `wait` says when."""
        ...

    async def remove(self, task: str) -> None:
        """Removes an ended task's record; its output is kept for a while."""
        ...

    async def kept(self) -> Sequence[RemovedTask]:
        """The removed tasks whose output is still kept."""
        ...

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> Executed:
        """Runs a command in the task's surroundings (for COMMAND checks), until it has ended. TimeoutError."""
        ...

    def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        """A task's stdout or stderr: its last `tail` lines, or what came `since`; with `follow` until the task has
        ended and all was read."""
        ...

    async def close(self) -> None:
        """Lets go. Tasks go on."""
        ...
