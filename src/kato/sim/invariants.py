"""Every committed revision flows in; a breach of what Káto promises raises, naming the revision and the key.

The checks are incremental: each looks at what the revision changed, and at sums that are kept up to date.
"""

from collections import Counter
from typing import Any

from kato.model.app import App
from kato.model.node import Node
from kato.model.task import Status, Task
from kato.plan.drain import DRAIN, DRAIN_REMOVED
from kato.plan.rollout import min_healthy, restart_strategy
from kato.store import Events, keys

_GOALS = {"run": 0, "drain": 1, "stop": 2}


class Breach(AssertionError):
    """A promise was broken."""


class Invariants:
    """What must hold after every revision, whatever failed in between."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        self.born: set[str] = set()
        self._revision = 0
        self._ports: Counter[tuple[str, int]] = Counter()

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
        return self._goals(app)[0]

    def _goals(self, app: str) -> list[App | None]:
        """What an app may be steered to: the wish in force, and what was before while its step waits."""
        versions = [getattr(self.held.get(keys.app(app)), "version", None)]
        running = [
            each for key, each in self.held.items() if key.startswith("deployments/") and not each.cancelled
        ]
        for each in sorted(running, key=lambda deployment: str(deployment.version)):
            if app in each.target:
                versions = [each.target[app], each.original[app]]
        return [self.held[keys.version(app, version)] if version else None for version in versions]

    def _task(self, key: str, before: Task | None, now: Task | None) -> None:
        if before is None and now is not None:
            self._require(now.id not in self.born, f"{now.id} was placed twice")
            self.born.add(now.id)
            self._surge(now)
        elif before is not None and now is not None:
            self._require(_GOALS[now.goal] >= _GOALS[before.goal], f"the goal of {now.id} went back")
            if now.goal != before.goal and now.expected:
                self._retired(before, now)
        elif before is not None:
            status = self.held.get(key.replace("tasks/", "status/", 1))
            self._require(status is None, f"{before.id} was forgotten and its status was not")

    def _status(self, key: str, before: Status | None, now: Status | None) -> None:
        if now is None:
            return
        self._require(key.replace("status/", "tasks/", 1) in self.held, f"{now.task} has a status and is no task")
        if before is not None:
            self._require(now.seq > before.seq, f"an older status of {now.task} replaced a newer")
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
        status = self.status(before)
        if status is None or not status.healthy or not status.ready:
            return
        if before.goal == "run" and keys.kill(now.id) not in self.held:
            serving = sum(each.serves(self.status(each)) for each in self.tasks(now.app))
            least = min(min_healthy(app) if app else 0 for app in goals)
            self._require(
                serving >= least,
                f"{now.app} has {serving} tasks that serve and needs {least} when {now.id} goes: {now.reason}",
            )
        if now.goal == "stop" and all(app is None or app.balanced for app in goals):
            self._drained(before, now)

    def _drained(self, before: Task, now: Task) -> None:
        self._require(before.goal == "drain", f"{now.id} served, and was stopped without a drain")
        lasted = now.goal_since - before.goal_since
        acks = [each for key, each in self.held.items() if key.startswith("borders/")]
        let_go = all(ack.seq >= before.goal_seq and not ack.sessions.get(now.id) for ack in acks)
        timed_out = lasted >= min(DRAIN, DRAIN_REMOVED)
        self._require(let_go or timed_out, f"{now.id} was stopped after {lasted:.1f} s while a border served it")

    def _require(self, holds: bool, words: str) -> None:
        if not holds:
            raise Breach(f"revision {self._revision}: {words}")
