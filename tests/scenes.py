"""A node's hands in memory, on virtual time, for tests of the agent: lists go in, reports and deeds come out."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

import msgspec
import pytest

from builders import app, node, task
from fakes import FakeLink, FakeProbe, FakeRuntime, clock, run
from kato.agent import Agent
from kato.model.app import App
from kato.model.link import Assignment, Assignments
from kato.model.task import Task, TaskState

P = ParamSpec("P")


class Scene:
    """One node's hands, which outlive its agents."""

    def __init__(self, folder: Path | None = None) -> None:
        self.link = FakeLink()
        self.runtime = FakeRuntime()
        self.runtimes = {"process": self.runtime}
        self.probe = FakeProbe()
        self.node = node()
        self.folder = folder
        self.revision = 0

    def agent(self) -> Agent:
        return Agent(
            node=self.node,
            link=self.link,
            runtimes=self.runtimes,
            facts=lambda: self.node,
            probe=self.probe,
            clock=clock,
            folder=self.folder,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """An agent at work; at the end its loop is cancelled, as a shutdown does."""
        agent = self.agent()
        work = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    def send(self, *wishes: tuple[App, Task]) -> None:
        """The next complete list."""
        self.revision += 1
        self.link.send(listing(self.revision, *wishes))


def on_virtual_time(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A test that takes no longer than what happens in it."""

    @functools.wraps(scenario)
    def test(*args: P.args, **named: P.kwargs) -> None:
        run(scenario(*args, **named))

    return test


@asynccontextmanager
async def one_task(web: App | None = None) -> AsyncIterator[tuple[Scene, Task]]:
    """A scene, with an agent at work, and the one task that runs there."""
    scene, web = Scene(), web or app()
    of = task(web)
    async with scene.running():
        scene.send((web, of))
        await scene.link.until(lambda: scene.link.states(of.id)[-1:] == [TaskState.RUNNING])
        yield scene, of


def listing(revision: int, *wishes: tuple[App, Task], epoch: int = 1, cell: str = "one") -> Assignments:
    items = tuple(Assignment(of, spec, {"PORT0": "1"}) for spec, of in wishes)
    return Assignments(1, epoch, revision, items, cell)


def goal(of: Task, to: Any) -> Task:
    return msgspec.structs.replace(of, goal=to)


async def passes(seconds: float) -> None:
    """Virtual time goes by, and everything that is due in it happens."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await done.wait()
