"""Facts about this machine: the kernel's files and the configuration flow in, a Node flows out.

Which ports are taken is the one fact that is looked up again: every port of the node's ranges, and of the range of
service ports, on which anything listens. The agent leaves out those of its own tasks and of their apps' services.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from kato.agent.identity import Identity
from kato.config import Config
from kato.model.app import SERVICE_PORTS
from kato.model.node import Node, Resources

MIB = 1024 * 1024
_LISTEN = "0A"


class Facts:
    """Calling it gives the node as it is now. The fixed facts are gathered once."""

    def __init__(self, config: Config, identity: Identity) -> None:
        self._node = Node(
            id=identity.id,
            hostname=socket.gethostname(),
            machine_id=identity.machine,
            boot_id=identity.boot,
            resources=Resources(cpus=float(len(os.sched_getaffinity(0))), mem=memory(), disk=disk(config.data)),
            attributes=dict(config.attributes),
            region=config.region,
            zone=config.zone,
            latitude=config.latitude,
            longitude=config.longitude,
            price=config.price,
        )
        self._ranges = (*self._node.ports, SERVICE_PORTS)

    def __call__(self) -> Node:
        return msgspec.structs.replace(self._node, taken=listening(self._ranges))


def memory() -> float:
    """The machine's memory in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB


def disk(folder: Path) -> float:
    """The size in MiB of the file system that holds `folder`."""
    size = os.statvfs(folder)
    return size.f_blocks * size.f_frsize // MIB


def listening(ranges: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The TCP ports within inclusive `ranges` on which something on this machine listens, on any address."""
    ports = {port for table in ("/proc/net/tcp", "/proc/net/tcp6") for port in _listeners(Path(table))}
    return tuple(sorted(port for port in ports if any(low <= port <= high for low, high in ranges)))


def _listeners(table: Path) -> Iterator[int]:
    """Listening ports of one of the kernel's tables, where they come before all connections: the rest, which may
    be long, is not read. A kernel without IPv6 has no second table.
    """
    try:
        with table.open("rb", buffering=4096) as lines:
            next(lines)
            for line in lines:
                _, local, _, state, _ = line.decode("ascii").split(maxsplit=4)
                if state != _LISTEN:
                    return
                yield int(local.rpartition(":")[2], 16)
    except (FileNotFoundError, StopIteration):
        return
