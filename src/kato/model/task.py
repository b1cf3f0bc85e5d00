"""A Task is a decision (this app, this version, on this node); a Status is what its node says became of it."""

from enum import StrEnum
from typing import Literal

import msgspec

from kato.model.node import Resources


class TaskState(StrEnum):
    """Mesos' task states, in the order in which a task passes through them."""

    STAGING = "TASK_STAGING"
    STARTING = "TASK_STARTING"
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"
    FINISHED = "TASK_FINISHED"
    FAILED = "TASK_FAILED"
    KILLED = "TASK_KILLED"
    ERROR = "TASK_ERROR"
    LOST = "TASK_LOST"

    @property
    def ended(self) -> bool:
        """Whether the task is over and will not change again."""
        return self in _ENDED


_ENDED = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED, TaskState.ERROR, TaskState.LOST})


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Placed by the leader, for one life. It exists until its end is known and then is forgotten.

    version: the app version that it was launched from; config: that version's `config_version`. A task is
    of an old configuration if `config` differs from the app's.
    ports: host ports, in the order of `App.ports`. created: epoch seconds of the decision.
    incarnation: of the cell when it was placed.
    goal: `run`, then `drain` (out of the balancer), then `stop`. It only ever advances. Or `done`: it has ended by
    itself, is not to be replaced, and is kept for what its status says; it holds no resources and no ports.
    goal_since: epoch seconds of the last change of goal; goal_seq: the `plan/seq` that it was committed with.
    reason: why it drains or stops. expected: whether that was wished for, so that it counts as no failure.
    """

    id: str
    app: str
    version: str
    config: str
    node: str
    attempt: int
    incarnation: int = 1
    created: float
    resources: Resources = Resources()
    ports: tuple[int, ...] = ()
    goal: Literal["run", "drain", "stop", "done"] = "run"
    goal_since: float = 0.0
    goal_seq: int = 0
    reason: str = ""
    expected: bool = False

    def serves(self, status: "Status | None") -> bool:
        """Whether it is capacity for its callers: meant to run, running, healthy by every check, and ready."""
        return status is not None and status.ready and self.goal == "run" and status.healthy

    def finished(self, status: "Status | None") -> bool:
        """Whether it has ended well and is not to be replaced."""
        return status is not None and self.goal == "done" and status.state is TaskState.FINISHED


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What one health check of a task has seen so far. Times are epoch seconds.

    Failures during the grace period before the first success are not counted (Marathon's meaning).
    """

    alive: bool = False
    consecutive_failures: int = 0
    first_success: float | None = None
    last_success: float | None = None
    last_failure: float | None = None
    cause: str | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a task last answered to a readiness check. body: the beginning of it, as text."""

    check: str
    status: int
    content_type: str
    body: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about one task from its node. `seq` rises with each; an older one never replaces a newer.

    started, ended: epoch seconds. pid: of its first process, on its node. exit_code and signal: never both;
    neither, when ended, means unknown.
    health: one entry a health check, in the app's order; empty where the app has none.
    ready: latched once all readiness checks passed (at once where there are none).
    responses: the last answers to those of them that are to be kept.
    """

    task: str
    app: str
    node: str
    state: TaskState
    seq: int
    started: float | None = None
    pid: int | None = None
    ended: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    health: tuple[Health, ...] = ()
    ready: bool = False
    responses: tuple[Response, ...] = ()

    @property
    def healthy(self) -> bool:
        """Running, and alive by every check; a task without checks is healthy as soon as it runs."""
        return self.state is TaskState.RUNNING and all(check.alive for check in self.health)
