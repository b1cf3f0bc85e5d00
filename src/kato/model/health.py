"""The outcome of one health check goes in, with what the check has seen so far; its new Health comes out. And
whether a task is what its app wishes for.
"""

import msgspec

from kato.model.app import App, HealthCheck
from kato.model.task import Health, Status, Task


def count(check: HealthCheck, health: Health, ok: bool, cause: str | None, started: float, now: float) -> Health:
    """What `check` has seen after one more outcome at `now`; started, now: epoch seconds.

    Marathon's meaning: a failure within the grace period and before the first success is noted, not counted;
    any other failure makes the task not alive until the next success.
    """
    if ok:
        first = now if health.first_success is None else health.first_success
        return msgspec.structs.replace(
            health, alive=True, consecutive_failures=0, first_success=first, last_success=now, cause=None
        )
    forgiven = health.first_success is None and now - started < check.grace_period_seconds
    failures = health.consecutive_failures + (0 if forgiven else 1)
    return msgspec.structs.replace(
        health, alive=False, consecutive_failures=failures, last_failure=now, cause=cause
    )


def unhealthy(check: HealthCheck, health: Health) -> bool:
    """Whether a task must go for what `check` has seen; `maxConsecutiveFailures` 0 never says so."""
    return 0 < check.max_consecutive_failures <= health.consecutive_failures


def ailment(app: App | None, status: Status) -> str | None:
    """Why a task must go, as a phrase; None while none of its app's checks says so."""
    if app is None or not status.health:
        return None
    for check, health in zip(app.health_checks, status.health, strict=False):
        if unhealthy(check, health):
            cause = f" ({health.cause})" if health.cause else ""
            return f"its {check.protocol} check failed {health.consecutive_failures} times in a row{cause}"
    return None


def fulfils(app: App | None, task: Task, status: Status | None) -> bool:
    """Whether a task is what its app wishes for: it serves, or has ended well; of a job only the latter counts."""
    return task.finished(status) or (task.serves(status) and not (app is not None and app.job))
