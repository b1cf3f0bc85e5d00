"""A command beside a task: keys come from this terminal and go to the command; what it writes, and its exit code,
come back. On a terminal of its own Ctrl-C and the window's size are the command's.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from tty import setraw
from typing import Annotated

from cyclopts import Parameter

from kato.cli.words.names import find_task
from kato.cli.words.place import THERE, Address
from kato.config import variables
from kato.model.conversation import Command, Keys, Left, Size, Typed, Wrote
from kato.model.errors import InvalidInput

CHUNK = 1 << 15
"""Bytes that are read at once; a terminal has a line, or a paste."""


async def exec(
    name: str,
    /,
    *cmd: str,
    interactive: Annotated[bool, Parameter(name=["--interactive", "-i"], negative=())] = False,
    tty: Annotated[bool, Parameter(name=["--tty", "-t"], negative=())] = False,
    place: Address = THERE,
) -> int:
    """Run a command beside a task: with its user, environment, folder and limits. Its exit code is passed on.

    As in: kato exec -it vote -- sh. Where this ends, the command is ended too.

    Parameters
    ----------
    name
        A task (`vote.3`, or its whole id), or an app: then one of its tasks, a healthy one if there is any.
    cmd
        The command and its arguments, behind `--`.
    interactive
        Hand on what is typed or piped in.
    tty
        Give it a terminal: Ctrl-C, colours, full-screen programs.
    """
    if not cmd:
        raise InvalidInput("kato exec needs CMD, as in: kato exec -it vote -- sh.")
    if tty and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidInput("-t needs a terminal, and here is none. Leave it out: -i alone takes a pipe.")
    async with place.client() as client:
        apps = {each["id"]: each for each in await client.apps()}
        found = find_task(name, [task["id"] for app in apps.values() for task in app["tasks"]], apps)
        columns, rows = os.get_terminal_size() if tty else (80, 24)
        command = Command(
            cmd,
            terminal=tty,
            interactive=interactive,
            rows=rows,
            columns=columns,
            kind=variables().get("TERM") or "xterm",
        )
        with _raw(sys.stdin.fileno()) if tty and interactive else contextlib.nullcontext():
            async with contextlib.aclosing(client.exec(found, command, _Typing(command).words())) as said:
                async for each in said:
                    match each:
                        case Wrote(stream, data):
                            out = sys.stderr if stream == "stderr" else sys.stdout
                            out.buffer.write(data)
                            out.flush()
                        case Left(code):
                            return code
    raise AssertionError("the client ends with Left, or raises")


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Every key is handed on as it is, Ctrl-C too."""
    before = termios.tcgetattr(terminal)
    try:
        setraw(terminal, termios.TCSADRAIN)  # what was typed already is the command's too
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class _Typing:
    """Keys, where the command has an input, and the window's size whenever it changes, where it has a terminal."""

    def __init__(self, command: Command) -> None:
        self._terminal = command.terminal
        self._stdin = sys.stdin.fileno() if command.interactive else None
        self._loop = asyncio.get_running_loop()
        self._happened = asyncio.Event()
        self._resized = self._readable = False

    async def words(self) -> AsyncIterator[Typed]:
        """Without end on a terminal; else until the end of the input."""
        if self._terminal:
            self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        try:
            while self._stdin is not None or self._terminal:
                await self._something()
                if self._resized:
                    self._resized = False
                    columns, rows = os.get_terminal_size(sys.stdout.fileno())
                    yield Size(rows, columns)
                if self._stdin is not None and self._readable:
                    self._readable = False
                    if data := _read(self._stdin):
                        yield Keys(data)
                    else:
                        self._stdin = None
        finally:
            if self._terminal:
                self._loop.remove_signal_handler(signal.SIGWINCH)

    async def _something(self) -> None:
        stdin = self._stdin
        if stdin is not None:
            try:
                self._loop.add_reader(stdin, self._read)
            except PermissionError:  # a file, /dev/null, /dev/zero: always readable, which epoll(7) does not take
                self._readable = True
                return
        try:
            await self._happened.wait()
        finally:
            self._happened.clear()
            if stdin is not None:
                self._loop.remove_reader(stdin)

    def _resize(self) -> None:
        self._resized = True
        self._happened.set()

    def _read(self) -> None:
        self._readable = True
        self._happened.set()


def _read(end: int) -> bytes:
    """What there is; nothing at the end, or where it cannot be read any more."""
    try:
        return os.read(end, CHUNK)
    except OSError:
        return b""
