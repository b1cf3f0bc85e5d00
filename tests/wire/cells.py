"""A cell for wire tests: the real store in memory, mirror, master and api; only the machine is made up."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from starlette.routing import BaseRoute
from yarl import URL

from builders import node
from kato.model.conversation import Command, Left, Said, Typing, Wrote
from kato.model.errors import DriverError, NotFound
from kato.model.frontend import BorderAck
from kato.model.link import Output, Pull, Reached, RemovedTask, Sample, Used
from kato.model.task import Health, Status, Task, TaskState
from kato.model.volume import NamedVolume
from kato.store import Put, Store, keys
from kato.store.mirror import Mirror

DEADLINE = 60.0
GONE = "old.instance-1f0c._app.7"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.text)

    @property
    def deployment(self) -> str:
        return str(self.json["deploymentId"])


@dataclass
class Machine:
    """A node that runs what it is told to, at once. sick: apps whose tasks fail their health checks.

    idle: apps whose tasks stay in staging. chatty: apps whose tasks never stop writing. stubborn: those whose
    tasks do not end. It speaks through the store, as the links' server end would.
    """

    store: Store
    mirror: Mirror
    sick: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)
    chatty: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    held: list[str] = field(default_factory=list)
    volumes_kept: list[str] = field(default_factory=lambda: ["shop_data", "old_data"])
    seqs: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> None:
        await self.store.txn(
            [], [Put(keys.node("n1"), keys.encode(node("n1", hostname="one.example", cpus=64.0)))]
        )
        await self.store.txn([], [Put(keys.border("n1"), keys.encode(BorderAck(node="n1", seq=1 << 40)))])
        with self.mirror.changes() as changes:
            async for step in changes:
                for change in step.items:
                    if isinstance(change.now, Task):
                        await self.obey(change.now)

    async def obey(self, task: Task) -> None:
        known = self.mirror.world().statuses.get(task.app, {}).get(task.id)
        if task.goal == "stop" and task.app not in self.stubborn:
            await self.say(task, TaskState.KILLED, ended=time.time())
        elif known is None and task.app not in self.idle:
            await self.say(task, TaskState.RUNNING, started=time.time())

    async def say(self, task: Task, state: TaskState, **more: Any) -> None:
        app = self.mirror.world().spec(task.app, task.version)
        now = time.time()
        well = Health(alive=True, first_success=now, last_success=now)
        ill = Health(alive=False, consecutive_failures=1, last_failure=now, cause="refused")
        health = tuple(ill if task.app in self.sick else well for _ in (app.health_checks if app else ()))
        status = Status(
            task=task.id,
            app=task.app,
            node=task.node,
            state=state,
            seq=next(self.seqs),
            ready=True,
            health=health,
            **more,
        )
        await self.store.txn([], [Put(keys.status(task.node, task.id), keys.encode(status))])

    async def kept(self) -> Sequence[RemovedTask]:
        """One task that has gone."""
        return [RemovedTask(GONE, 1.0, 2.0, "It exited with code 3.")]

    async def pulls(self) -> Sequence[Pull]:
        """It brings no image."""
        return ()

    async def volumes(self) -> Sequence[NamedVolume]:
        """Those that were not removed."""
        return [NamedVolume("n1", name, 1 << 20) for name in self.volumes_kept]

    async def remove_volume(self, name: str) -> None:
        """As it was told."""
        if name not in self.volumes_kept:
            raise NotFound(f"There is no volume {name}.")
        self.volumes_kept.remove(name)

    async def stats(self) -> Sequence[Sample]:
        """Every task of this machine uses the same."""
        used = {
            task: Used(cpu=1.5, memory=1 << 20) for mine in self.mirror.world().tasks.values() for task in mine
        }
        return [Sample(100.0, used)]

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        """What every task of this machine has written."""
        if stream == "stderr":
            raise NotFound(f"Task {task} wrote nothing to stderr.")
        if since is None:
            yield Output(task, stream, 0, f"hello from {task}, tail {tail}\n".encode() + b"\xff", 1_500_000_000)
        while follow and any(task in self.mirror.world().tasks.get(app, {}) for app in self.chatty):
            yield Output(task, stream, 0, b"x" * 10_000)

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """`cat` says what is typed, `mute` nothing without end, `true` leaves; others cannot be run."""
        match command.argv[0]:
            case "cat":
                async for word in typing:
                    yield Wrote("stdout", msgspec.json.encode(word))
            case "mute":
                self.held.append(task)
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self.held.remove(task)
            case "breaks":
                yield Wrote("stderr", b"so far")
            case "true":
                pass
            case other:
                raise DriverError(f"{other} could not be run.")
        if command.argv[0] == "breaks":
            raise DriverError("The engine went away.")
        yield Left(0)


@dataclass
class Cell:
    """A running cell and a client of it."""

    base: str
    store: Store
    mirror: Mirror
    machine: Machine
    session: aiohttp.ClientSession
    stopped: asyncio.Event
    running: list[asyncio.Task[None]]
    """What runs behind it; the api is the last."""
    routes: Sequence[BaseRoute] = ()

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request; headers as keywords, with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        if data is not None:
            named.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.base + path, data=data, headers=named) as response:
            return Answer(response.status, response.headers, await response.text())

    async def call_as_it_is(self, method: str, path: str) -> Answer:
        """One request whose path the client makes no plainer."""
        where = URL(self.base + path, encoded=True)
        async with self.session.request(method, where) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **headers: str) -> Any:
        answer = await self.call("GET", path, **headers)
        assert answer.status == 200, answer
        return answer.json

    async def deploy(self, *apps: Mapping[str, object]) -> None:
        """Creates apps and waits until they are."""
        answer = await self.call("PUT", "/v2/apps", list(apps))
        assert answer.status == 200, answer
        await self.over(answer.deployment)

    async def over(self, deployment: str) -> None:
        """Returns when a deployment has ended and the leader has nothing left to do about it."""
        await self.until(lambda: deployment not in self.mirror.world().deployments)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns when something holds of the mirror."""
        async with asyncio.timeout(DEADLINE):
            with self.mirror.changes() as changes:
                while not holds():
                    await anext(changes)


Start = Callable[..., Awaitable[Cell]]


class Background:
    """Coroutines that run until the end of a test; one that fails, fails the test."""

    def __init__(self) -> None:
        self.running: list[asyncio.Task[None]] = []

    def start(self, work: Any) -> None:
        self.running.append(asyncio.create_task(work))

    async def __aenter__(self) -> "Background":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self.running):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def answering(cell: Cell) -> None:
    """Returns when the api answers."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                assert (await cell.call("GET", "/ping")).text == "pong"
                return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.005)
