"""The composition root: a configuration, a store and drivers in, a running node out. Roles meet only here."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from kato.config import Config
from kato.drivers.balancer import Balancer, Exporting, Measured
from kato.drivers.dns import Dns
from kato.founding import forget_looks, forget_other_nodes, found_cell, raise_incarnation
from kato.log import Ids, log_to
from kato.machine import Drivers, open_balancer, open_dns, open_doors, open_runtimes, open_shipper
from kato.model.node import Node as Facts
from kato.store import Store
from kato.store.mirror import Mirror, follow

if TYPE_CHECKING:
    from kato.access import Access
    from kato.agent.identity import Identity
    from kato.agent.ship import Shipper
    from kato.api.traces import Traces
    from kato.master import Decide
    from kato.master.agents import Agents

log = structlog.get_logger()

Run = Callable[[], Coroutine[Any, Any, None]]


class Node:
    """One node of a cell: the roles of its configuration over one store. clock: epoch seconds.

    memory: the folder where the agent remembers over restarts; None for nowhere. decide: how a pass is run, in a
    thread beside the event loop where None. listener: the api's socket, taken already; access: whom it lets in.
    shipper: what ships output and log, if anything does. traces: whether spans are sent.
    ready: called when it is up. stopped: set when it is to end. A role is imported when it starts, so that a node
    is as small as its roles.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        drivers: Drivers,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        memory: Path | None = None,
        decide: "Decide | None" = None,
        listener: socket.socket | None = None,
        access: "Access | None" = None,
        shipper: "Shipper | None" = None,
        traces: bool = False,
        ready: Callable[[], None] = lambda: None,
        stopped: asyncio.Event | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._drivers = drivers
        self._clock = clock
        self._new_id = new_id
        self._memory = memory
        self._decide = decide
        self._listener = listener
        self._access = access
        self._shipper = shipper
        self._traces = traces
        self._ready = ready
        self._stopped = stopped or asyncio.Event()
        self.mirror = Mirror()

    def stop(self) -> None:
        """Asks the node to end; its tasks go on."""
        self._stopped.set()

    async def run(self) -> None:
        """Runs every role until `stop`; when one fails it ends loudly, for its supervisor to start it anew."""
        from kato.master.agents import Agents

        cell = await found_cell(self._store, self._new_id)
        if self._memory is not None:
            cell = await raise_incarnation(self._store, cell, self._memory)
        facts = self._drivers.facts()
        if self._store.exclusive:
            await forget_other_nodes(self._store, facts.id)
        await forget_looks(self._store, facts.id)
        agents = Agents(store=self._store, mirror=self.mirror, master=facts.id, cell=cell)
        role: dict[str, Callable[[Facts, Agents], Run]] = {
            "master": self._master,
            "agent": self._agent,
            "border": self._border,
            "api": self._api,
        }
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(follow(self._store, self.mirror), name="mirror")]
            await self.mirror.reached(1)
            running.append(group.create_task(agents.run(), name="links"))
            running += [group.create_task(role[name](facts, agents)(), name=name) for name in self._config.roles]
            self._ready()
            await self._stopped.wait()
            for task in running:
                task.cancel()

    def _master(self, facts: Facts, _agents: "Agents") -> Run:
        from kato.master import Master, decide_in_thread

        return Master(
            store=self._store,
            mirror=self.mirror,
            id=facts.id,
            address=self._config.api,
            clock=self._clock,
            decide=self._decide or decide_in_thread,
        ).run

    def _agent(self, facts: Facts, agents: "Agents") -> Run:
        from kato.agent import Agent

        shipper = self._shipper
        agent = Agent(
            node=facts,
            link=agents,
            runtimes=self._drivers.runtimes,
            facts=self._drivers.facts,
            probe=self._drivers.probe,
            clock=self._clock,
            folder=self._memory,
            hear=shipper.hear if shipper else lambda status: None,
        )
        return _together(agent.run, partial(shipper.run, agent)) if shipper else agent.run

    def _border(self, facts: Facts, _agents: "Agents") -> Run:
        from kato.border import Border
        from kato.border.names import NameServer
        from kato.master.borders import Borders

        link = Borders(store=self._store, mirror=self.mirror)
        halves: list[Run] = [Border(link, self._drivers.balancer, facts.id).run]
        if self._drivers.dns is not None:
            halves.append(NameServer(link, self._drivers.dns, facts.id).run)
        if (doors := self._drivers.doors) is not None:
            halves.append(_after(doors.wanted, NameServer(link, doors, facts.id).run))
        return _together(*halves)

    def _api(self, facts: Facts, agents: "Agents") -> Run:
        from kato.api import Api

        balancer = self._drivers.balancer
        return Api(
            traces=self._tracing(facts) if self._traces else None,
            config=self._config,
            store=self._store,
            mirror=self.mirror,
            calls=agents,
            clock=self._clock,
            leader=self._leader,
            stop=self.stop,
            uuid=self._new_id,
            listener=self._listener,
            access=self._access,
            shipping=self._shipper,
            traffic=balancer.traffic if isinstance(balancer, Measured) else None,
            exported=balancer.exported if isinstance(balancer, Exporting) and balancer.exports else None,
        ).run

    def _tracing(self, facts: Facts) -> "Traces | None":
        """What makes spans, where OpenTelemetry is installed; said where it is not."""
        try:
            from kato.api.traces import Traces
        except ImportError as missing:
            log.warning("no traces are sent: run pip install 'katosys[otel]'", why=str(missing))
            return None
        from kato.api.version import kato_version

        return Traces(mirror=self.mirror, clock=self._clock, node=facts.id, version=kato_version())

    @property
    def idle(self) -> bool:
        """Whether it is known that nothing runs or is wished for, so that a balancer has nothing to serve."""
        world = self.mirror.world()
        return world.revision > 0 and not world.tasks and not world.apps

    def ids(self, task: str | None, app: str | None) -> Mapping[str, str]:
        """Whose a task is, and which deployment holds an app, as far as that is known."""
        world = self.mirror.world()
        app = app or next((id for id, tasks in world.tasks.items() if task in tasks), None)
        known = {"app": app, "deployment": world.locks.get(app or "")}
        return {name: id for name, id in known.items() if id}

    def _leader(self) -> str | None:
        leader = self.mirror.leader
        return leader.address if leader else None


def _together(*halves: Run) -> Run:
    """What runs them all, and ends when one fails."""

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for half in halves:
                group.create_task(half())

    return run


def _after(event: asyncio.Event, then: Run) -> Run:
    """What runs once there is need for it."""

    async def run() -> None:
        await event.wait()
        await then()

    return run


async def serve(config: Config) -> None:
    """Runs a node on this machine with its real drivers until SIGTERM, SIGINT or its api says stop.

    Raises Conflict where another cell lives in the folder, InvalidInput where the api's port is in use, and what
    opening the store and the drivers raises.
    """
    from kato.access import Access
    from kato.agent.identity import Identity
    from kato.api.server import listen
    from kato.store.opening import open_store

    async with contextlib.AsyncExitStack() as stack:
        os.umask(0o077)
        stopped = _stopped()  # from now on: what is opened below is to be closed, whenever the signal comes
        descriptors = _raise_descriptor_limit()
        identity = stack.enter_context(contextlib.closing(Identity.claim(config.data)))
        # Before anything is started, so that a cell that cannot be leaves nothing to end.
        access = Access.open(config)
        listener = stack.enter_context(contextlib.closing(listen(config.api)))
        dns = await open_dns(config, stack)
        ids = Ids(identity.id)
        shipper = await open_shipper(config, identity.id, stack)
        log_to(config.data / "cell.log", ids, config.log, ship=shipper.log if shipper else None)
        store = await open_store(config.store_url)
        stack.push_async_callback(store.close)
        drivers = await _drivers(config, identity, stack, dns, descriptors)
        node = Node(
            config,
            store,
            drivers,
            memory=config.data,
            listener=listener,
            access=access,
            shipper=shipper,
            traces=config.traces,
            ready=partial(_up, config.notify),
            stopped=stopped,
        )
        ids.known = node.ids
        await _run(node, drivers.balancer)


async def _drivers(
    config: Config, identity: "Identity", stack: contextlib.AsyncExitStack, dns: Dns | None, descriptors: int
) -> Drivers:
    from kato.agent.facts import Facts as Survey
    from kato.agent.probe import Prober

    doors = await open_doors(config, stack)
    runtimes = await open_runtimes(config, identity.id, stack, descriptors, doors)
    balancer = await open_balancer(config, identity.id, doors)
    facts = Survey(config, identity)
    return Drivers(runtimes=runtimes, balancer=balancer, probe=Prober(), facts=facts, dns=dns, doors=doors)


async def _run(node: Node, balancer: Balancer) -> None:
    """To its end; the balancer stays where it serves somebody."""
    try:
        await node.run()
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        await balancer.close(stop=node.idle)


def _stopped() -> asyncio.Event:
    """What SIGTERM and SIGINT set."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _up(supervisor: str | None) -> None:
    """Says that the cell is up to who started it and wants to hear (sd_notify(3)); nobody need listen."""
    gc.freeze()  # what stays is not looked through again and again, for 60 ms in which all else waits
    if supervisor is None:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as said:
        said.sendto(b"READY=1", "\0" + supervisor[1:] if supervisor.startswith("@") else supervisor)


def _raise_descriptor_limit() -> int:
    """The soft limit as it was, now raised to the hard one: a task takes a descriptor or two of the cell's.

    Tasks keep the former, usually 1,024: a program that uses select(2) cannot have more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a node: the first one inside nested groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
