"""An app's missing tasks and what is free on the nodes go in; tasks with a node and ports, and refusals, come out.

Identical tasks are placed together, in rounds that give a node at most one: filters that explain say where a
task may go; among those nodes the ones with the fewest tasks of the app come first, then the ones with the most
free, then a stable hash decides.
"""

from collections.abc import Collection, Iterator
from zlib import crc32

import msgspec
import numpy as np

from kato.model.action import Refusal
from kato.model.app import App
from kato.model.ids import task_id
from kato.model.node import Resources
from kato.model.task import Task
from kato.plan.columns import KINDS, Free, Ints, Mask, thousandths
from kato.plan.constraints import Rule, room, rules, scalar
from kato.plan.ports import choose

UNITS = {"cpus": "cpus", "mem": "MiB of memory", "disk": "MiB of disk", "gpus": "gpus"}
_SPREAD = 0x9E3779B1  # odd, so that multiplying by it permutes 32-bit numbers


class Request(msgspec.Struct, frozen=True):
    """`count` more tasks of `app`, numbered after `attempts`. standing: its tasks that have not ended.

    incarnation: of the cell.
    """

    app: App
    count: int
    attempts: int
    standing: Collection[Task]
    incarnation: int = 1


class Placed(msgspec.Struct, frozen=True):
    """Where they go; and, if some found no place, which filter refuses how many nodes."""

    tasks: tuple[Task, ...]
    refusals: tuple[Refusal, ...]


class Filter(msgspec.Struct, frozen=True):
    """One filter's answer: the nodes that pass, and what it asks for. row: the resource that it measures."""

    kind: str
    phrase: str
    mask: Mask
    row: int | None = None


def place(request: Request, free: Free, alive: Mask, now: float) -> Placed:
    """Places what fits and takes it from `free`. alive: the nodes that are not dark; now: epoch seconds."""
    candidates = Candidates(request, free, alive)
    tasks: list[Task] = []
    while len(tasks) < request.count:
        chosen = candidates.choose(request.count - len(tasks))
        if not chosen.size:
            break
        candidates.fill(chosen)
        first = request.attempts + len(tasks) + 1
        tasks.extend(
            _task(request, attempt, free, int(at), candidates.need, now)
            for attempt, at in enumerate(chosen, first)
        )
    return Placed(tuple(tasks), () if len(tasks) == request.count else candidates.refusals())


def _task(request: Request, attempt: int, free: Free, at: int, need: Resources, now: float) -> Task:
    app = request.app
    id = task_id(app.id, app.config_version, attempt, request.incarnation)
    node = free.columns.nodes[at]
    ports = choose(id, app.ports, node, free.used(at))
    if ports:
        free.book(at, ports)
    return Task(
        id=id,
        app=app.id,
        version=app.version,
        config=app.config_version,
        node=node.id,
        attempt=attempt,
        incarnation=request.incarnation,
        created=now,
        goal_since=now,
        resources=need,
        ports=ports,
    )


class Spread:
    """A rule that counts: how many tasks of the app stand at each value of its field."""

    def __init__(self, rule: Rule, codes: Ints, values: int) -> None:
        self.rule = rule
        self.codes = codes
        self.placed: Ints = np.zeros(values, dtype=np.int64)

    def room(self, nodes: Ints, wished: int, step: bool = False) -> Ints:
        """How many more may come to each value, where these nodes are open."""
        open = np.bincount(self.codes[nodes], minlength=self.placed.size)
        return room(self.rule, self.placed, open, wished, step)

    def add(self, nodes: Ints) -> None:
        np.add.at(self.placed, self.codes[nodes], 1)


class Candidates:
    """The nodes as one app sees them: which could take one more of its tasks, and in which order."""

    def __init__(self, request: Request, free: Free, alive: Mask) -> None:
        app, columns = request.app, free.columns
        self.free = free
        self.need = Resources(cpus=app.cpus, mem=app.mem, disk=app.disk, gpus=app.gpus)
        self.amount = np.array(thousandths(self.need), dtype=np.int64)
        self.ports = app.ports
        self.fixed = [port.host for port in self.ports if port.host]
        self.wished = max(app.instances, len(request.standing) + request.count)
        self.seed = crc32(app.id.encode())
        self.static = [Filter("runtime", f"needs the {app.runtime} runtime", columns.runs(app.runtime))]
        self.static.append(Filter("dark", "does not answer", alive))
        self.spreads: list[Spread] = []
        for rule in rules(app):
            self.static.append(Filter("constraint", rule.phrase, columns.admits(rule)))
            if rule.counts:
                field = columns.field(rule.field)
                self.spreads.append(Spread(rule, field.codes, len(field.values)))
        self.spreads.sort(key=lambda each: each.rule.operator == "GROUP_BY")
        self.even = [each for each in self.spreads if each.rule.operator == "GROUP_BY"]
        self.own: Ints = np.zeros(columns.size, dtype=np.int64)
        self._look_around(request)
        self.open: Mask = np.ones(columns.size, dtype=np.bool_)
        for each in (*self.static, *self._resources()):
            self.open &= each.mask

    def _look_around(self, request: Request) -> None:
        """Counts the tasks that stand, of whatever version. Only CLUSTER goes by the newest configuration, once
        it has tasks: what was elsewhere before must not pin it to two places.
        """
        index = self.free.columns.index
        standing = [(index[task.node], task.config) for task in request.standing if task.node in index]
        everything = np.array([at for at, _ in standing], dtype=np.int64)
        newest = np.array([at for at, config in standing if config == request.app.config_version], dtype=np.int64)
        np.add.at(self.own, everything, 1)
        for spread in self.spreads:
            spread.add(newest if spread.rule.operator == "CLUSTER" and newest.size else everything)

    def choose(self, wanted: int) -> Ints:
        """Up to `wanted` different nodes for the next tasks, in an order of which any first part is allowed."""
        nodes = np.flatnonzero(self.open)
        step = len(self.even) > 1
        for spread in self.spreads:
            nodes = nodes[spread.room(nodes, self.wished, step)[spread.codes[nodes]] > 0]
        if not nodes.size:
            return nodes
        nodes = self._pinned(self._fewest(nodes))
        nodes = nodes[self._best(nodes, None if self.spreads else wanted)]
        for spread in self.spreads:
            codes = spread.codes[nodes]
            ranks = _ranks(codes)
            quota = spread.room(nodes, self.wished, step)[codes]
            kept = ranks < quota
            nodes, ranks, codes = nodes[kept], ranks[kept], codes[kept]
            if spread.rule.operator == "GROUP_BY":
                nodes = nodes[np.argsort(spread.placed[codes] + ranks, kind="stable")]
        return nodes[:wanted]

    def fill(self, chosen: Ints) -> None:
        """Takes the room of one task on each of the chosen nodes (ports by number are booked with the task)."""
        self.free.stamp = object()
        self.free.amounts[:, chosen] -= self.amount[:, None]
        self.free.tasks[chosen] += 1
        self.free.ports[chosen] -= len(self.ports)
        self._settle(chosen)
        fits = self.free.ports[chosen] >= len(self.ports)
        for row in np.flatnonzero(self.amount):
            fits &= self.free.amounts[row, chosen] >= self.amount[row]
        self.open[chosen] = False if self.fixed else fits

    def refusals(self) -> tuple[Refusal, ...]:
        """Which filter refuses how many nodes, each node counted at the first that does; commonest first."""
        left: Mask = np.ones(self.open.size, dtype=np.bool_)
        found: list[Refusal] = []
        for each in self._filters():
            refused = np.flatnonzero(left & ~each.mask)
            if refused.size:
                nearest = self._nearest(each, refused)
                found.append(Refusal(int(refused.size), each.kind, each.phrase, nearest))
            left &= each.mask
        return tuple(sorted(found, key=lambda refusal: -refusal.nodes))

    def _nearest(self, filter: Filter, nodes: Ints) -> str:
        """What these nodes have of what the filter asks for; empty where their number says all."""
        if filter.kind == "runtime" and nodes.size == 1:
            return f"{self.free.columns.nodes[int(nodes[0])].id} has none"
        return "" if filter.row is None else self._best_has(filter.row, nodes)

    def _best_has(self, row: int, nodes: Ints) -> str:
        """What the best of the nodes that have too little has: the emptiest of those that are large enough, or,
        where none is, the largest.
        """
        total, free = self.free.columns.total[row, nodes], np.maximum(self.free.amounts[row, nodes], 0)
        enough = total >= self.amount[row]
        first, then = (np.where(enough, free, -1), total) if enough.any() else (total, free)
        best = np.where(first == first.max(), then, -1).argmax()
        has, left = scalar(total[best] / 1000), scalar(free[best] / 1000)
        if nodes.size == 1:
            name = self.free.columns.nodes[int(nodes[0])].id
            return f"{name} has {has} ({left} free)" if total[best] else f"{name} has none"
        if not total[best]:
            return f"none of {nodes.size} nodes has any"
        return f"the {'emptiest' if enough.any() else 'largest'} of {nodes.size} nodes has {has}, {left} free"

    def _filters(self) -> Iterator[Filter]:
        yield from self.static
        resources = list(self._resources())
        nodes = np.flatnonzero(np.logical_and.reduce([each.mask for each in (*self.static, *resources)]))
        for spread in self.spreads:
            allowed = spread.room(nodes, self.wished)
            if spread.rule.operator == "GROUP_BY":
                allowed = np.maximum(allowed, spread.room(np.arange(self.open.size), self.wished))
            yield Filter("constraint", spread.rule.phrase, (allowed > 0)[spread.codes])
        yield from resources

    def _resources(self) -> Iterator[Filter]:
        for row in np.flatnonzero(self.amount):
            kind = KINDS[row]
            phrase = f"needs {_amount(self.amount[row] / 1000, UNITS[kind])}"
            yield Filter(kind, phrase, self.free.amounts[row] >= self.amount[row], int(row))
        for port in self.fixed:
            mask = self.free.columns.has_port(port).copy()
            mask[self.free.holders(port)] = False
            yield Filter("ports", f"needs host port {port}", mask)
        if self.ports:
            phrase = f"needs {len(self.ports)} free port{'' if len(self.ports) == 1 else 's'}"
            yield Filter("ports", phrase, self.free.ports >= len(self.ports))

    def _settle(self, nodes: Ints) -> None:
        np.add.at(self.own, nodes, 1)
        for spread in self.spreads:
            spread.add(nodes)

    def _fewest(self, nodes: Ints) -> Ints:
        """Those with the fewest tasks of the app; in each group apart, where groups are kept even."""
        own: Ints = self.own[nodes]
        if not own.any() or len(self.even) > 1:
            return nodes
        if not self.even:
            return np.compress(own == own.min(), nodes)
        codes = self.even[0].codes[nodes]
        fewest = np.full(self.even[0].placed.size, np.iinfo(np.int64).max)
        np.minimum.at(fewest, codes, own)
        return np.compress(own == fewest[codes], nodes)

    def _pinned(self, nodes: Ints) -> Ints:
        """Where all must share a value and none stands yet: the nodes of the value with room for the most."""
        for spread in self.spreads:
            if spread.rule.operator == "CLUSTER" and not spread.placed.any() and nodes.size:
                codes = spread.codes[nodes]
                best = int(np.bincount(codes, weights=self._fits(nodes)).argmax())
                nodes = nodes[codes == best]
        return nodes

    def _fits(self, nodes: Ints) -> Ints:
        """How many tasks fit on each of the nodes, at most those that are wished for."""
        fits: Ints = np.full(nodes.size, 1 if self.fixed else self.wished, dtype=np.int64)
        for row in np.flatnonzero(self.amount):
            fits = np.minimum(fits, self.free.amounts[row, nodes] // self.amount[row])
        return np.minimum(fits, self.free.ports[nodes] // len(self.ports)) if self.ports else fits

    def _best(self, nodes: Ints, wanted: int | None) -> Ints:
        """The order of preference, as positions in `nodes`; only the first `wanted` of it where that is given."""
        amounts, weight = self.free.amounts, self.free.columns.weight
        share = amounts[0, nodes] * weight[0, nodes] + amounts[1, nodes] * weight[1, nodes]
        chance = (((self.free.columns.hash[nodes] ^ self.seed) * _SPREAD) >> 8) & 0xFFFFF
        key = (self.own[nodes] << 42) + (((2.0 - share) * (1 << 20)).astype(np.int64) << 20) + chance
        if wanted is None or wanted >= nodes.size:
            return np.argsort(key, kind="stable")
        first = np.argpartition(key, wanted - 1)[:wanted]
        return first[np.argsort(key[first], kind="stable")]


def _amount(number: float, unit: str) -> str:
    return f"{scalar(number)} {unit.removesuffix('s') if number == 1 else unit}"


def _ranks(codes: Ints) -> Ints:
    """For each place its number among the places with the same code, from 0."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if codes.size else order
    lengths = np.diff(np.r_[starts, codes.size])
    ranks = np.empty_like(codes)
    ranks[order] = np.arange(codes.size) - np.repeat(starts, lengths)
    return ranks
