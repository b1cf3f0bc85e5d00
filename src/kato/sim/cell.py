"""A simulated cell: machines that stay, and lives of Káto on them that come and go, over one store in memory.

The lives run the real `Node`; only its hands are fake. A crash severs the hands first and cancels after, since
`finally` does not run under kill -9.
"""

import asyncio
import random
import uuid
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kato.api.wish import Wishes, at_once
from kato.config import Config
from kato.drivers.runtime import Launch
from kato.machine import Drivers
from kato.master import decide_inline
from kato.model.action import Plan
from kato.model.errors import StoreUnavailable, Unavailable
from kato.model.node import Node as Facts
from kato.model.node import Resources
from kato.model.world import World
from kato.node import Node
from kato.plan import Recall
from kato.sim.clock import EPOCH, OWNER, VirtualLoop
from kato.sim.faults import DistantStore, SharedEngine
from kato.sim.hands import Cut, FakeBalancer, FakeProbe, FakeRuntime
from kato.sim.machine import Behaviour, Machine
from kato.store import Range
from kato.store.ledger import Ledger

T = TypeVar("T")


def wall() -> float:
    """Epoch seconds on virtual time."""
    return EPOCH + asyncio.get_running_loop().time()


class Signature(NamedTuple):
    """Who writes, and the World that its leader had decided on when it sent that."""

    life: "Life"
    decided: World


class Life:
    """One life of Káto on a machine, from its start to its crash. decided: what its leader last decided on."""

    def __init__(self, machine: Machine, engine: SharedEngine, rng: random.Random) -> None:
        self.machine = machine
        self.name = machine.id
        self.crashed = asyncio.Event()
        self.frozen = False
        self.decided = World()
        self.store = DistantStore(engine, rng, lambda: Signature(self, self.decided), self.crash)
        self._cut = Cut()
        self._context = copy_context()
        self._context.run(OWNER.set, self)
        drivers = Drivers(
            runtimes={"process": FakeRuntime(machine, self._cut)},
            balancer=FakeBalancer(machine, self._cut),
            probe=FakeProbe(machine, self._cut),
            facts=self._facts,
        )
        config = Config(data=machine.folder, roles=("master", "agent", "border"))

        def new_id() -> str:
            return str(uuid.UUID(int=rng.getrandbits(128)))

        self.node = Node(
            config, self.store, drivers, clock=wall, new_id=new_id, memory=machine.folder, decide=self._decide
        )
        self.wishes = Wishes(store=self.store, mirror=self.node.mirror, clock=wall, uuid=new_id, aside=at_once)

    # -- faults -------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """kill -9, now."""
        self._cut.sever()
        self.store.cut()
        self.thaw()
        self.crashed.set()

    def heal(self) -> None:
        """The store, of which it was cut off, is back."""
        if not self.crashed.is_set():
            self.store.heal()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing until `thaw`, and believes then that no time has passed."""
        self.frozen = True
        _loop().freeze(self)

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        _loop().thaw(self)

    # -- living -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Lives until it crashes, or finds no store at its start. Whatever else ends it is a fault of Káto."""
        try:
            async with asyncio.TaskGroup() as group:
                node = group.create_task(self.node.run(), context=self._context)
                ready = group.create_task(self._settle(), context=self._context)
                await self.crashed.wait()
                for task in (node, ready):
                    task.cancel()
        except* StoreUnavailable:
            if self.node.mirror.revision:
                raise
            self.crash()

    async def ask(self, request: Coroutine[Any, Any, T]) -> T:
        """Has it do what a user asks for."""
        return await asyncio.get_running_loop().create_task(request, context=self._context)

    async def _settle(self) -> None:
        """As the api does when it starts."""
        await self.node.mirror.reached(1)
        while True:
            try:
                return await self.wishes.settle()
            except Unavailable:
                await asyncio.sleep(1.0)

    async def _decide(self, world: World, now: float, recall: Recall) -> Plan:
        self.decided = world
        return await decide_inline(world, now, recall)

    def _facts(self) -> Facts:
        return Facts(
            id=self.machine.id,
            hostname=self.machine.id,
            machine_id=self.machine.id,
            resources=Resources(cpus=40.0, mem=16_384.0, disk=100_000.0),
            region="here",
            zone=f"zone-{self.machine.id}",
            runtimes=("process",),
        )


class SimulatedCell:
    """Machines m1, m2, … over one store, with their disks in `folder`. behave, lingers: as Machine has them."""

    def __init__(
        self,
        machines: int,
        folder: Path,
        behave: Callable[[Launch], Behaviour],
        lingers: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.engine = SharedEngine()
        self.rng = rng
        self.crashes = 0
        self.away = False
        self.machines: list[Machine] = []
        for n in range(1, machines + 1):
            disk = folder / f"m{n}"
            disk.mkdir()
            self.machines.append(Machine(f"m{n}", disk, wall, behave, lingers))
        self._lives: dict[str, Life] = {}

    def lives(self) -> list[Life]:
        """The lives that are up and do something."""
        return [life for life in self._lives.values() if not life.crashed.is_set() and not life.frozen]

    def cut(self) -> None:
        """The store goes away, for everybody."""
        self.away = True
        for life in self._lives.values():
            life.store.cut()

    def heal(self) -> None:
        """It is back, and so are all who were cut off."""
        self.away = False
        for life in self._lives.values():
            life.heal()

    def replace(self) -> None:
        """A new store takes the place of the old one, which is lost; machines and tasks are as they were."""
        self._become(SharedEngine())

    def put_back(self, copy: Range) -> None:
        """The store becomes what it was when it was copied; machines and tasks are as they were."""
        self._become(SharedEngine(Ledger(copy.revision, copy.items)))

    def _become(self, engine: SharedEngine) -> None:
        lost, self.engine = self.engine, engine
        self.engine.observers, lost.observers = lost.observers, []
        for life in self._lives.values():
            life.crash()

    def mend(self) -> None:
        """Ends all faults."""
        self.heal()
        for life in self._lives.values():
            life.store.mend()
            life.thaw()
        for machine in self.machines:
            machine.mend()

    async def run(self) -> None:
        """Keeps every machine's Káto alive, as a supervisor would, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for machine in self.machines:
                group.create_task(self._supervise(machine))

    async def _supervise(self, machine: Machine) -> None:
        while True:
            life = self._lives[machine.id] = Life(machine, self.engine, self.rng)
            if self.away:
                life.store.cut()
            await life.run()
            self.crashes += 1
            await asyncio.sleep(self.rng.uniform(0.05, 2.0))
            if len(self.machines) == 1:
                await self.engine.drop_leased()  # as a local store does when it is opened


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
