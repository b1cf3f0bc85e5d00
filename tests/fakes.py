"""Hands without a machine: a runtime, a link and a probe in memory, for the loop on virtual time. What a test
tells them flows in; what they were asked stays in their fields.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Self

import msgspec

from kato.drivers.runtime import Executed, Exit, Found, Launch, Options
from kato.model.errors import DriverError, NotFound
from kato.model.link import AgentCalls, Assignments, Output, Reached, RemovedTask
from kato.model.node import Node
from kato.model.task import Response, Status, TaskState
from kato.sim.clock import EPOCH, run

__all__ = ["EPOCH", "FakeLink", "FakeProbe", "FakeRuntime", "clock", "run"]


def clock() -> float:
    """Epoch seconds that go with the running loop."""
    return EPOCH + asyncio.get_running_loop().time()


class FakeRuntime:
    """Tasks that live in memory, and outlive an agent. What it was asked is in `starts`, `stops`, `removed`.

    obey: whether a task ends when it is asked to, before its grace is over. broken: what every verb raises.
    commands: what comes of a COMMAND check, by its argv.
    """

    name = "process"
    powers: tuple[str, ...] = ("exec",)
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.tasks: dict[str, Found] = {}
        self.starts: list[str] = []
        self.stops: list[tuple[str, float]] = []
        self.removed: list[str] = []
        self.env: dict[str, Mapping[str, str]] = {}
        self.outputs: dict[str, bytes] = {}
        self.commands: dict[tuple[str, ...], Executed] = {}
        self.obey = True
        self.broken: DriverError | None = None
        self.takes = 0.0
        self._ended: dict[str, asyncio.Event] = {}

    @classmethod
    async def open(cls, options: Options) -> Self:
        return cls()

    async def found(self) -> Mapping[str, Found]:
        self._check()
        return dict(self.tasks)

    async def start(self, launch: Launch) -> Found:
        self._check()
        await asyncio.sleep(self.takes)
        if launch.task not in self.tasks:
            self.starts.append(launch.task)
            self.env[launch.task] = launch.env
            self.tasks[launch.task] = Found(task=launch.task, started=clock(), pid=len(self.starts))
        return self.tasks[launch.task]

    async def wait(self, task: str) -> Exit:
        while (exit := self.tasks[task].exit) is None:
            await self._ended.setdefault(task, asyncio.Event()).wait()
        return exit

    async def stop(self, task: str, grace: float) -> None:
        self._check()
        self.stops.append((task, grace))
        loop = asyncio.get_running_loop()
        code = 15 if self.obey else 9
        loop.call_later(0.01 if self.obey else grace, self.end, task, Exit(signal=code))

    async def remove(self, task: str) -> None:
        self._check()
        self.tasks.pop(task, None)
        self.removed.append(task)

    async def kept(self) -> Sequence[RemovedTask]:
        return [RemovedTask(task, None, None, "It has gone.") for task in self.removed]

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> Executed:
        self._check()
        if argv not in self.commands:
            await asyncio.sleep(timeout)
            raise TimeoutError
        return self.commands[argv]

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        if task not in self.outputs:
            raise NotFound(f"no {task}")
        yield Output(task, stream, 0, self.outputs[task])

    async def close(self) -> None:
        """Tasks go on."""

    def end(self, task: str, exit: Exit) -> None:
        """A task ends."""
        found = self.tasks.get(task)
        if found is None or found.exit is not None:
            return
        ended = clock() if exit.ended is None else exit.ended
        self.tasks[task] = msgspec.structs.replace(found, exit=msgspec.structs.replace(exit, ended=ended))
        self._ended.pop(task, asyncio.Event()).set()

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken


class FakeLink:
    """A master that says what a test tells it to, and keeps what it hears. down: what every verb raises."""

    def __init__(self) -> None:
        self.dials: list[Node] = []
        self.updates: list[Node] = []
        self.reports: list[Status] = []
        self.down: Exception | None = None
        self._lists: asyncio.Queue[Assignments | Exception] = asyncio.Queue()
        self._heard = asyncio.Event()

    def send(self, *lists: Assignments | Exception) -> None:
        """Sends lists; an exception breaks the link at that point."""
        for each in lists:
            self._lists.put_nowait(each)

    async def assignments(self, node: Node, calls: AgentCalls) -> AsyncIterator[Assignments]:
        self._check()
        self.dials.append(node)
        while True:
            each = await self._lists.get()
            if isinstance(each, Exception):
                raise each
            yield each

    async def update(self, node: Node) -> None:
        self._check()
        self.updates.append(node)

    async def report(self, statuses: Sequence[Status]) -> None:
        self._check()
        self.reports += statuses
        self._heard.set()

    def of(self, task: str) -> list[Status]:
        """What was reported of one task, in order."""
        return [status for status in self.reports if status.task == task]

    def states(self, task: str) -> list[TaskState]:
        """Its states in order, each once."""
        states = [status.state for status in self.of(task)]
        return [state for n, state in enumerate(states) if n == 0 or states[n - 1] is not state]

    async def until(self, holds: Callable[[], bool], within: float = 60.0) -> None:
        """Returns once `holds()` after a report; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while not holds():
                self._heard.clear()
                await self._heard.wait()

    def _check(self) -> None:
        if self.down is not None:
            raise self.down


class FakeProbe:
    """Answers of tasks, by port: an HTTP status code; None hangs; a port that is not named refuses.

    asked: (seconds on the loop's clock, port) of every check. broken: what every check raises.
    """

    def __init__(self) -> None:
        self.answers: dict[int, int | None] = {}
        self.asked: list[tuple[float, int]] = []
        self.broken: OSError | None = None

    async def inside(self, pid: int) -> socket.socket | None:
        return None

    async def http(self, host: str, port: int, path: str, *, tls: bool, sock: socket.socket | None = None) -> int:
        if self.broken is not None:
            raise self.broken
        self.asked.append((asyncio.get_running_loop().time(), port))
        if port not in self.answers:
            raise ConnectionRefusedError(111, f"Connect call failed {host}:{port}")
        answer = self.answers[port]
        if answer is None:
            await asyncio.get_running_loop().create_future()
        assert answer is not None
        return answer

    async def response(self, host: str, port: int, path: str, *, tls: bool) -> Response:
        status = await self.http(host, port, path, tls=tls)
        return Response(check="", status=status, content_type="", body="")

    async def tcp(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        await self.http(host, port, "/", tls=False)
