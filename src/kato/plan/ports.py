"""A task, the ports that its app asks for and a node go in; host ports for the task come out."""

from collections.abc import Sequence, Set
from zlib import crc32

from kato.model.app import ServicePort
from kato.model.node import Node


def choose(task: str, asked: Sequence[ServicePort], node: Node, used: Set[int]) -> tuple[int, ...]:
    """Host ports in the order asked: those asked for by number, and free ones for the others.

    Where to look first follows from the task's id, so that another attempt looks elsewhere. used: by other
    tasks there. Raises ValueError where too few are free (the filters have made sure of that).
    """
    given = {port.host for port in asked if port.host}
    ports: list[int] = []
    for number, port in enumerate(asked):
        if port.host:
            ports.append(port.host)
        else:
            ports.append(_free(crc32(f"{task} {number}".encode()), node, used, given))
            given.add(ports[-1])
    return tuple(ports)


def _free(start: int, node: Node, used: Set[int], given: Set[int]) -> int:
    """The first free port at or after the `start`-th of the node's, going round."""
    width = sum(high - low + 1 for low, high in node.ports)
    for step in range(width):
        port = _nth(node, (start + step) % width)
        if port not in used and port not in given and port not in node.taken:
            return port
    raise ValueError(f"no port is free on {node.id}")


def _nth(node: Node, position: int) -> int:
    for low, high in node.ports:
        if position <= high - low:
            return low + position
        position -= high - low + 1
    raise IndexError(position)
