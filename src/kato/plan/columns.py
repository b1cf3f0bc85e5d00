"""Nodes and tasks go in; numpy columns over the nodes come out: what each has, and what is free on it.

Amounts are whole thousandths (of a core, a MiB, a gpu), as in Mesos, so that adding and taking away in any order
gives the same numbers.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kato.model.node import Node, Resources
from kato.model.task import Task
from kato.plan.constraints import Rule, admits, value

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Tasks = Mapping[str, Task]

KINDS = ("cpus", "mem", "disk", "gpus")
_FIXED = ("hostname", "region", "zone", "attributes", "runtimes", "ports")
"""What a node says of itself that constraints and filters ask for; it hardly ever changes."""


def thousandths(amount: Resources) -> tuple[int, ...]:
    """Resources as whole thousandths, in the order of `KINDS`."""
    return tuple(round(getattr(amount, kind) * 1000) for kind in KINDS)


class Field:
    """One field of all nodes: `codes[i]` says which of `values` node i has."""

    def __init__(self, found: Iterable[Hashable]) -> None:
        numbers: dict[Hashable, int] = {}
        self.codes: Ints = np.array([numbers.setdefault(each, len(numbers)) for each in found], dtype=np.int64)
        self.values = list(numbers)

    def where(self, good: Callable[..., bool]) -> Mask:
        """The nodes whose value is good; each distinct value is asked once."""
        return np.array([good(each) for each in self.values], dtype=np.bool_)[self.codes]


class Columns:
    """What the nodes are, in the order of their ids."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = [nodes[id] for id in sorted(nodes)]
        self.index = {node.id: at for at, node in enumerate(self.nodes)}
        self.size = len(self.nodes)
        self.total: Ints = (
            np.array([thousandths(n.resources) for n in self.nodes], dtype=np.int64).reshape(-1, 4).T
        )
        self.weight = 1.0 / np.maximum(self.total[:2], 1)
        self.hash: Ints = np.array([crc32(n.id.encode()) for n in self.nodes], dtype=np.int64)
        self.price = np.array([np.nan if n.price is None else n.price for n in self.nodes])
        self._fields: dict[str, Field] = {}
        self._masks: dict[tuple[Hashable, ...], Mask] = {}
        self._taken: dict[int, list[int]] | None = None

    def learn(self, at: int, node: Node) -> None:
        """Replaces what one node says of itself."""
        before, self.nodes[at] = self.nodes[at], node
        self.total[:, at] = thousandths(node.resources)
        self.weight[:, at] = 1.0 / np.maximum(self.total[:2, at], 1)
        self.price[at] = np.nan if node.price is None else node.price
        if any(getattr(before, name) != getattr(node, name) for name in _FIXED):
            self._fields.clear()
            self._masks.clear()
        if self._taken is not None:
            for port in before.taken:
                self._taken[port].remove(at)
            for port in node.taken:
                self._taken[port].append(at)

    def field(self, name: str) -> Field:
        """A field that constraints name, as a column."""
        if name not in self._fields:
            self._fields[name] = Field(value(node, name) for node in self.nodes)
        return self._fields[name]

    def runs(self, runtime: str) -> Mask:
        """The nodes where a runtime works."""
        return self._mask(
            ("runtime", runtime), lambda: self._shape("runtimes").where(lambda each: runtime in each)
        )

    def admits(self, rule: Rule) -> Mask:
        """The nodes whose value alone satisfies a rule."""
        return self._mask(("rule", rule), lambda: self.field(rule.field).where(lambda each: admits(rule, each)))

    def has_port(self, port: int) -> Mask:
        """The nodes that may give a host port to a task: it is in their ranges and nothing else has it."""
        ranges = self._mask(
            ("port", port),
            lambda: self._shape("ports").where(lambda each: any(low <= port <= high for low, high in each)),
        )
        if self._taken is None:
            self._taken = defaultdict(list)
            for at, node in enumerate(self.nodes):
                for taken in node.taken:
                    self._taken[taken].append(at)
        if not self._taken.get(port):
            return ranges
        free = ranges.copy()
        free[self._taken[port]] = False
        return free

    def alive(self, dark: Iterable[str]) -> Mask:
        """The nodes that are not dark."""
        mask = np.ones(self.size, dtype=np.bool_)
        mask[[self.index[id] for id in dark if id in self.index]] = False
        return mask

    def _shape(self, name: str) -> Field:
        key = f"\0{name}"  # no attribute has such a name
        if key not in self._fields:
            self._fields[key] = Field(getattr(node, name) for node in self.nodes)
        return self._fields[key]

    def _mask(self, key: tuple[Hashable, ...], make: Callable[[], Mask]) -> Mask:
        if key not in self._masks:
            self._masks[key] = make()
        return self._masks[key]


class Free:
    """What is free on each node. `fork` gives one that can be changed without changing this.

    stamp: another object after every change, so that `is` tells whether anything has changed.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.amounts: Ints = columns.total.copy()
        self.tasks: Ints = np.zeros(columns.size, dtype=np.int64)
        self.ports: Ints = np.array([_width(node) for node in columns.nodes], dtype=np.int64)
        self._used: dict[int, set[int]] = {}
        self._below: dict[int, set[int]] = {}
        self.stamp = object()

    def fork(self) -> "Free":
        """A copy; ports are copied node by node, when they change."""
        twin = Free.__new__(Free)
        twin.columns = self.columns
        twin.amounts, twin.tasks, twin.ports = self.amounts.copy(), self.tasks.copy(), self.ports.copy()
        twin._used, twin._below = {}, self._used
        twin.stamp = self.stamp
        return twin

    def learn(self, node: Node) -> None:
        """Replaces what one node says of itself; what its tasks use stays used."""
        at = self.columns.index[node.id]
        before = self.columns.total[:, at].copy()
        self.columns.learn(at, node)
        self.amounts[:, at] += self.columns.total[:, at] - before
        self.ports[at] = _width(node) - sum(_given(node, port) for port in self.used(at))
        self.stamp = object()

    def used(self, at: int) -> set[int]:
        """Host ports of tasks on a node. Not to be changed."""
        own = self._used.get(at)
        return own if own is not None else self._below.get(at, _NONE)

    def holders(self, port: int) -> list[int]:
        """The nodes on which a task has this host port."""
        found = [at for at, ports in self._used.items() if port in ports]
        return found + [at for at, ports in self._below.items() if port in ports and at not in self._used]

    def take(self, tasks: Iterable[Task]) -> None:
        """Takes away what tasks use. A task of a node that is not known uses nothing."""
        self._change(tasks, -1)

    def give(self, tasks: Iterable[Task]) -> None:
        """Gives back what tasks used."""
        self._change(tasks, 1)

    def book(self, at: int, ports: Iterable[int]) -> None:
        """Takes host ports on a node."""
        self._own(at).update(ports)

    def _change(self, tasks: Iterable[Task], sign: int) -> None:
        index = self.columns.index
        found = [(index[task.node], task) for task in tasks if task.node in index]
        if not found:
            return
        self.stamp = object()
        places = np.array([at for at, _ in found], dtype=np.int64)
        known: dict[Resources, tuple[int, ...]] = {}
        rows = [
            known.get(t.resources) or known.setdefault(t.resources, thousandths(t.resources)) for _, t in found
        ]
        np.add.at(self.amounts.T, places, sign * np.array(rows, dtype=np.int64))
        np.subtract.at(self.tasks, places, sign)
        for at, task in found:
            if task.ports:
                self._ports(at, task.ports, sign)

    def _ports(self, at: int, ports: tuple[int, ...], sign: int) -> None:
        own = self._own(at)
        node = self.columns.nodes[at]
        for port in ports:
            if (port in own) == (sign > 0):
                (own.remove if sign > 0 else own.add)(port)
                if _given(node, port):
                    self.ports[at] += sign

    def _own(self, at: int) -> set[int]:
        own = self._used.get(at)
        if own is None:
            own = self._used[at] = set(self._below.get(at, ()))
        return own


_NONE: set[int] = set()


def _width(node: Node) -> int:
    """How many ports a node has for tasks."""
    taken = {port for port in node.taken if _within(node, port)}
    return sum(high - low + 1 for low, high in node.ports) - len(taken)


def _given(node: Node, port: int) -> bool:
    """Whether a port is one that the node has for tasks."""
    return port not in node.taken and _within(node, port)


def _within(node: Node, port: int) -> bool:
    return any(low <= port <= high for low, high in node.ports)
