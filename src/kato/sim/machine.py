"""One simulated machine: what goes on when Káto dies (processes, a balancer), and the fake hands that touch it.

Launches and views flow in; ends, health and sessions flow out, as the machine's `Behaviour` has them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Self

import msgspec

from kato.drivers import balancer, runtime
from kato.drivers.runtime import Exit, Found, Launch
from kato.model.errors import DriverError
from kato.model.frontend import BorderAck, Frontends
from kato.model.link import Output


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a task behaves. All in seconds after its start; None means never.

    boots: until it answers checks. dies: until it exits with 1. hangs: from when on checks fail.
    ignores_term: it ends only at the end of its grace. refused: the driver cannot start it at all.
    """

    boots: float = 0.5
    dies: float | None = None
    hangs: float | None = None
    ignores_term: bool = False
    refused: bool = False


class Process:
    """A task on a machine. `over` is set when it has ended."""

    def __init__(self, launch: Launch, started: float, behaviour: Behaviour) -> None:
        self.launch = launch
        self.started = started
        self.behaviour = behaviour
        self.exit: Exit | None = None
        self.over = asyncio.Event()

    def end(self, exit: Exit) -> None:
        """It has ended, if it had not before."""
        if self.exit is None:
            self.exit = exit
            self.over.set()


class Machine:
    """What outlives a crash of Káto. behave: task → its behaviour, when it is launched.

    started: every task id ever started here, in order; a second start of one is a fault of Káto.
    """

    def __init__(self, id: str, behave: Callable[[Launch], Behaviour], clock: Callable[[], float]) -> None:
        self.id = id
        self.clock = clock
        self.processes: dict[str, Process] = {}
        self.started: list[str] = []
        self.view = Frontends()
        self.drained_since: dict[str, float] = {}
        self._behave = behave

    def launch(self, launch: Launch) -> Process:
        """Starts a process, and lets it die when its behaviour says so."""
        if launch.task in self.started:
            raise AssertionError(f"{launch.task} was started twice on {self.id}")
        self.started.append(launch.task)
        process = Process(launch, self.clock(), self._behave(launch))
        self.processes[launch.task] = process
        if process.behaviour.dies is not None:
            self._later(process.behaviour.dies, process, Exit(code=1, ended=self.clock() + process.behaviour.dies))
        return process

    def terminate(self, task: str, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds."""
        process = self.processes[task]
        if process.behaviour.ignores_term:
            self._later(grace, process, Exit(signal=9, ended=self.clock() + grace))
        else:
            self._later(0.05, process, Exit(signal=15, ended=self.clock() + 0.05))

    def kill(self, task: str) -> None:
        """What a user's kill -9 does."""
        self.processes[task].end(Exit(signal=9, ended=self.clock()))

    def running(self) -> list[Process]:
        """The processes that have not ended."""
        return [process for process in self.processes.values() if process.exit is None]

    def answers(self, port: int) -> bool:
        """Whether a task with that host port passes its checks now."""
        for process in self.running():
            if str(port) in process.launch.env.get("PORTS", "").split(","):
                age, behaviour = self.clock() - process.started, process.behaviour
                return age >= behaviour.boots and (behaviour.hangs is None or age < behaviour.hangs)
        return False

    @staticmethod
    def _later(delay: float, process: Process, exit: Exit) -> None:
        asyncio.get_running_loop().call_later(delay, process.end, exit)


class Cut:
    """The hands of one life of Káto. After `sever` they reach nothing: whoever uses them waits until cancelled.

    A kill -9 runs no `finally`; so a simulated crash severs first and cancels after.
    """

    def __init__(self) -> None:
        self._severed = False

    def sever(self) -> None:
        """Nothing gets through from here on."""
        self._severed = True

    async def through(self) -> None:
        """Returns at once, a turn later; never after `sever`."""
        await asyncio.sleep(0)
        if self._severed:
            await asyncio.get_running_loop().create_future()


class FakeRuntime:
    """The runtime port over a machine."""

    name = "process"
    powers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, machine: Machine, cut: Cut) -> None:
        self._machine = machine
        self._cut = cut

    @classmethod
    async def open(cls, options: runtime.Options) -> Self:
        raise DriverError(f"A simulated runtime is made, not opened (asked for {options.folder}).")

    async def found(self) -> Mapping[str, Found]:
        await self._cut.through()
        return {task: _found(process) for task, process in self._machine.processes.items()}

    async def start(self, launch: Launch) -> Found:
        await self._cut.through()
        if launch.task not in self._machine.processes:
            process = self._machine.launch(launch)
            if process.behaviour.refused:
                process.end(Exit(message="it could not be started"))
                raise DriverError(f"{launch.task} could not be started: the simulation says so.")
        return _found(self._machine.processes[launch.task])

    async def wait(self, task: str) -> Exit:
        await self._cut.through()
        process = self._machine.processes[task]
        await process.over.wait()
        await self._cut.through()
        return process.exit or Exit()

    async def stop(self, task: str, grace: float) -> None:
        await self._cut.through()
        self._machine.terminate(task, grace)

    async def remove(self, task: str) -> None:
        await self._cut.through()
        self._machine.processes.pop(task, None)

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> int:
        await self._cut.through()
        process = self._machine.processes[task]
        return 0 if self._machine.clock() - process.started >= process.behaviour.boots else 1

    async def output(self, task: str, stream: str, *, tail: int | None, follow: bool) -> AsyncIterator[Output]:
        await self._cut.through()
        yield Output(task, stream, 0, b"")

    async def close(self) -> None:
        return


class FakeBalancer:
    """The balancer port over a machine: it applies at once, and its sessions end a little after a drain."""

    name = "simulated"

    def __init__(self, machine: Machine, cut: Cut, *, lingers: float = 0.3) -> None:
        self._machine = machine
        self._cut = cut
        self._lingers = lingers

    @classmethod
    async def open(cls, options: balancer.Options) -> Self:
        raise DriverError(f"A simulated balancer is made, not opened (asked for {options.folder}).")

    async def apply(self, view: Frontends) -> BorderAck:
        await self._cut.through()
        self._machine.view = view
        now = asyncio.get_running_loop().time()
        draining = {s.task for service in view.services for s in service.servers if s.state == "drain"}
        since = self._machine.drained_since
        self._machine.drained_since = since = {task: since.get(task, now) for task in draining}
        sessions = {task: int(now - began < self._lingers) for task, began in since.items()}
        return BorderAck(node=self._machine.id, seq=view.seq, sessions=sessions)

    async def close(self, *, stop: bool) -> None:
        return


class FakeProbe:
    """Checks reach the machine's own processes, a few milliseconds later."""

    def __init__(self, machine: Machine, cut: Cut) -> None:
        self._machine = machine
        self._cut = cut

    async def http(self, host: str, port: int, path: str, *, tls: bool) -> int:
        await self._reach()
        return 200 if self._machine.answers(port) else 503

    async def tcp(self, host: str, port: int) -> None:
        await self._reach()
        if not self._machine.answers(port):
            raise ConnectionRefusedError(111, "refused")

    async def _reach(self) -> None:
        await asyncio.sleep(0.003)
        await self._cut.through()


def _found(process: Process) -> Found:
    return Found(task=process.launch.task, started=process.started, exit=process.exit)
