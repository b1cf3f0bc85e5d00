"""The simulation: a seed flows in; hours of a cell's life with faults pass; a report or a breach flows out.

It runs the real Node code on a clock that jumps, over the store in memory, with fake hands. The invariants are
checked after every committed revision; at the end the faults stop, and everything wished for must come true.
"""

import asyncio
import logging
import random
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from kato.api.wish import Wish
from kato.drivers.runtime import Launch
from kato.model.app import App, HealthCheck, Network, PortDefinition, RestartPolicy, UpgradeStrategy
from kato.model.errors import KatoError, Locked, Unavailable
from kato.model.health import fulfils
from kato.model.world import World
from kato.sim.cell import SimulatedCell
from kato.sim.clock import OWNER, Stuck, run
from kato.sim.invariants import Breach, Invariants
from kato.sim.machine import TROUBLES, Behaviour
from kato.store import Events

CALM = 900.0
"""Seconds without faults within which everything wished for must be true."""
DISKS = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where simulated disks are: in memory, where there is such a place, since nothing there survives us anyway."""
STRATEGIES = ((1.0, 1.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (0.0, 0.0))
ILL = (
    Behaviour(boots=1e9),
    Behaviour(boots=0.2, dies=1.5),
    Behaviour(boots=0.2, dies=90.0),
    Behaviour(boots=0.5, hangs=20.0),
    Behaviour(boots=0.5, hangs=20.0, silent=True),
    Behaviour(boots=1.0, ignores_term=True),
    Behaviour(refused=True),
)
ENDING = (
    RestartPolicy(condition="none", job=True),
    RestartPolicy(condition="on-failure", job=True),
    RestartPolicy(condition="on-failure", max_attempts=3, job=True),
    RestartPolicy(condition="on-failure"),
    RestartPolicy(condition="none"),
)
WORK = (Behaviour(boots=0.1, ends=0.3), Behaviour(boots=0.1, ends=5.0), Behaviour(boots=1.0, ends=40.0))
"""How tasks behave of apps that end."""
WELL = (Behaviour(boots=0.1), Behaviour(boots=2.0), Behaviour(boots=0.5, ignores_term=True))


class Report(NamedTuple):
    """What happened in one simulation."""

    seed: int
    seconds: float
    revisions: int
    crashes: int
    wishes: int
    tasks: int


def simulate(
    seed: int,
    *,
    minutes: float = 10.0,
    machines: int = 3,
    log: bool = False,
    copies: bool = False,
    jobs: bool = False,
) -> Report:
    """One simulated cell for `minutes` of faults and then a calm. Raises Breach, or whatever Káto fails with.

    log: whether Káto's own log is shown. copies: whether the store is copied and put back, as that of one machine
    may be. jobs: whether some apps end.
    """
    with (
        _logging(log),
        tempfile.TemporaryDirectory(prefix="kato-sim-", dir=DISKS) as folder,
    ):
        simulation = _Simulation(seed, machines, Path(folder), jobs)
        try:
            return run(simulation.live(minutes * 60, copies), end=minutes * 60 + 3 * CALM)
        except (Stuck, BaseExceptionGroup) as error:
            raise simulation.breach or _first(error) from error


@contextmanager
def _logging(shown: bool) -> Iterator[None]:
    """Káto's log meanwhile: nothing, or lines with the seconds that the simulation has run."""
    before = structlog.get_config()
    level = logging.INFO if shown else logging.CRITICAL
    renderer = structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[_stamp, structlog.processors.add_log_level, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _stamp(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    writer = OWNER.get()
    event["timestamp"] = f"{asyncio.get_running_loop().time():9.3f} {getattr(writer, 'name', '-')}"
    return event


def _first(error: BaseException) -> BaseException:
    """The error inside nested groups."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class _Simulation:
    def __init__(self, seed: int, machines: int, folder: Path, jobs: bool) -> None:
        self._seed = seed
        self._jobs = random.Random(f"jobs {seed}") if jobs else None
        self._rng = random.Random(seed)
        self._wishes = 0
        self._cell = SimulatedCell(machines, folder, self._behave, self._lingers, self._rng)
        self._invariants = Invariants(self._cell.machines)
        self._cell.engine.observers.append(self._observe)
        self.breach: Breach | None = None
        self._breached = asyncio.Event()

    async def live(self, seconds: float, copies: bool) -> Report:
        clock = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            cell = group.create_task(self._cell.run())
            watch = group.create_task(self._watch())
            copying = [group.create_task(self._copies())] if copies else []
            await self._trouble(clock() + seconds)
            for task in copying:
                task.cancel()
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
            self.breach = self.breach or breach
            self._breached.set()

    async def _watch(self) -> None:
        await self._breached.wait()
        assert self.breach is not None
        raise self.breach

    # -- trouble ------------------------------------------------------------------------------------------------

    async def _trouble(self, until: float) -> None:
        """Wishes and faults, at random times."""
        clock = asyncio.get_running_loop().time
        deeds = (
            self._crash,
            self._kill,
            self._cut,
            self._outage,
            self._freeze,
            self._slow,
            self._flap,
            self._machine,
        )
        while clock() < until:
            await asyncio.sleep(self._rng.expovariate(1 / 6.0))
            await self._rng.choices((self._wish, self._rng.choice(deeds), self._replace), (50, 49, 1))[0]()

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
                await life.ask(life.wishes.commit(self._change, force=force))
            self._wishes += 1
        except (Locked, Unavailable, TimeoutError):
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
        behaviours = WELL if well or rng.random() < 0.6 else ILL
        ending = self._jobs.choice(ENDING) if self._jobs and self._jobs.random() < 0.4 else None
        if self._jobs and ending is not None and (well or self._jobs.random() < 0.7):
            behaviours = WORK
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
            restart_policy=ending,
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
                life.store.crash_at(self._rng.randrange(1, 25), self._rng.choice(("before", "after")))

    async def _kill(self) -> None:
        """kill -9 of a random task, behind Káto's back."""
        running = [(machine, each) for machine in self._cell.machines for each in machine.running()]
        if running:
            machine, process = self._rng.choice(running)
            machine.kill(process.launch.task)

    async def _cut(self) -> None:
        """One Káto and the store are parted for a while."""
        if lives := self._cell.lives():
            life = self._rng.choice(lives)
            life.store.cut()
            self._later(self._rng.uniform(1.0, 60.0), life.heal)

    async def _outage(self) -> None:
        """Nobody reaches the store for a while."""
        if not self._cell.away:
            self._cell.cut()
            self._later(self._rng.uniform(1.0, 60.0), self._cell.heal)

    async def _freeze(self) -> None:
        """SIGSTOP, and later SIGCONT, for a random Káto; often the one that leads."""
        if lives := self._cell.lives():
            leader = self._invariants.held.get("leader")
            leading = [life for life in lives if leader and life.machine.id == leader.master]
            life = self._rng.choice(leading if leading and self._rng.random() < 0.5 else lives)
            life.freeze()
            self._later(self._rng.uniform(1.0, 30.0), life.thaw)

    async def _slow(self) -> None:
        """A random Káto's writes take their time."""
        if lives := self._cell.lives():
            self._rng.choice(lives).store.slow(self._rng.uniform(5.0, 60.0), self._rng.choice((0.1, 1.0, 3.0)))

    async def _flap(self) -> None:
        """A bad line: slow, and broken again and again, so that what was given up still lands later."""
        if lives := self._cell.lives():
            life = self._rng.choice(lives)
            life.store.slow(12.0, 2.0)
            for _ in range(6):
                at = self._rng.uniform(0.0, 12.0)
                self._later(at, life.store.cut)
                self._later(at + self._rng.uniform(0.05, 0.5), life.heal)

    async def _machine(self) -> None:
        """Trouble of a random machine."""
        machine = self._rng.choice(self._cell.machines)
        machine.trouble(self._rng.choice(TROUBLES), self._rng.uniform(1.0, 60.0))

    async def _replace(self) -> None:
        """The store is lost with everything in it; the cell begins anew on machines that remember another."""
        self._cell.replace()
        self._invariants.begin_anew()

    async def _copies(self) -> None:
        """Somebody copies the store now and then, and puts the copy back."""
        rng = random.Random(f"copies {self._seed}")
        while True:
            await asyncio.sleep(rng.uniform(5.0, 60.0))
            copy = self._cell.engine.ledger.range("")
            await asyncio.sleep(rng.uniform(1.0, 60.0))
            self._cell.put_back(copy)
            self._invariants.begin_anew(copy.items)

    @staticmethod
    def _later(seconds: float, deed: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, deed)

    def _lingers(self) -> float:
        """Seconds that a drained task's sessions stay open: most are over soon, some outlast every drain."""
        return self._rng.choice((0.3, 0.3, 0.3, 4.0, 20.0, 50.0))

    def _behave(self, launch: Launch) -> Behaviour:
        behaviour = msgspec.json.decode(launch.app.cmd or "{}", type=Behaviour)
        jitter = self._rng.uniform(1.0, 1.2)
        return msgspec.structs.replace(behaviour, boots=behaviour.boots * jitter)

    # -- calm ---------------------------------------------------------------------------------------------------

    async def _heal(self) -> None:
        """The user puts right what was bad: every app gets a version that works."""
        while True:
            self._cell.mend()
            if lives := self._cell.lives():
                life = self._rng.choice(lives)
                try:
                    async with asyncio.timeout(60):
                        await life.node.mirror.reached(1)
                        await life.ask(life.wishes.commit(self._cure, force=True))
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
            new = [t for t in tasks if t.config == app.config_version]
            good = [t for t in new if fulfils(app, t, self._invariants.status(t))]
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
