"""The fake hands of one life of Káto: what its drivers are asked flows in, and reaches its simulated machine."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Self

from kato.drivers import balancer, runtime
from kato.drivers.runtime import Executed, Exit, Found, Launch
from kato.model.errors import DriverError
from kato.model.frontend import BorderAck, Frontends
from kato.model.link import Output, Reached, RemovedTask
from kato.model.task import Response
from kato.sim.machine import Machine, Process

AGAIN = 0.5
"""Seconds after which the balancer wants to be given a view again of which it did not take everything."""


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
        await self._works()
        return {task: _found(process) for task, process in self._machine.processes.items()}

    async def start(self, launch: Launch) -> Found:
        await self._works()
        if launch.task not in self._machine.processes:
            process = self._machine.launch(launch)
            if process.behaviour.refused:
                process.end(Exit(message="it could not be started"))
                raise DriverError(f"{launch.task} could not be started: the simulation says so.")
        return _found(self._machine.processes[launch.task])

    async def wait(self, task: str) -> Exit:
        await self._works()
        process = self._machine.processes[task]
        await process.over.wait()
        await self._cut.through()
        return process.exit or Exit()

    async def stop(self, task: str, grace: float) -> None:
        await self._works()
        self._machine.terminate(task, grace)

    async def remove(self, task: str) -> None:
        await self._works()
        self._machine.processes.pop(task, None)

    async def kept(self) -> Sequence[RemovedTask]:
        return ()

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> Executed:
        await self._works()
        process = self._machine.processes[task]
        return Executed(0 if self._machine.clock() - process.started >= process.behaviour.boots else 1)

    async def output(
        self, task: str, stream: str, *, tail: int | None, follow: bool, since: Reached | None = None
    ) -> AsyncIterator[Output]:
        await self._works()
        yield Output(task, stream, 0, b"")

    async def close(self) -> None:
        return

    async def _works(self) -> None:
        await self._cut.through()
        if self._machine.troubled("runtime"):
            raise DriverError("The runtime does not answer: the simulation says so.")


class FakeBalancer:
    """The balancer port over a machine: it applies at once what the machine takes."""

    name = "simulated"

    def __init__(self, machine: Machine, cut: Cut) -> None:
        self._machine = machine
        self._cut = cut
        self._whole = -1
        self._again = asyncio.Event()

    @classmethod
    async def open(cls, options: balancer.Options) -> Self:
        raise DriverError(f"A simulated balancer is made, not opened (asked for {options.folder}).")

    async def apply(self, view: Frontends) -> BorderAck:
        await self._cut.through()
        machine = self._machine
        if machine.troubled("balancer"):
            raise DriverError("The balancer does not answer: the simulation says so.")
        problems: tuple[str, ...] = ()
        if machine.balance(view):
            self._whole = view.seq
        else:
            problems = ("The balancer did not take a drain.",)
            asyncio.get_running_loop().call_later(AGAIN, self._again.set)
        return BorderAck(node=machine.id, seq=self._whole, sessions=machine.sessions(), problems=problems)

    async def due(self) -> None:
        await self._again.wait()
        self._again.clear()

    async def close(self, *, stop: bool) -> None:
        return


class FakeProbe:
    """Checks reach the machine's own processes, a few milliseconds later."""

    def __init__(self, machine: Machine, cut: Cut) -> None:
        self._machine = machine
        self._cut = cut

    async def inside(self, pid: int) -> socket.socket | None:
        return None

    async def http(self, host: str, port: int, path: str, *, tls: bool, sock: socket.socket | None = None) -> int:
        return 200 if await self._answer(port) else 503

    async def response(self, host: str, port: int, path: str, *, tls: bool) -> Response:
        status = await self.http(host, port, path, tls=tls)
        return Response(check="", status=status, content_type="", body="")

    async def tcp(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        if not await self._answer(port):
            raise ConnectionRefusedError(111, "refused")

    async def _answer(self, port: int) -> bool:
        await asyncio.sleep(0.003)
        await self._cut.through()
        answer = self._machine.answers(port)
        while answer is None:  # the caller's time limit ends it
            await asyncio.get_running_loop().create_future()
        return answer


def _found(process: Process) -> Found:
    return Found(task=process.launch.task, started=process.started, exit=process.exit)
