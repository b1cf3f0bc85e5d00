"""One step at a time: what is wished for one task and what its runtime knows flow in; the next move and the status
to report flow out. Pure, so that every path of a task's life is a line in a table of tests.
"""

import signal
from enum import StrEnum

import msgspec

from kato.drivers.runtime import Exit, Found
from kato.model.errors import DriverError, DriverMissing
from kato.model.link import Assignment
from kato.model.task import Health, Response, Status, TaskState


class Move(StrEnum):
    """What to do next. After WAIT the worker looks again when something has changed."""

    START = "start"
    WAIT = "wait"
    STOP = "stop"
    REMOVE = "remove"
    LEAVE = "leave"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one task.

    wish: None once a newer complete list is without it: its end is known to the leader, or it is an orphan.
    found: what the runtime knows, None before the start. error: why it could not be started.
    status: the last one reported. asked: the runtime was asked to end it.
    health: one entry a check; ready: a readiness check passed, in this life of the agent or an earlier one;
    responses: what it last answered to those whose answer is kept.
    """

    wish: Assignment | None
    found: Found | None = None
    error: DriverError | None = None
    status: Status | None = None
    asked: bool = False
    health: tuple[Health, ...] = ()
    ready: bool = False
    responses: tuple[Response, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """The next move, and the status as it is now. `status.seq` is the last one's: whoever reports raises it."""

    move: Move
    status: Status | None


def step(look: Look, now: float) -> Step:
    """One move. now: epoch seconds. States only advance, and an end is never taken back."""
    if look.wish is None:
        return Step(_release(look), look.status)
    if look.status is not None and look.status.state.ended:
        return Step(Move.WAIT, look.status)
    if look.error is not None:
        state = TaskState.ERROR if isinstance(look.error, DriverMissing) else TaskState.FAILED
        return Step(Move.WAIT, _status(look.wish, look, state, ended=now, message=str(look.error)))
    if look.found is None:
        return _launch(look.wish, look, now)
    if look.found.exit is not None:
        return Step(Move.WAIT, _end(look.wish, look, look.found.exit, now))
    return _tend(look.wish, look)


def news(before: Status | None, after: Status) -> bool:
    """Whether `after` says what a reader of `before` would care for, which the time of the last result is not."""
    if before is None:
        return True
    return _telling(before) != _telling(after)


def _telling(status: Status) -> Status:
    health = tuple(msgspec.structs.replace(each, last_success=None, last_failure=None) for each in status.health)
    return msgspec.structs.replace(status, seq=0, health=health)


def _release(look: Look) -> Move:
    """The way out of a task that nobody wishes for: stop it, then remove its record, then leave."""
    if look.found is None:
        return Move.LEAVE if look.error is None else Move.REMOVE
    if look.found.exit is not None:
        return Move.REMOVE
    return Move.WAIT if look.asked else Move.STOP


def _launch(wish: Assignment, look: Look, now: float) -> Step:
    if wish.task.goal == "stop":
        message = "It was stopped before it had been started."
        return Step(Move.WAIT, _status(wish, look, TaskState.KILLED, ended=now, message=message))
    if wish.former:
        message = "The cell's store was put back from a copy, and this node knows the task no more."
        return Step(Move.WAIT, _status(wish, look, TaskState.LOST, ended=now, message=message))
    return Step(Move.START, _status(wish, look, TaskState.STARTING))


def _tend(wish: Assignment, look: Look) -> Step:
    killing = wish.task.goal == "stop" or (look.status is not None and look.status.state is TaskState.KILLING)
    if not killing:
        return Step(Move.WAIT, _status(wish, look, TaskState.RUNNING))
    return Step(Move.WAIT if look.asked else Move.STOP, _status(wish, look, TaskState.KILLING))


def _end(wish: Assignment, look: Look, exit: Exit, now: float) -> Status:
    asked = look.asked or wish.task.goal == "stop"
    state, message = verdict(exit, asked=asked)
    return _status(
        wish,
        look,
        state,
        ended=now if exit.ended is None else exit.ended,
        exit_code=exit.code,
        signal=exit.signal,
        message=message,
    )


def verdict(exit: Exit, *, asked: bool) -> tuple[TaskState, str]:
    """What an exit means, in Mesos' words. asked: we wished for the end, so that however it ended is KILLED."""
    if exit.rebooted:
        return TaskState.LOST, exit.message or "Lost at reboot: the machine went down under it."
    if exit.oom:
        return _wished(TaskState.FAILED, asked), exit.message or "Memory limit exceeded: the kernel killed it."
    if exit.signal is not None:
        name = signal.strsignal(exit.signal) or f"number {exit.signal}"
        return _wished(TaskState.FAILED, asked), f"Command terminated with signal {name}"
    if exit.code is not None:
        state = TaskState.FAILED if exit.code else TaskState.FINISHED
        return _wished(state, asked), f"Command exited with status {exit.code}"
    return _wished(TaskState.FAILED, asked), exit.message or "Its keeper was killed; nobody knows how it ended."


def _wished(state: TaskState, asked: bool) -> TaskState:
    return TaskState.KILLED if asked else state


def _status(
    wish: Assignment,
    look: Look,
    state: TaskState,
    *,
    ended: float | None = None,
    exit_code: int | None = None,
    signal: int | None = None,
    message: str = "",
) -> Status:
    running = state in (TaskState.RUNNING, TaskState.KILLING)
    return Status(
        task=wish.task.id,
        app=wish.task.app,
        node=wish.task.node,
        state=state,
        seq=look.status.seq if look.status else 0,
        started=look.found.started if look.found else None,
        pid=look.found.pid if look.found else None,
        ended=ended,
        exit_code=exit_code,
        signal=signal,
        message=message,
        health=look.health,
        ready=running and (look.ready or not wish.app.readiness_checks),
        responses=look.responses if running else (),
    )
