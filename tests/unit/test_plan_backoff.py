"""Launch delays, health counts and the end of a drain: small functions, as tables."""

import pytest

from builders import V1, V2, app, task
from kato.model.app import HealthCheck
from kato.model.deployment import Failure, Launches
from kato.model.frontend import BorderAck
from kato.model.health import count, unhealthy
from kato.model.task import Health
from kato.plan.backoff import delay, failed
from kato.plan.drain import drained


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (9**9, 5.0)])
def test_delay_grows_by_the_factor_up_to_the_longest(failures: int, seconds: float) -> None:
    given = app(backoff_seconds=1.0, backoff_factor=2.0, max_launch_delay_seconds=5.0)
    assert delay(given, failures) == seconds


def failure(state: str = "TASK_FAILED", time: float = 100.0) -> Failure:
    return Failure(
        task="t", app="/web", version=V1, node="n1", host="n1", state=state, message="it ended", time=time
    )


@pytest.mark.parametrize(
    ("before", "config", "state", "ran", "failures", "until"),
    [
        (0, V1, "TASK_FAILED", 5.0, 1, 101.0),
        (1, V1, "TASK_FAILED", 5.0, 2, 102.0),
        (5, V1, "TASK_FAILED", 60.0, 0, 0.0),  # it had run for a minute
        (5, V1, "TASK_FAILED", 59.9, 6, 132.0),
        (3, V1, "TASK_LOST", 5.0, 3, 104.0),  # the machine's fault
        (3, V2, "TASK_FAILED", 5.0, 3, 104.0),  # an old configuration's fault
    ],
)
def test_failed(before: int, config: str, state: str, ran: float, failures: int, until: float) -> None:
    given = app(backoff_factor=2.0)
    record = Launches(app="/web", attempts=7, config=V1, failures=before, until=104.0 if before else 0.0)
    found = failed(given, record, config, failure(state), ran)
    assert (found.failures, found.until, found.attempts) == (failures, until, 7)
    assert found.last_failure == failure(state)


def test_another_configuration_starts_with_no_failures() -> None:
    record = Launches(app="/web", attempts=7, config=V1, failures=9, until=999.0)
    found = failed(app(version=V2), record, V2, failure(), 1.0)
    assert (found.failures, found.until, found.config, found.attempts) == (1, 101.0, V2, 7)


CHECK = HealthCheck(grace_period_seconds=30, max_consecutive_failures=3)


def test_failures_in_the_grace_period_are_not_counted_before_the_first_success() -> None:
    health = count(CHECK, Health(), False, "refused", started=100.0, now=129.0)
    assert (health.alive, health.consecutive_failures, health.cause) == (False, 0, "refused")
    health = count(CHECK, health, False, "refused", started=100.0, now=130.0)
    assert health.consecutive_failures == 1
    health = count(CHECK, health, True, None, started=100.0, now=131.0)
    assert (health.alive, health.consecutive_failures, health.first_success, health.cause) == (
        True,
        0,
        131.0,
        None,
    )


def test_failures_in_the_grace_period_count_after_the_first_success() -> None:
    health = count(CHECK, Health(), True, None, started=100.0, now=101.0)
    health = count(CHECK, health, False, "refused", started=100.0, now=102.0)
    assert (health.alive, health.consecutive_failures, health.first_success) == (False, 1, 101.0)
    health = count(CHECK, health, True, None, started=100.0, now=103.0)
    assert (health.first_success, health.last_success, health.last_failure) == (101.0, 103.0, 102.0)


@pytest.mark.parametrize(("most", "failures", "goes"), [(3, 2, False), (3, 3, True), (3, 4, True), (0, 99, False)])
def test_unhealthy(most: int, failures: int, goes: bool) -> None:
    check = HealthCheck(max_consecutive_failures=most)
    assert unhealthy(check, Health(consecutive_failures=failures)) is goes


@pytest.mark.parametrize(
    ("seqs", "sessions", "dark", "after", "removed", "over"),
    [
        ((5, 5), {}, set(), 1.0, False, True),
        ((5, 4), {}, set(), 1.0, False, False),
        ((5, 4), {}, {"b1"}, 1.0, False, True),
        ((9, 5), {"other": 3}, set(), 1.0, False, True),
        ((5, 5), {"mine": 1}, set(), 29.9, False, False),
        ((5, 5), {"mine": 1}, set(), 30.0, False, True),
        ((5, 4), {}, set(), 5.0, True, True),
        ((), {}, set(), 0.0, False, True),
    ],
)
def test_drained(
    seqs: tuple[int, ...], sessions: dict[str, int], dark: set[str], after: float, removed: bool, over: bool
) -> None:
    leaving = task(app(), id="mine", goal="drain", goal_since=100.0, goal_seq=5)
    borders = {f"b{n}": BorderAck(node=f"b{n}", seq=seq, sessions=sessions) for n, seq in enumerate(seqs)}
    assert drained(leaving, borders, dark, 100.0 + after, removed) is over


def test_a_drain_does_not_last_longer_for_a_clock_that_was_set_back() -> None:
    holding = {"n1": BorderAck(node="n1", seq=1, sessions={task(app()).id: 1})}
    began = task(app(), goal="drain", goal_since=1000.0, goal_seq=1)
    assert not drained(began, holding, frozenset(), 1001.0, removed=False)
    assert not drained(began, holding, frozenset(), 999.5, removed=False)
    assert drained(began, holding, frozenset(), 700.0, removed=False)
