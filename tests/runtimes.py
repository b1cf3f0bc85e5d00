"""Real tasks for tests: short commands go in as Launches, what they say and whether they live comes out."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from builders import app
from kato.drivers.runtime import Exit, Launch, Options, Runtime

PATIENCE = 20.0
"""Seconds after which a test gives up waiting."""


@contextlib.contextmanager
def folders() -> Iterator[Options]:
    """The folders of one driver, on a way that any user may pass; deleted afterwards."""
    root = Path(tempfile.mkdtemp(prefix="kato-test-"))
    root.chmod(0o711)
    try:
        yield Options(folder=root / "tasks", volumes=root / "volumes")
    finally:
        shutil.rmtree(root)


@contextlib.asynccontextmanager
async def ending_all(runtime: Runtime) -> AsyncIterator[Runtime]:
    """The runtime, with every task ended and removed, and the runtime closed, afterwards."""
    try:
        yield runtime
    finally:
        for task in await runtime.found():
            await runtime.stop(task, 0)
            await runtime.wait(task)
            await runtime.remove(task)
        await runtime.close()


def launch(cmd: str | None = None, *, task: str = "web.instance-1", env: Any = None, **more: Any) -> Launch:
    """A launch of a shell command, or of what `more` says."""
    return Launch(task=task, app=app(cmd=cmd, **more), env=env or {})


async def ended(runtime: Runtime, task: str = "web.instance-1") -> Exit:
    """How a task ended, awaited with a deadline."""
    async with asyncio.timeout(PATIENCE):
        return await runtime.wait(task)


async def run(runtime: Runtime, cmd: str | None = None, **more: Any) -> Exit:
    """Starts a task and waits for its end."""
    what = launch(cmd, **more)
    await runtime.start(what)
    return await ended(runtime, what.task)


async def said(runtime: Runtime, task: str = "web.instance-1", stream: str = "stdout", **how: Any) -> str:
    """What a task has written so far."""
    options = {"tail": None, "follow": False} | how
    async with asyncio.timeout(PATIENCE):
        pieces = [piece.data async for piece in runtime.output(task, stream, **options)]
    return b"".join(pieces).decode()


async def hears(runtime: Runtime, word: str, task: str = "web.instance-1") -> str:
    """Waits until a task has written `word` and a newline after it; all that it wrote."""
    text = ""
    async with asyncio.timeout(PATIENCE):
        async for piece in runtime.output(task, "stdout", tail=None, follow=True):
            text += piece.data.decode()
            if word in text and text.endswith("\n"):
                return text
    raise AssertionError(f"{task} ended without saying {word!r}; it said {text!r}")


async def until(fact: Callable[[], bool]) -> None:
    """Waits for a fact that no event announces."""
    async with asyncio.timeout(PATIENCE):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
