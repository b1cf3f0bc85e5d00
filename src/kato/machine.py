"""A configuration goes in; the drivers of this machine come out, opened, and are let go with their stack."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from kato.config import RESOLVERS, Config
from kato.drivers.balancer import Admitting, Balancer
from kato.drivers.dns import Dns
from kato.drivers.load import load
from kato.drivers.runtime import Runtime
from kato.folder import held
from kato.model.node import Node as Facts
from kato.model.runtimes import RUNTIMES

if TYPE_CHECKING:
    from kato.agent.checks import Probe
    from kato.agent.ship import Shipper
    from kato.drivers.dns.doors import Doors

log = structlog.get_logger()

BALANCER = "haproxy"
DNS = "server"


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """What may touch the machine, and what it says of itself. facts: the node as it is now.

    dns: None where nobody asks for names. doors: where containers do.
    """

    runtimes: Mapping[str, Runtime]
    balancer: Balancer
    probe: "Probe"
    facts: Callable[[], Facts]
    dns: Dns | None = None
    doors: "Doors | None" = None


def folder_of(config: Config, runtime: str) -> Path:
    """Where a runtime keeps its tasks."""
    return config.data / ("tasks" if runtime == "process" else runtime)


async def open_runtimes(
    config: Config,
    node: str,
    stack: contextlib.AsyncExitStack,
    descriptors: int | None = None,
    doors: "Doors | None" = None,
) -> Mapping[str, Runtime]:
    """The runtime drivers of this machine; tasks go on when they are let go. descriptors: what a task may open."""
    from kato.drivers.dns.local import answer
    from kato.drivers.runtime import Options

    opened: dict[str, Runtime] = {}
    for name in RUNTIMES:
        options = Options(
            node=node,
            folder=folder_of(config, name),
            volumes=config.data / "volumes",
            user=config.user,
            environ=config.environ,
            descriptors=descriptors,
            engine=config.engine,
            privileged=config.privileged,
            own=_own(config),
            logins=config.logins,
            answer=partial(answer, resolvers=RESOLVERS),
            doors=doors,
        )
        opened[name] = await load("runtime", name).open(options)
        stack.push_async_callback(opened[name].close)
    return opened


def _own(config: Config) -> tuple[Path, ...]:
    """The cell's folder, where its token is, and the socket of an engine that is not in the usual place."""
    engine = (config.engine or "").removeprefix("unix://")
    return (config.data, *([Path(engine)] if engine.startswith("/") else []))


async def open_doors(config: Config, stack: contextlib.AsyncExitStack) -> "Doors":
    """The doors to the cell on networks of containers; those of its earlier life are open."""
    from kato.drivers.dns.doors import Doors

    doors = await Doors.at(config.data / "doors.json", RESOLVERS)
    stack.push_async_callback(doors.close)
    return doors


async def open_dns(config: Config, stack: contextlib.AsyncExitStack) -> Dns | None:
    """The name server, where one is asked for; the machine asks it, too, where that is wished."""
    from kato.drivers.dns import Options, machine

    if config.owns_names:
        machine.check(RESOLVERS, config.data, held)
    else:
        give_names_back(config)  # a cell of this folder was killed that owned them
    if config.dns is None:
        return None
    # Its own server would be asked by it for ever: whom the machine asked before, where it asks the cell now.
    asked = machine.kept(RESOLVERS) if config.owns_names else config.resolvers
    opened: Dns = await load("dns", DNS).open(Options(listen=config.dns, resolvers=asked))
    stack.push_async_callback(opened.close)
    if config.owns_names:
        stack.callback(give_names_back, config)
        if left := machine.take(RESOLVERS, config.data, config.dns.rpartition(":")[0].strip("[]")):
            log.warning("this machine may not ask the cell for names", why=left)
    return opened


def give_names_back(config: Config) -> str | None:
    """Has the machine ask whom it asked before the cell in this folder; a sentence where that cannot be."""
    from kato.drivers.dns import machine

    if left := machine.give_back(RESOLVERS, config.data):
        log.warning("what this machine asks for names is left as it is", why=left)
    return left


async def open_shipper(config: Config, node: str, stack: contextlib.AsyncExitStack) -> "Shipper | None":
    """What ships output and log, where that is asked for."""
    if config.ship is None:
        return None
    from kato.agent.ship import Shipper

    kind, where = config.ship
    receiver = await load("receiver", kind).open(where)
    stack.push_async_callback(receiver.close)
    return Shipper(receiver, node=node, folder=config.data, clock=time.time)


async def open_balancer(config: Config, node: str, doors: "Doors | None" = None) -> Balancer:
    """The balancer of this machine, adopted where it runs, and at all doors."""
    from kato.drivers.balancer import Options

    address = config.ingress.rpartition(":")[0]
    options = Options(folder=config.data / "balancer", node=node, address=address, ingress=config.ingress)
    opened: Balancer = await load("balancer", BALANCER).open(options)
    if doors is not None and isinstance(opened, Admitting):
        doors.hear(opened.admit)
    return opened
