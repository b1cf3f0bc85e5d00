"""What to do next: Actions are frozen data that print as sentences; a Plan is what one decision found.

An action is committed as a whole or not at all. `launches`, where an action has it, is the app's launch record
that is written with it, so that no failure is counted twice or never; None leaves the record as it is.
"""

from collections.abc import Mapping

import msgspec

from kato.model.deployment import Launches, Progress
from kato.model.node import Resources
from kato.model.task import Task


class Place(msgspec.Struct, frozen=True, tag="place"):
    """Launch a task. The task says where."""

    task: Task

    def __str__(self) -> str:
        return f"place {self.task.id} on {self.task.node}"


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take a task out of the balancer; `task` is the task as it is now."""

    task: Task
    reason: str

    def __str__(self) -> str:
        return f"drain {self.task.id}: {self.reason}"


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Stop a task; an end that is not `expected` is counted here. `task` is the task as it is now."""

    task: Task
    reason: str
    expected: bool = True
    launches: Launches | None = None

    def __str__(self) -> str:
        return f"stop {self.task.id}: {self.reason}"


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Remove a task that is over, with its status and any kill of it; an end that nobody wished is counted."""

    task: Task
    reason: str
    launches: Launches | None = None

    def __str__(self) -> str:
        return f"forget {self.task.id}: {self.reason}"


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """A task has ended by itself and is not replaced: it stays for what its status says, and holds nothing."""

    task: Task
    reason: str
    launches: Launches | None = None

    def __str__(self) -> str:
        return f"keep {self.task.id}: {self.reason}"

    @property
    def kept(self) -> Task:
        """The task as it stays."""
        return msgspec.structs.replace(
            self.task, goal="done", resources=Resources(), ports=(), reason=self.reason, expected=True
        )


class Count(msgspec.Struct, frozen=True, tag="count"):
    """Write how launching an app has gone (attempts; failures that are forgiven). None removes the record."""

    app: str
    launches: Launches | None
    reason: str

    def __str__(self) -> str:
        return f"count for {self.app}: {self.reason}"


class Advance(msgspec.Struct, frozen=True, tag="advance"):
    """A step of a deployment is finished."""

    progress: Progress
    steps: int

    def __str__(self) -> str:
        return f"deployment {self.progress.deployment}: step {self.progress.finished} of {self.steps} is finished"


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """A deployment is over: its record, its progress and its locks go."""

    deployment: str
    success: bool
    reason: str

    def __str__(self) -> str:
        return f"deployment {self.deployment} is over: {self.reason}"


class Clear(msgspec.Struct, frozen=True, tag="clear"):
    """A user's kill (task id) or nudge (app id) was carried out or is moot."""

    what: str
    id: str
    reason: str
    launches: Launches | None = None

    def __str__(self) -> str:
        return f"clear {self.what} of {self.id}: {self.reason}"


Action = Place | Drain | Stop | Forget | Keep | Count | Advance | Finish | Clear


class Refusal(msgspec.Struct, frozen=True, order=True):
    """One filter's no. nodes: how many said it; nearest: what the best of them has, where that can be measured."""

    nodes: int
    filter: str
    phrase: str
    nearest: str = ""

    def __str__(self) -> str:
        nodes = f"{self.nodes} node{'' if self.nodes == 1 else 's'}"
        return f"{self.phrase}: {self.nearest or nodes}"


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Why `count` tasks of an app are missing. The commonest refusal comes first.

    until: epoch seconds, where only time must pass; None otherwise.
    """

    app: str
    count: int
    refusals: tuple[Refusal, ...] = ()
    reason: str = ""
    until: float | None = None

    def __str__(self) -> str:
        words = self.reason or "; ".join(map(str, self.refusals)) or "its turn has not come"
        return f"{self.app} waits for {self.count} task{'' if self.count == 1 else 's'}: {words}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision found. Applying `actions` in order and deciding again yields none.

    waits: by app. wake_at: epoch seconds at which time alone would change the answer, None for never.
    price_before, price_after: $/h of nodes that carry tasks, None where a price is not known.
    """

    actions: tuple[Action, ...] = ()
    waits: Mapping[str, Wait] = {}
    wake_at: float | None = None
    price_before: float | None = None
    price_after: float | None = None
