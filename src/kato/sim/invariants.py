"""Every committed revision flows in; a breach of what Káto promises raises, naming the revision and the key.

The checks are incremental: each looks at what the revision changed, and at sums that are kept up to date.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kato.model.app import App
from kato.model.deployment import Deployment
from kato.model.health import fulfils
from kato.model.node import Node
from kato.model.task import Status, Task, TaskState
from kato.model.world import World
from kato.plan.drain import DRAIN, DRAIN_REMOVED
from kato.plan.rollout import restart_strategy
from kato.sim.cell import Signature
from kato.sim.faults import WRITER
from kato.sim.machine import Machine
from kato.sim.writers import Writers
from kato.store import Events, KeyValue, keys

_GOALS = {"run": 0, "drain": 1, "stop": 2, "done": 3}


class Breach(AssertionError):
    """A promise was broken."""


class Invariants:
    """What must hold after every revision, whatever failed in between.

    A plan is judged by what is true and by what its leader saw when it decided: facts that arrived in between are
    nobody's fault.
    """

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.held: dict[str, Any] = {}
        self.born: set[str] = set()
        self._machines = machines
        self._writers = Writers(self._require)
        self._revision = 0

    def begin_anew(self, store: Iterable[KeyValue] = ()) -> None:
        """Another store takes the place of the one that was observed; what it holds.

        Who was born stays born, but for tasks that no machine has heard of: nobody can confuse them.
        """
        self.born.intersection_update({task for each in self._machines for task in each.started})
        self.held = {item.key: keys.read(item.key, item.value) for item in store}
        self._writers = Writers(self._require)

    def observe(self, events: Events) -> None:
        """Checks one revision. Raises Breach."""
        self._revision = events.revision
        changed: list[tuple[str, Any, Any]] = []
        for event in events.items:
            before = self.held.get(event.key)
            now = keys.read(event.key, event.now.value) if event.now else None
            changed.append((event.key, before, now))
            if now is None:
                self.held.pop(event.key, None)
            else:
                self.held[event.key] = now
        self._writers.observe(changed)
        for machine in self._machines:
            self._require(not machine.twice, f"{machine.id} started {machine.twice} for a second time")
        for key, before, now in changed:
            if key.startswith("tasks/"):
                self._task(key, before, now)
            elif key.startswith("status/"):
                self._status(key, before, now)
        if any(key.startswith("tasks/") and before is None for key, before, _ in changed):
            self._capacity()

    def tasks(self, app: str | None = None) -> list[Task]:
        """The tasks that stand, of one app or of all."""
        every = (each for key, each in self.held.items() if key.startswith("tasks/"))
        return [each for each in every if app in (None, each.app)]

    def status(self, task: Task) -> Status | None:
        """What its node says of a task."""
        status: Status | None = self.held.get(keys.status(task.node, task.id))
        return status

    def wished(self, app: str) -> App | None:
        """The wish in force for an app: the newest running deployment's target, else its pointer."""
        return self._wishes(app)[0]

    def _wishes(self, app: str) -> list[App | None]:
        """What an app may be steered to: the wish in force, and what was before while its step waits."""
        versions = [getattr(self.held.get(keys.app(app)), "version", None)]
        deployments = [each for key, each in self.held.items() if key.startswith("deployments/")]
        versions = next(_targets(app, deployments), versions)
        return [self.held[keys.version(app, version)] if version else None for version in versions]

    def _goals(self, app: str) -> list[App | None]:
        """`_wishes`, as they are and as the leader saw them when it decided."""
        seen = self._seen()
        versions = next(_targets(app, list(seen.deployments.values())), None)
        if versions is None:
            return [*self._wishes(app), seen.apps.get(app)]
        return [*self._wishes(app), *(seen.spec(app, version) if version else None for version in versions)]

    @staticmethod
    def _seen() -> World:
        """The World that whoever writes now has decided on."""
        writer = WRITER.get()
        return writer.decided if isinstance(writer, Signature) else World()

    def _statuses(self, task: Task) -> tuple[Status | None, Status | None]:
        """What its node says of a task, and what the leader saw of that."""
        return self.status(task), self._seen().statuses.get(task.app, {}).get(task.id)

    def _task(self, key: str, before: Task | None, now: Task | None) -> None:
        if before is None and now is not None:
            self._require(now.id not in self.born, f"{now.id} was placed twice")
            self.born.add(now.id)
            self._surge(now)
            self._again(now)
        elif before is not None and now is not None:
            self._require(_GOALS[now.goal] >= _GOALS[before.goal], f"the goal of {now.id} went back")
            self._require(now.goal != "done" or self._over(now), f"{now.id} is done and has not ended")
            if now.goal != before.goal and now.expected:
                self._retired(before, now)
        elif before is not None:
            status = self.held.get(key.replace("tasks/", "status/", 1))
            self._require(status is None, f"{before.id} was forgotten and its status was not")
            self._finished(before)

    def _over(self, task: Task) -> bool:
        status = self.status(task)
        return status is not None and status.state.ended

    def _again(self, placed: Task) -> None:
        """What has ended well in an app that ends is not run again."""
        known = [app for app in self._goals(placed.app) if app and app.config_version == placed.config]
        well = [each for each in self.tasks(placed.app) if each.config == placed.config and self._well(each)]
        most = max((app.instances for app in known if app.restarts != "any"), default=len(well) + 1)
        self._require(len(well) < most, f"{placed.id} was placed though {len(well)} of {most} have ended well")

    def _finished(self, gone: Task) -> None:
        """What is done is forgotten only where its configuration, or so many tasks, are wished for no more."""
        if gone.goal != "done" or gone.id in self._seen().kills:
            return
        left = [each for each in self.tasks(gone.app) if each.config == gone.config]
        wanted = [app is not None and app.config_version == gone.config for app in self._goals(gone.app)]
        fewest = min((app.instances for app in self._goals(gone.app) if app is not None), default=0)
        self._require(
            not all(wanted) or len(left) >= fewest, f"{gone.id} was forgotten though what it did is wished for"
        )

    def _status(self, key: str, before: Status | None, now: Status | None) -> None:
        if now is None:
            return
        self._require(key.replace("status/", "tasks/", 1) in self.held, f"{now.task} has a status and is no task")
        if before is not None:
            self._require(now.seq > before.seq or now == before, f"an older status of {now.task} replaced a newer")
            self._require(not before.state.ended or now.state.ended, f"{now.task} came back from its end")

    def _capacity(self) -> None:
        """No node carries more than it has, and no port is given twice."""
        used: Counter[str] = Counter()
        memory: Counter[str] = Counter()
        ports: Counter[tuple[str, int]] = Counter()
        for task in self.tasks():
            status = self.status(task)
            if status is not None and status.state.ended:
                continue
            used[task.node] += round(task.resources.cpus * 1000)
            memory[task.node] += round(task.resources.mem)
            ports.update((task.node, port) for port in task.ports)
        for node in (each for each in self.held.values() if isinstance(each, Node)):
            self._require(
                used[node.id] <= node.resources.cpus * 1000 + 1, f"{node.id} has too few cpus for its tasks"
            )
            self._require(
                memory[node.id] <= node.resources.mem + 1, f"{node.id} has too little memory for its tasks"
            )
        twice = [port for port, count in ports.items() if count > 1]
        self._require(not twice, f"ports were given twice: {twice}")

    def _surge(self, placed: Task) -> None:
        """Never more tasks at once than maximumOverCapacity allows, counted among those meant to run."""
        meant = [each for each in self.tasks(placed.app) if each.goal == "run"]
        live = [each for each in meant if (status := self.status(each)) is None or not status.state.ended]
        goals = self._goals(placed.app)
        most = max(max(restart_strategy(app, len(live)).capacity, app.instances) if app else 0 for app in goals)
        self._require(len(live) <= most, f"{placed.app} has {len(live)} tasks at once and may have {most}")

    def _retired(self, before: Task, now: Task) -> None:
        """A task that served is taken out only when enough others serve, and stopped only when it has drained."""
        goals = self._goals(now.app)
        if not all(status and status.healthy and status.ready for status in self._statuses(before)):
            return
        version: App | None = self.held.get(keys.version(now.app, now.version))
        job = version is not None and version.job
        if before.goal == "run" and keys.kill(now.id) not in self.held and not job:
            others = self.tasks(now.app)
            serving = sum(self._fulfils(each) for each in others)
            least = min(_least(app) if app else 0 for app in goals)
            self._require(
                serving >= least,
                f"{now.app} has {serving} tasks that serve and needs {least} when {now.id} goes: {now.reason}",
            )
        if now.goal == "stop" and all(app is None or app.balanced for app in goals):
            self._drained(before, now, DRAIN if all(goals) else DRAIN_REMOVED)

    def _fulfils(self, task: Task) -> bool:
        """Whether a task is what its version wishes for, in truth or as the leader saw it."""
        version: App | None = self.held.get(keys.version(task.app, task.version))
        if version is not None and version.restarts != "any" and self._well(task):
            return True
        return any(fulfils(version, task, status) for status in self._statuses(task))

    def _well(self, task: Task) -> bool:
        """Whether it has ended well by itself."""
        status = self.status(task)
        ended = status is not None and status.state is TaskState.FINISHED
        return ended and task.goal in ("run", "done") and keys.kill(task.id) not in self.held

    def _drained(self, before: Task, now: Task, most: float) -> None:
        """No border may send traffic to what is stopped, but for one that would not let go for `most` seconds."""
        if not any(key.startswith("borders/") for key in self.held):
            return
        self._require(before.goal == "drain", f"{now.id} served, and was stopped without a drain")
        lasted = now.goal_since - before.goal_since
        serving = [each.id for each in self._machines if keys.border(each.id) in self.held and each.serves(now.id)]
        self._require(
            not serving or lasted > most - 0.001,
            f"{now.id} was stopped after {lasted:.1f} s while {', '.join(serving)} still served it",
        )

    def _require(self, holds: bool, words: str) -> None:
        if not holds:
            raise Breach(f"revision {self._revision}: {words}")


def _least(app: App) -> int:
    """How many tasks must serve by its minimumHealthCapacity; not asked of `plan`, which could be wrong."""
    return math.ceil(round(app.instances * app.upgrade_strategy.minimum_health_capacity, 9))


def _targets(app: str, deployments: Sequence[Deployment]) -> Iterator[list[str | None]]:
    """What running deployments make of an app, and what it was before them; the newest first."""
    running = [each for each in deployments if not each.cancelled and app in each.target]
    for each in sorted(running, key=lambda deployment: deployment.version, reverse=True):
        yield [each.target[app], each.original[app]]
