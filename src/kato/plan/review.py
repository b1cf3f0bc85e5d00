"""All that is known of one app goes in; what happens to its tasks comes out: the ends, the moves, the places.

A review looks at one app alone. Where the new tasks go is for `place`, which sees all apps and all nodes.
"""

from collections.abc import Callable, Mapping, Set

import msgspec

from kato.model.action import Action, Clear, Drain, Forget, Keep, Stop
from kato.model.app import App
from kato.model.deployment import Failure, Kill, Launches, Nudge
from kato.model.frontend import BorderAck
from kato.model.health import ailment, fulfils
from kato.model.node import Node
from kato.model.task import Status, Task, TaskState
from kato.plan import backoff
from kato.plan.drain import drained, drained_at_last
from kato.plan.rollout import Move, Runner, roll_out


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a review looks at. app: its goal, with the instances of now; None where it is to go. lacks: its secrets
    that nobody has set."""

    id: str
    app: App | None
    tasks: Mapping[str, Task]
    statuses: Mapping[str, Status]
    launches: Launches | None
    kills: Mapping[str, Kill]
    nudge: Nudge | None
    nodes: Mapping[str, Node]
    borders: Mapping[str, BorderAck]
    dark: Set[str]
    lacks: tuple[str, ...] = ()
    spec: Callable[[str, str], App | None]


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. actions: in order, without Count and Place. record: how launching has gone, with what these
    actions say of it; forgiven: why it is a better one still, empty where it is not. standing: tasks that have not
    ended, and those that are done. given_up: whether no more is launched, since too many have failed.

    place: how many tasks to launch; missing: how many are wished for and not there; settled: exactly the goal
    is there and serves. until: epoch seconds before which nothing is launched. wake_at: epoch seconds at which
    the answer changes by itself. drains: whether it hangs on what the borders say; held: and on which images nodes
    have. lacks: its secrets that nobody has set, without which none is launched.
    """

    actions: tuple[Action, ...] = ()
    record: Launches
    forgiven: str = ""
    standing: tuple[Task, ...] = ()
    place: int = 0
    missing: int = 0
    settled: bool = False
    until: float | None = None
    wake_at: float | None = None
    drains: bool = False
    held: bool = False
    lacks: tuple[str, ...] = ()
    given_up: bool = False

    @property
    def attempts(self) -> int:
        """Launches so far; what stands counts too, so that no id is ever given twice."""
        return max(self.record.attempts, max((task.attempt for task in self.standing), default=0))


def review(subject: Subject, now: float) -> Review:
    """What happens to the tasks of one app at `now` (epoch seconds)."""
    return _Reviewer(subject, now).review()


class _Reviewer:
    """The work on one review: piles of tasks that each step sorts further."""

    def __init__(self, subject: Subject, now: float) -> None:
        self.subject = subject
        self.app = subject.app
        self.now = now
        self.record = subject.launches or Launches(app=subject.id)
        self.forgiven = ""
        self.forgets: list[Action] = []
        self.moves: list[Action] = []
        self.standing: list[Task] = []
        self.runners: list[Runner] = []
        self.draining: list[Task] = []
        self.wakes: list[float] = []

    def review(self) -> Review:
        nudged = self._nudged()
        self._sort()
        self._drains()
        move = self._compare()
        self._forgive(move)
        until = self._until()
        given_up = self.app is not None and backoff.given_up(self.app, self.record)
        if given_up:
            move = msgspec.structs.replace(move, place=0)
        self.wakes += [until] if until is not None and move.place else []
        return Review(
            actions=(*nudged, *self.forgets, *self.moves, *self._moot_kills()),
            record=self.record,
            forgiven=self.forgiven,
            standing=tuple(self.standing),
            place=move.place if until is None else 0,
            missing=move.missing,
            settled=self._settled(),
            until=until if move.place else None,
            wake_at=min(self.wakes, default=None),
            drains=bool(self.draining),
            held=bool(move.held),
            lacks=self.subject.lacks if move.missing else (),
            given_up=given_up,
        )

    def _nudged(self) -> list[Action]:
        """A user's wish that the launch delay be forgotten."""
        if self.subject.nudge is None:
            return []
        launches = self._written(backoff.forgiven(self.record))
        return [Clear("nudge", self.subject.id, "its delay is reset", launches)]

    def _sort(self) -> None:
        """Puts each task on its pile: done, ended, gone with its node, leaving, sick, wished away, or running.

        A task of a dark node stays on its pile: nobody knows what became of it. It is no capacity while its node
        is dark. One whose node is no more in the cell is replaced, which is no failure of the app.

        The ends come first, in the order of time, then who is sick: each is written with the record it leaves.
        """
        ended: list[tuple[Task, Status]] = []
        sick: list[tuple[Task, Status, str]] = []
        tasks, statuses = self.subject.tasks, self.subject.statuses
        kills, dark, nodes = self.subject.kills, self.subject.dark, self.subject.nodes
        for id in sorted(tasks):
            task = tasks[id]
            status = statuses.get(task.id)
            if task.goal == "done":
                self._done(task, status)
                continue
            if status is not None and status.state.ended:
                ended.append((task, status))
                continue
            if task.node not in nodes:
                self.forgets.append(Forget(task, "its node is gone"))
                continue
            self.standing.append(task)
            if task.goal == "drain":
                self.draining.append(task)
            elif task.goal == "run":
                answers, version = task.node not in dark, self._version(task)
                judged = answers and (version is None or version.restarts != "none")
                why = ailment(version, status) if status is not None and judged else None
                if task.id in kills:
                    self._retire(task, "killed by request")
                elif why is not None and status is not None:
                    sick.append((task, status, why))
                else:
                    runs = status is not None and status.state is TaskState.RUNNING
                    self.runners.append(Runner(task, answers and fulfils(version, task, status), runs))
        for task, status in sorted(ended, key=lambda pair: (pair[1].ended or 0.0, pair[0].id)):
            self._forget(task, status)
        for task, status, why in sick:
            self._dismiss(task, status, why)

    def _version(self, task: Task) -> App | None:
        """The app as the task was launched from it; its checks are those that its status lists."""
        if self.app is not None and task.config == self.app.config_version:
            return self.app
        return self.subject.spec(task.app, task.version)

    def _forget(self, task: Task, status: Status) -> None:
        """A task whose end is known. Only an end that nobody asked for counts; it is kept where it is the last."""
        how, launches, last = _end(status), None, False
        if task.goal == "run" and task.id not in self.subject.kills:
            version = self._version(task)
            well = status.state is TaskState.FINISHED and version is not None and version.restarts != "any"
            if not well:
                message, ended = status.message or how, status.ended or self.now
                launches = self._failed(task, status, status.state, message, ended)
            last = well or self._is_last(status)
        if last and self.app is not None and task.config == self.app.config_version:
            self.forgets.append(Keep(task, how, launches))
            self.standing.append(task)
            self.runners.append(Runner(task, status.state is TaskState.FINISHED, runs=False))
        else:
            self.forgets.append(Forget(task, how, launches))

    def _is_last(self, status: Status) -> bool:
        """Whether a task that failed is not replaced. One that never ran is: nothing has been done yet."""
        begun = status.started is not None or status.state is TaskState.LOST
        if self.app is None or not begun:
            return False
        return self.app.restarts == "none" or backoff.given_up(self.app, self.record)

    def _done(self, task: Task, status: Status | None) -> None:
        """A task that is done stands for as long as its configuration is wished for, and nobody wishes it away."""
        if task.id in self.subject.kills:
            self.forgets.append(Forget(task, "killed by request"))
        elif self.app is None or task.config != self.app.config_version:
            self.forgets.append(Forget(task, "its version is not wished for any more"))
        else:
            self.standing.append(task)
            self.runners.append(Runner(task, task.finished(status), runs=False))

    def _dismiss(self, task: Task, status: Status, ailment: str) -> None:
        """A task that its health check has given up: it goes at once, and that is a failure."""
        launches = self._failed(task, status, TaskState.KILLED, f"Task was killed: {ailment}", self.now)
        self.moves.append(Stop(task, ailment, expected=False, launches=launches))

    def _failed(self, task: Task, status: Status, state: TaskState, message: str, time: float) -> Launches | None:
        """Counts a failure; the record to be written with the action that ends its task."""
        if self.app is None:
            return None
        node = self.subject.nodes.get(task.node)
        failure = Failure(
            task=task.id,
            app=task.app,
            version=task.version,
            node=task.node,
            host=node.hostname if node else task.node,
            state=state,
            message=message,
            time=min(time, self.now),
        )
        ran = time - status.started if status.started is not None else 0.0
        return self._written(backoff.failed(self.app, self.record, task.config, failure, ran))

    def _drains(self) -> None:
        """Stops what has drained."""
        for task in self.draining:
            status = self.subject.statuses.get(task.id)
            if status is None or not status.healthy:
                self.moves.append(Stop(task, f"{task.reason}; it serves no more"))
            elif drained(task, self.subject.borders, self.subject.dark, self.now, self.app is None):
                self.moves.append(Stop(task, f"{task.reason}; it has drained"))
            else:
                self.wakes.append(drained_at_last(task, self.app is None))

    def _compare(self) -> Move:
        """The goal against what runs."""
        if self.app is None:
            for runner in self.runners:
                self._retire(runner.task, "its app is removed")
            return Move(0, 0)
        leaving = len(self.standing) - len(self.runners)
        move = roll_out(self.app, self.runners, leaving, self.subject.nodes)
        if self.subject.lacks and move.missing:  # what runs is not stopped for what cannot be started
            move = Move(0, move.missing, (), (*move.held, *move.victims))
        config = self.app.config_version
        for task in move.victims:
            scaled = task.config == config or not self.app.instances
            self._retire(task, "the app is scaled down" if scaled else "a newer version takes its place")
        return move

    def _retire(self, task: Task, reason: str) -> None:
        """Takes a task out of service: out of the balancers first, where it serves and one of them lives."""
        status = self.subject.statuses.get(task.id)
        if status is not None and status.state.ended:
            kept = {each.task.id: each.launches for each in self.forgets if isinstance(each, Keep)}
            self.forgets = [each for each in self.forgets if not (isinstance(each, Keep) and each.task is task)]
            self.forgets.append(Forget(task, reason, kept.get(task.id)))
            self.standing = [each for each in self.standing if each is not task]
            self.runners = [each for each in self.runners if each.task is not task]
            return
        watched = not self.subject.borders.keys() <= self.subject.dark
        version = self._version(task)
        if watched and task.serves(status) and (version is None or version.balanced):
            self.moves.append(Drain(task, reason))
        else:
            self.moves.append(Stop(task, reason))

    def _forgive(self, move: Move) -> None:
        """An app that is whole and stays up is forgiven its failures. What goes by this plan does not matter."""
        if self.app is None or not self.record.failures or self.record.config != self.app.config_version:
            return
        if backoff.bounded(self.app):
            return
        stays = [runner for runner in self.runners if runner.task not in move.victims]
        if move.missing or not stays or not all(runner.runs for runner in stays):
            return
        last = self.record.last_failure
        since = max(self._started(runner.task) for runner in stays)
        steady = (since if last is None else max(since, last.time)) + backoff.STEADY
        if self.now >= steady:
            self.record = backoff.forgiven(self.record)
            self.forgiven = f"it has stayed up for {backoff.STEADY:.0f} seconds"
        else:
            self.wakes.append(steady)

    def _started(self, task: Task) -> float:
        started = self.subject.statuses[task.id].started
        return task.created if started is None else started

    def _moot_kills(self) -> list[Action]:
        """Kills of tasks that are gone (a task that is forgotten now takes its kill along)."""
        moot = [kill for kill in self.subject.kills.values() if kill.task not in self.subject.tasks]
        return [Clear("kill", kill.task, "the task is gone") for kill in moot]

    def _until(self) -> float | None:
        """When the launch delay is over, where there is one. One that a clock set back would prolong is over."""
        if self.app is None or self.record.config != self.app.config_version:
            return None
        until = self.record.until
        return until if self.now < until <= backoff.longest_until(self.app, self.record, self.now) else None

    def _settled(self) -> bool:
        if self.app is None:
            return not self.standing
        config = self.app.config_version
        return (
            not self.moves
            and len(self.standing) == len(self.runners) == self.app.instances
            and all(runner.serves and runner.task.config == config for runner in self.runners)
        )

    def _written(self, record: Launches) -> Launches | None:
        """Takes a record that an action is to write; None where it says nothing new."""
        if record == self.record:
            return None
        self.record = record
        return record


def _end(status: Status) -> str:
    """How a task ended, as words."""
    match status.state:
        case TaskState.LOST:
            return "it was lost"
        case TaskState.ERROR:
            return f"it could not start: {status.message}" if status.message else "it could not start"
    if status.signal is not None:
        return f"it ended by signal {status.signal}"
    if status.exit_code is not None:
        return f"it ended with exit code {status.exit_code}"
    return "it ended, nobody knows how"
