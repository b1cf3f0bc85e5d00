"""A simulated cell: machines that stay, and lives of Káto on them that come and go, over one store in memory.

The lives run the real `Node`; only its hands are fake. A crash severs the hands first and cancels after, since
`finally` does not run under kill -9.
"""

import asyncio
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from kato.api.wish import Wishes
from kato.config import Config
from kato.drivers.runtime import Launch
from kato.master import decide_inline
from kato.model.node import Node as Facts
from kato.model.node import Resources
from kato.node import Drivers, Node
from kato.sim.clock import EPOCH
from kato.sim.machine import Behaviour, Cut, FakeBalancer, FakeProbe, FakeRuntime, Machine
from kato.store.engine import Engine
from kato.store.memory import MemoryStore


def wall() -> float:
    """Epoch seconds on virtual time."""
    return EPOCH + asyncio.get_running_loop().time()


class CrashAt:
    """The faults of a store that end a life of Káto at one of its writes, before or after it is committed."""

    def __init__(self, write: int, when: Literal["before", "after"], crash: Callable[[], None]) -> None:
        self._write = write
        self._when = when
        self._crash = crash

    async def before(self, write: int) -> None:
        await self._befall("before", write)

    async def after(self, write: int) -> None:
        await self._befall("after", write)

    async def _befall(self, when: str, write: int) -> None:
        if when == self._when and write >= self._write:
            self._crash()
            await asyncio.get_running_loop().create_future()


class Life:
    """One life of Káto on a machine, from its start to its crash."""

    def __init__(self, machine: Machine, engine: Engine, rng: random.Random) -> None:
        self._cut = Cut()
        self._machine = machine
        self.crashed = asyncio.Event()
        self.store = MemoryStore(engine)
        drivers = Drivers(
            runtimes={"process": FakeRuntime(machine, self._cut)},
            balancer=FakeBalancer(machine, self._cut),
            probe=FakeProbe(machine, self._cut),
            facts=self._facts,
        )
        config = Config(data=Path("/simulated"), roles=("master", "agent", "border"))

        def new_id() -> str:
            return str(uuid.UUID(int=rng.getrandbits(128)))

        self.node = Node(config, self.store, drivers, clock=wall, new_id=new_id, decide=decide_inline)
        self.wishes = Wishes(store=self.store, mirror=self.node.mirror, clock=wall, uuid=new_id)

    def crash_at(self, write: int, when: Literal["before", "after"]) -> None:
        """Ends this life at its `write`-th write from now on."""
        self.store.faults = CrashAt(self.store.writes + write, when, self.crash)

    def crash(self) -> None:
        """kill -9, now."""
        self._cut.sever()
        self.store.cut()
        self.crashed.set()

    async def run(self) -> None:
        """Lives until it crashes. Whatever else ends it is a fault of Káto, and raises."""
        async with asyncio.TaskGroup() as group:
            node = group.create_task(self.node.run())
            ready = group.create_task(self._settle())
            await self.crashed.wait()
            for task in (node, ready):
                task.cancel()

    async def _settle(self) -> None:
        await self.node.mirror.reached(1)
        await self.wishes.settle()

    def _facts(self) -> Facts:
        return Facts(
            id=self._machine.id,
            hostname=self._machine.id,
            machine_id=self._machine.id,
            resources=Resources(cpus=40.0, mem=16_384.0, disk=100_000.0),
            region="here",
            zone=f"zone-{self._machine.id}",
            runtimes=("process",),
        )


class SimulatedCell:
    """Machines m1, m2, … over one store. behave: how a task behaves that is launched."""

    def __init__(self, machines: int, behave: Callable[[Launch], Behaviour], rng: random.Random) -> None:
        self.engine = Engine()
        self.rng = rng
        self.crashes = 0
        self.machines = [Machine(f"m{n}", behave, wall) for n in range(1, machines + 1)]
        self._lives: dict[str, Life] = {}

    def lives(self) -> list[Life]:
        """The lives that are up."""
        return [life for life in self._lives.values() if not life.crashed.is_set()]

    async def run(self) -> None:
        """Keeps every machine's Káto alive, as a supervisor would, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for machine in self.machines:
                group.create_task(self._supervise(machine))

    async def _supervise(self, machine: Machine) -> None:
        while True:
            life = self._lives[machine.id] = Life(machine, self.engine, self.rng)
            await life.run()
            self.crashes += 1
            await asyncio.sleep(self.rng.uniform(0.05, 2.0))
            if len(self.machines) == 1:
                await self.engine.drop_leased()  # as a local store does when it is opened
