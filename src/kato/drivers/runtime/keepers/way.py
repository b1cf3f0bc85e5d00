"""How tasks of one kind are executed under their keepers: a record's folder and a Launch flow in, what the keeper
executes comes out. Drivers that have keepers differ in nothing else.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from signal import Signals
from typing import Protocol

import msgspec

from kato.drivers.runtime import Launch
from kato.drivers.runtime.folders.sandbox import Identity
from kato.drivers.runtime.keepers import keeper
from kato.drivers.runtime.keepers.record import Record
from kato.model.app import App
from kato.model.secret import Secret


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper executes. env is whole; who: None for the cell's own user; stop: what asks it to end."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    who: Identity | None = None
    stop: int = Signals.SIGTERM


class Way(Protocol):
    """How tasks of one kind are executed under their keepers. All but `ready` may block, and runs in threads."""

    def check(self) -> None:
        """DriverMissing where this machine lacks what it needs."""
        ...

    async def ready(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """Has here what a start needs (an image). DriverError says why it cannot be had."""
        ...

    def prepare(self, record: Record, launch: Launch, files: Path | None) -> Execution:
        """Furnishes the record's folder, which is there. files: what the sandbox is to be made of. OSError,
        ValueError, DriverError."""
        ...

    def began(self, record: Record, launch: Launch) -> None:
        """Returns once what was executed runs, or ran. DriverError where it did not come so far."""
        ...

    def words(self, fault: keeper.Fault, record: Record, launch: Launch) -> str:
        """A keeper's fault as a sentence that says what to do."""
        ...

    def beside(self, record: Record, argv: tuple[str, ...]) -> AbstractContextManager[Sequence[str]]:
        """What a keeper runs for a command beside the task; left by an exception, nothing of the command stays."""
        ...

    def ended(self, record: Record) -> None:
        """Takes back what a task had only while it ran, as its names. Also of one that never began, and again."""
        ...

    def clear(self, record: Record) -> None:
        """Takes away what nobody needs of a task that has ended, beside its sandbox and output."""
        ...
