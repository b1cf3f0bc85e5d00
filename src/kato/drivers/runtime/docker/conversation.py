"""A command in a container with a person at its other end: what is typed flows in over the engine's upgraded
connection; what the command writes flows out as it comes, and last how it left.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator

from kato.drivers.runtime.docker.engine import Engine, Rejected
from kato.drivers.runtime.unrunnable import not_run
from kato.model.conversation import Command, Left, Said, Size, Typing, Wrote
from kato.model.errors import DriverError

CHUNK = 1 << 16
ENDING = 5.0
"""Seconds that the engine may take to tell the exit code of a command whose output has ended."""
POLL = 0.02
NOT_BEGUN = b"OCI runtime exec failed"
"""What an engine writes in place of the command's output where it could not run it."""
_STREAMS = {1: "stdout", 2: "stderr"}


async def hold(
    engine: Engine, container: str, task: str, command: Command, typing: Typing
) -> AsyncGenerator[Said, None]:
    """Runs a command until its output has ended. DriverError, before anything was said, where it cannot be run.
    Closed before, it ends it. task: what its container is called in words.
    """
    asked = {
        "Cmd": command.argv,
        "Tty": command.terminal,
        "AttachStdin": command.interactive,
        "AttachStdout": True,
        "AttachStderr": True,
        "Env": [f"TERM={command.kind}"] if command.terminal else [],
    }
    path = f"/exec/{(await engine.ask('POST', f'/containers/{container}/exec', asked))['Id']}"
    code: int | None = None
    starting = engine.upgraded(f"{path}/start", {"Detach": False, "Tty": command.terminal})
    async with contextlib.AsyncExitStack() as stack:
        try:
            reader, writer = await stack.enter_async_context(starting)
        except Rejected as error:  # newer engines refuse what older ones write in place of output
            raise not_run(command.argv[0], task, str(error)) from error
        feeding = asyncio.create_task(_feed(engine, path, command, typing, writer))
        try:
            first = True
            async with contextlib.aclosing(_heard(reader, command.terminal)) as heard:
                async for said in heard:
                    if first and said.data.startswith(NOT_BEGUN):
                        raise not_run(command.argv[0], task, said.data.decode(errors="replace"))
                    first = False
                    yield said
            code = await _exit_code(engine, path)
            yield Left(code)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            if code is None:
                await end_command(engine, path)


async def end_command(engine: Engine, path: str) -> None:
    """The engine ends no command of its own accord; its process is ours to kill, where we may. A command may speak
    before the engine knows its process.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING):
            while (seen := await engine.ask("GET", f"{path}/json"))["Running"] and not seen["Pid"]:  # noqa: ASYNC110
                await asyncio.sleep(POLL)
        if not seen["Running"]:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(seen["Pid"], signal.SIGKILL)


async def _heard(reader: asyncio.StreamReader, terminal: bool) -> AsyncGenerator[Wrote, None]:
    """Pieces of output. Frames of eight bytes say which stream and how long; a terminal has none."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while not terminal:
            head = await reader.readexactly(8)
            data = await reader.readexactly(int.from_bytes(head[4:], "big"))
            yield Wrote(_STREAMS.get(head[0], "stdout"), data)
    while terminal and (data := await reader.read(CHUNK)):
        yield Wrote("stdout", data)


async def _feed(engine: Engine, path: str, command: Command, typing: Typing, writer: asyncio.StreamWriter) -> None:
    if command.terminal:
        await _resize(engine, path, Size(command.rows, command.columns))
    async for each in typing:
        if isinstance(each, Size):
            if command.terminal:
                await _resize(engine, path, each)
        elif command.interactive:
            writer.write(each.data)
            await writer.drain()
    if command.interactive and not command.terminal and writer.can_write_eof():
        writer.write_eof()


async def _resize(engine: Engine, path: str, size: Size) -> None:
    """A command that has ended has no size."""
    with contextlib.suppress(DriverError):
        await engine.ask("POST", f"{path}/resize", h=size.rows, w=size.columns)


async def _exit_code(engine: Engine, path: str) -> int:
    """Its output ends a moment before the engine knows how it left."""
    async with asyncio.timeout(ENDING):
        while (seen := await engine.ask("GET", f"{path}/json"))["Running"]:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
    return int(seen["ExitCode"])
