"""Tasks as plain processes: a Launch flows in; what its keeper executes, as whom, where and with what, comes out.

Its sandbox is the folder that it runs in, and volumes are links there. What a keeper does with it: supervised.py.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.folders.sandbox import (
    Identity,
    close_volumes,
    closed_folder,
    command,
    environment,
    furnish,
    identity,
    links,
    working_folder,
)
from kato.drivers.runtime.folders.secret_files import folder_of, write
from kato.drivers.runtime.keepers import conversation, keeper
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.keepers.supervised import Supervised
from kato.drivers.runtime.keepers.way import Execution
from kato.drivers.runtime.resources.cgroups import Limits
from kato.model.app import App
from kato.model.conversation import Command, Said, Typing
from kato.model.secret import Secret

OUTLIVES = (
    "Without cgroups a daemon that clears its environment can outlive its task, where the task's keeper is killed."
)


class Driver(Supervised):
    """The runtime driver `process`. It needs no engine, no image and no root; root brings limits and users."""

    name = "process"
    powers: tuple[str, ...] = ("logs", "execute", "stats", "exec")
    passed = True

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command where `execute` does, with a person at its other end."""
        with self.beside(task, command.argv) as record:
            said = conversation.hold(self._keeper, record.folder, command, typing)
            async with contextlib.aclosing(said):
                async for each in said:
                    yield each

    @classmethod
    def way(cls, options: Options, limits: Limits) -> tuple["Processes", tuple[str, ...]]:
        return Processes(options), (
            *limits.notes,
            "Volumes are links in the sandbox: read-only ones are not enforced.",
            *(() if limits.tell_members else (OUTLIVES,)),
        )


class Processes:
    """The way of a plain process: nothing is between the keeper and the program."""

    def __init__(self, options: Options) -> None:
        self._options = options
        close_volumes(options.volumes, options.folder.glob("*/sandbox"))

    def check(self) -> None:
        """It needs nothing."""

    async def ready(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """It needs no image."""

    def _who(self, launch: Launch) -> Identity:
        return identity(launch.app.user or self._options.user)

    def prepare(self, record: Record, launch: Launch, files: Path | None) -> Execution:
        """Makes the sandbox, with the files that were fetched and links to its volumes."""
        app, who = launch.app, self._who(launch)
        volumes, words = links(app, self._options.volumes, folder_of(record.folder)), command(app)
        write(record.folder, launch, who)
        furnish(record.sandbox, volumes, who, files)
        return Execution(
            argv=words,
            env=environment(launch.env, self._options.environ, who, record.sandbox),
            cwd=working_folder(app, record.sandbox),
            who=who,
        )

    def began(self, record: Record, launch: Launch) -> None:
        """The keeper's word is enough: it tells of a program that cannot be executed."""

    def words(self, fault: keeper.Fault, record: Record, launch: Launch) -> str:
        """Of a program that cannot be run, or a folder that cannot be entered, what to do."""
        program, where = command(launch.app)[0], working_folder(launch.app, record.sandbox)
        return _words(fault, program, where, self._who(launch))

    def beside(self, record: Record, argv: tuple[str, ...]) -> AbstractContextManager[Sequence[str]]:
        """The command itself: the keeper gives it the task's user, environment, folder and limits."""
        return contextlib.nullcontext(argv)

    def ended(self, record: Record) -> None:
        """It had nothing."""

    def clear(self, record: Record) -> None:
        """All that there is may be looked at later."""


def _words(fault: keeper.Fault, program: str, where: Path, who: Identity) -> str:
    """A keeper's fault as a sentence that says what to do."""
    if fault.step == "run":
        return f"{program} cannot be run: {fault.cause}. Name a program that is on the PATH and may be executed."
    if fault.step == "enter":
        closed = closed_folder(where, who)
        remedy = f"Open the way for its user: chmod o+x {closed}" if closed else "Check the label KATO_WORKDIR"
        return f"its folder {where} cannot be entered: {fault.cause}. {remedy}."
    return str(fault)
