"""The simulation: a seed flows in; hours of a cell's life with faults pass; a report or a breach flows out.

It runs the real Node code on a clock that jumps, over the store in memory, with fake hands. The invariants are
checked after every committed revision; at the end the faults stop, and everything wished for must come true.
"""

import asyncio
import random
from typing import NamedTuple

import msgspec

from kato.api.wish import Wish
from kato.drivers.runtime import Launch
from kato.model.app import App, HealthCheck, Network, PortDefinition, UpgradeStrategy
from kato.model.errors import KatoError, Locked, StoreUnavailable
from kato.model.world import World
from kato.sim.cell import SimulatedCell
from kato.sim.clock import run
from kato.sim.invariants import Breach, Invariants
from kato.sim.machine import Behaviour
from kato.store import Events

CALM = 900.0
"""Seconds without faults within which everything wished for must be true."""
STRATEGIES = ((1.0, 1.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 0.0))
TROUBLES = (
    Behaviour(boots=1e9),
    Behaviour(boots=0.2, dies=1.5),
    Behaviour(boots=0.2, dies=90.0),
    Behaviour(boots=0.5, hangs=20.0),
    Behaviour(boots=1.0, ignores_term=True),
    Behaviour(refused=True),
)
WELL = (Behaviour(boots=0.1), Behaviour(boots=2.0), Behaviour(boots=0.5, ignores_term=True))


class Report(NamedTuple):
    """What happened in one simulation."""

    seed: int
    seconds: float
    revisions: int
    crashes: int
    wishes: int
    tasks: int


def simulate(seed: int, *, minutes: float = 10.0, machines: int = 3) -> Report:
    """One simulated cell for `minutes` of faults and then a calm. Raises Breach, or whatever Káto fails with."""
    return run(_Simulation(seed, machines).live(minutes * 60))


class _Simulation:
    def __init__(self, seed: int, machines: int) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._calm = False
        self._wishes = 0
        self._cell = SimulatedCell(machines, self._behave, self._rng)
        self._invariants = Invariants()
        self._cell.engine.observers.append(self._observe)
        self._breach: Breach | None = None
        self._breached = asyncio.Event()

    async def live(self, seconds: float) -> Report:
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            cell = group.create_task(self._cell.run())
            watch = group.create_task(self._watch())
            await self._trouble(clock() + seconds)
            self._calm = True
            await self._heal()
            await self._come_true(clock() + CALM)
            cell.cancel()
            watch.cancel()
        return Report(
            self._seed,
            clock(),
            self._cell.engine.ledger.revision,
            self._cell.crashes,
            self._wishes,
            len(self._invariants.born),
        )

    def _observe(self, events: Events) -> None:
        """Káto itself must not catch a breach, so it is kept here and raised beside it."""
        try:
            self._invariants.observe(events)
        except Breach as breach:
            self._breach = self._breach or breach
            self._breached.set()

    async def _watch(self) -> None:
        await self._breached.wait()
        assert self._breach is not None
        raise self._breach

    # -- trouble ------------------------------------------------------------------------------------------------

    async def _trouble(self, until: float) -> None:
        """Wishes and faults, at random times."""
        clock = asyncio.get_running_loop().time
        while clock() < until:
            await asyncio.sleep(self._rng.expovariate(1 / 8.0))
            deed = self._rng.choice((self._wish, self._wish, self._wish, self._crash, self._kill))
            await deed()

    async def _wish(self) -> None:
        """A random user's wish, at a random master. It may be refused; nobody may know what became of it."""
        lives = self._cell.lives()
        if not lives:
            return
        life = self._rng.choice(lives)
        force = self._rng.random() < 0.4
        try:
            async with asyncio.timeout(20):
                await life.node.mirror.reached(1)
                await life.wishes.commit(self._change, force=force)
            self._wishes += 1
        except (Locked, StoreUnavailable, TimeoutError):
            return

    def _change(self, world: World) -> Wish:
        rng = self._rng
        names = [f"/shop/{name}" for name in ("db", "cart", "web", "mail")]
        name = rng.choice(names)
        known = world.apps.get(name)
        match rng.randrange(6):
            case 0 if known:
                return Wish(apps={name: msgspec.structs.replace(known, instances=rng.randrange(6))})
            case 1 if known:
                return Wish(apps={name: None})
            case 2 if known:
                return Wish(apps={name: known}, restart={name})
            case 3:
                wanted = {each: self._app(each) for each in rng.sample(names, rng.randrange(1, 5))}
                return Wish(apps=dict(wanted))
            case 4 if world.deployments:
                undone = world.deployments[rng.choice(sorted(world.deployments))]
                back = {id: world.spec(id, old) if old else None for id, old in undone.original.items()}
                return Wish(apps=back, cancel=(undone.id,))
        return Wish(apps={name: self._app(name)})

    def _app(self, id: str, *, well: bool = False) -> App:
        rng = self._rng
        least, over = rng.choice(STRATEGIES)
        behaviours = WELL if well or rng.random() < 0.6 else TROUBLES
        check = HealthCheck(
            path="/", port_index=0, interval_seconds=2, grace_period_seconds=10, delay_seconds=0, timeout_seconds=1
        )
        return App(
            id=id,
            cmd=msgspec.json.encode(rng.choice(behaviours)).decode(),
            instances=rng.randrange(1, 6),
            cpus=rng.choice((0.1, 0.5, 0.7)),
            mem=64.0,
            networks=(Network(),),
            port_definitions=(PortDefinition(),),
            constraints=rng.choice(((), (), (("hostname", "MAX_PER", "10"),), (("hostname", "GROUP_BY"),))),
            health_checks=(check,) if rng.random() < 0.7 else (),
            dependencies=("/shop/db",) if id != "/shop/db" and rng.random() < 0.5 else (),
            backoff_seconds=1.0,
            max_launch_delay_seconds=60.0,
            upgrade_strategy=UpgradeStrategy(minimum_health_capacity=least, maximum_over_capacity=over),
            kill_selection=rng.choice(("YOUNGEST_FIRST", "OLDEST_FIRST")),
        )

    async def _crash(self) -> None:
        """kill -9 of a random Káto, now or at one of its next writes."""
        if lives := self._cell.lives():
            life = self._rng.choice(lives)
            if self._rng.random() < 0.3:
                life.crash()
            else:
                life.crash_at(self._rng.randrange(1, 25), self._rng.choice(("before", "after")))

    async def _kill(self) -> None:
        """kill -9 of a random task, behind Káto's back."""
        running = [(machine, each) for machine in self._cell.machines for each in machine.running()]
        if running:
            machine, process = self._rng.choice(running)
            machine.kill(process.launch.task)

    def _behave(self, launch: Launch) -> Behaviour:
        behaviour = msgspec.json.decode(launch.app.cmd or "{}", type=Behaviour)
        jitter = self._rng.uniform(1.0, 1.2)
        return msgspec.structs.replace(behaviour, boots=behaviour.boots * jitter)

    # -- calm ---------------------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """The user puts right what was bad: every app gets a version that works."""
        while True:
            for life in self._cell.lives():
                life.store.faults = None
            if lives := self._cell.lives():
                life = self._rng.choice(lives)
                try:
                    async with asyncio.timeout(60):
                        await life.node.mirror.reached(1)
                        await life.wishes.commit(self._cure, force=True)
                    return
                except (KatoError, TimeoutError):
                    pass
            await asyncio.sleep(1.0)

    def _cure(self, world: World) -> Wish:
        return Wish(apps={id: self._app(id, well=True) for id in sorted(world.apps)})

    async def _come_true(self, until: float) -> None:
        """Waits until everything wished for is true, for as long as it may take."""
        clock = asyncio.get_running_loop().time
        while missing := self._missing():
            if clock() > until:
                raise Breach(f"after {CALM:.0f} s of calm: " + "; ".join(missing))
            await asyncio.sleep(1.0)

    def _missing(self) -> list[str]:
        held = self._invariants.held
        wrong = [f"{key} is still there" for key in held if key.startswith(("deployments/", "locks/", "kills/"))]
        apps = {key.removeprefix("apps"): record for key, record in held.items() if key.startswith("apps/")}
        for id in apps:
            app = self._invariants.wished(id)
            tasks = self._invariants.tasks(id)
            assert app is not None
            good = [t for t in tasks if t.config == app.config_version and t.serves(self._invariants.status(t))]
            if len(good) != app.instances or len(tasks) != app.instances:
                wrong.append(f"{id} has {len(good)} good tasks of {len(tasks)}, wished {app.instances}")
        known = {task.id for task in self._invariants.tasks()}
        for machine in self._cell.machines:
            wrong += [
                f"{p.launch.task} runs on {machine.id} unwished"
                for p in machine.running()
                if p.launch.task not in known
            ]
        return wrong
