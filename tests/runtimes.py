"""Real tasks for tests: short commands go in as Launches, what they say and whether they live comes out."""

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import app
from kato.drivers.runtime import Exit, Launch, Options, Pulls, Runtime
from kato.drivers.runtime.folders.sandbox import delete
from kato.drivers.runtime.keepers.record import Record, Started
from kato.drivers.runtime.resources.cgroups import hierarchies, room, sweep, unified_mount
from kato.model.app import Parameter
from kato.model.link import Pull

PATIENCE = 60.0
"""Seconds after which a test gives up waiting."""
TASK = "web.instance-1"
_GIVEN = {"hostname": "here", "ulimit": "nofile=77", "env": "WORD=said", "cap-drop": "CHOWN", "tmpfs": "/scratch"}
FLAGS = tuple(Parameter(key=key, value=value) for key, value in _GIVEN.items())
"""Flags of `docker run`, which every runtime of containers takes as parameters."""
TELLS_FLAGS = "hostname; ulimit -n; echo $WORD; chown 1:1 /bin/busybox || echo denied; touch /scratch/x && echo ok"
FLAGS_TOLD = "here\n77\nsaid\ndenied\nok\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change users and set limits")


@contextlib.contextmanager
def folders() -> Iterator[Options]:
    """The folders of one driver, on a way that any user may pass; deleted afterwards."""
    root = Path(tempfile.mkdtemp(prefix="kato-test-"))
    root.chmod(0o711)
    try:
        yield Options(folder=root / "tasks", volumes=root / "volumes")
    finally:
        delete(root)
        sweep()


def reached_by_others(path: Path) -> bool:
    """Whether a user who is not root may run a file that is there."""
    assert path.stat().st_mode & 0o001
    look = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    return subprocess.run(look, user=65534, group=65534, extra_groups=(), check=False).returncode == 0


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


def launch(cmd: str | None = None, *, task: str = TASK, env: Any = None, **more: Any) -> Launch:
    """A launch of a shell command, or of what `more` says."""
    return Launch(task=task, app=app(cmd=cmd, **more), env=env or {})


async def ended(runtime: Runtime, task: str = TASK) -> Exit:
    """How a task ended, awaited with a deadline."""
    async with asyncio.timeout(PATIENCE):
        return await runtime.wait(task)


async def run(runtime: Runtime, cmd: str | None = None, **more: Any) -> Exit:
    """Starts a task and waits for its end."""
    what = launch(cmd, **more)
    await runtime.start(what)
    return await ended(runtime, what.task)


async def said(runtime: Runtime, task: str = TASK, stream: str = "stdout", **how: Any) -> str:
    """What a task has written so far."""
    options = {"tail": None, "follow": False} | how
    async with asyncio.timeout(PATIENCE):
        pieces = [piece.data async for piece in runtime.output(task, stream, **options)]
    return b"".join(pieces).decode()


async def hears(runtime: Runtime, word: str, task: str = TASK) -> str:
    """Waits until a task has written `word` and a newline after it; all that it wrote."""
    text = ""
    async with asyncio.timeout(PATIENCE):
        async for piece in runtime.output(task, "stdout", tail=None, follow=True):
            text += piece.data.decode(errors="replace")
            if word in text and text.endswith("\n"):
                return text
    raise AssertionError(f"{task} ended without saying {word!r}; it said {text!r}")


async def comes(runtime: Pulls, image: str, least: int) -> Pull:
    """Waits until so many bytes of an image are here that is being pulled."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for pull in await runtime.pulls():
                if pull.image == image and pull.got >= least:
                    return pull
            await asyncio.sleep(0.02)  # a poll, with a deadline


async def until(fact: Callable[[], bool]) -> None:
    """Waits for a fact that no event announces."""
    async with asyncio.timeout(PATIENCE):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command(*words: str) -> None:
    """A program that is waited for and must succeed."""
    subprocess.run(words, check=True)


def started(options: Options, task: str = TASK) -> Started:
    """What the keeper of a task wrote when it started it."""
    start = Record(options.folder / task).started()
    assert start is not None
    return start


def cgroup(options: Options, controller: str) -> Path:
    """The cgroup of the task in one hierarchy."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    mount = unified_mount(mountinfo)
    offered = (mount / "cgroup.controllers").read_text() if mount else ""
    return hierarchies(mountinfo, offered)[controller].path / "kato" / room(options.folder) / TASK
