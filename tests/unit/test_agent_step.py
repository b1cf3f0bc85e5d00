"""Every path of a task's life, as a table: what is known goes in, the next move and the status come out."""

from typing import Any

import msgspec
import pytest

from builders import app, task
from kato.agent.step import Look, Move, news, step, verdict
from kato.drivers.runtime import Exit, Found
from kato.model.app import HealthCheck, ReadinessCheck
from kato.model.errors import DriverError, DriverMissing
from kato.model.link import Assignment
from kato.model.task import Health, Status, TaskState

NOW = 1000.0
WEB = app(ports=1, health_checks=(HealthCheck(),))


def wish(goal: Any = "run", **more: Any) -> Assignment:
    of = app(ports=1, **more) if more else WEB
    return Assignment(task(of, goal=goal), of, {})


def former(goal: Any = "run") -> Assignment:
    """One that was placed before the store was put back."""
    return msgspec.structs.replace(wish(goal), former=True)


def found(exit: Exit | None = None) -> Found:
    return Found(task=task(WEB).id, started=900.0, pid=1, exit=exit)


def status(state: TaskState) -> Status:
    each = task(WEB)
    return Status(task=each.id, app=each.app, node=each.node, state=state, seq=7)


@pytest.mark.parametrize(
    ("look", "move", "state"),
    [
        (Look(wish=wish()), Move.START, TaskState.STARTING),
        (Look(wish=wish("drain")), Move.START, TaskState.STARTING),
        (Look(wish=wish("stop")), Move.WAIT, TaskState.KILLED),
        (Look(wish=former()), Move.WAIT, TaskState.LOST),
        (Look(wish=former("stop")), Move.WAIT, TaskState.KILLED),
        (Look(wish=former(), found=found()), Move.WAIT, TaskState.RUNNING),
        (Look(wish=wish(), error=DriverError("no")), Move.WAIT, TaskState.FAILED),
        (Look(wish=wish(), error=DriverMissing("no")), Move.WAIT, TaskState.ERROR),
        (Look(wish=wish(), found=found()), Move.WAIT, TaskState.RUNNING),
        (Look(wish=wish("drain"), found=found()), Move.WAIT, TaskState.RUNNING),
        (Look(wish=wish("stop"), found=found()), Move.STOP, TaskState.KILLING),
        (Look(wish=wish("stop"), found=found(), asked=True), Move.WAIT, TaskState.KILLING),
        (Look(wish=wish(), found=found(), status=status(TaskState.KILLING)), Move.STOP, TaskState.KILLING),
        (Look(wish=wish(), found=found(Exit(code=0))), Move.WAIT, TaskState.FINISHED),
        (Look(wish=wish(), found=found(Exit(code=3))), Move.WAIT, TaskState.FAILED),
        (Look(wish=wish("stop"), found=found(Exit(code=0))), Move.WAIT, TaskState.KILLED),
        (Look(wish=wish(), found=found(Exit(signal=9)), asked=True), Move.WAIT, TaskState.KILLED),
        (Look(wish=wish(), found=found(), status=status(TaskState.FAILED)), Move.WAIT, TaskState.FAILED),
        (Look(wish=None, found=found()), Move.STOP, None),
        (Look(wish=None, found=found(), asked=True), Move.WAIT, None),
        (Look(wish=None, found=found(Exit(code=0))), Move.REMOVE, None),
        (Look(wish=None, error=DriverError("no")), Move.REMOVE, None),
        (Look(wish=None), Move.LEAVE, None),
    ],
)
def test_one_move(look: Look, move: Move, state: TaskState | None) -> None:
    made = step(look, NOW)

    assert made.move is move
    assert (made.status.state if made.status else None) is state


@pytest.mark.parametrize(
    ("exit", "asked", "state", "message"),
    [
        (Exit(code=0), False, TaskState.FINISHED, "Command exited with status 0"),
        (Exit(code=0), True, TaskState.KILLED, "Command exited with status 0"),
        (Exit(code=3), False, TaskState.FAILED, "Command exited with status 3"),
        (Exit(signal=9), False, TaskState.FAILED, "Command terminated with signal Killed"),
        (Exit(signal=15), True, TaskState.KILLED, "Command terminated with signal Terminated"),
        (Exit(signal=9, oom=True), False, TaskState.FAILED, "Memory limit exceeded: the kernel killed it."),
        (Exit(), False, TaskState.FAILED, "Its keeper was killed; nobody knows how it ended."),
        (Exit(), True, TaskState.KILLED, "Its keeper was killed; nobody knows how it ended."),
        (Exit(message="gone"), False, TaskState.FAILED, "gone"),
        (Exit(rebooted=True), False, TaskState.LOST, "Lost at reboot: the machine went down under it."),
    ],
)
def test_what_an_exit_means(exit: Exit, asked: bool, state: TaskState, message: str) -> None:
    assert verdict(exit, asked=asked) == (state, message)


def test_an_end_carries_its_time_code_and_start() -> None:
    end = step(Look(wish=wish(), found=found(Exit(code=3, ended=950.0))), NOW).status

    assert end is not None
    assert (end.started, end.ended, end.exit_code, end.signal) == (900.0, 950.0, 3, None)


def test_an_end_of_which_nobody_knows_the_time_has_the_time_it_was_seen() -> None:
    end = step(Look(wish=wish(), found=found(Exit())), NOW).status

    assert end is not None
    assert end.ended == NOW


def test_a_running_task_is_ready_at_once_without_readiness_checks_and_when_latched_with_them() -> None:
    gated = wish(readiness_checks=(ReadinessCheck(),))
    looks = (
        Look(wish=wish(), found=found()),
        Look(wish=gated, found=found()),
        Look(wish=gated, found=found(), ready=True),
    )

    assert [step(look, NOW).status.ready for look in looks] == [True, False, True]  # type: ignore[union-attr]


def test_the_time_of_the_last_result_is_no_news_but_what_it_says_is() -> None:
    def running(health: Health) -> Status:
        move = step(Look(wish=wish(), found=found(), health=(health,)), NOW)
        assert move.status is not None
        return move.status

    before = running(Health(alive=True, first_success=1.0, last_success=1.0))
    again = running(Health(alive=True, first_success=1.0, last_success=2.0))
    failed = running(Health(alive=False, first_success=1.0, last_success=2.0, consecutive_failures=1))

    assert not news(before, again)
    assert news(before, failed)
    assert news(None, before)
