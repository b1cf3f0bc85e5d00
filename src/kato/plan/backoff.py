"""How launching an app has gone, and one more end of a task, go in; how long to wait comes out.

Marathon's launch delay, kept by configuration so that scaling does not reset it. One deviation: the first
failure of a task that ran for `STEADY` seconds is forgiven, and so is an app that stays up that long.
"""

import msgspec

from kato.model.app import App
from kato.model.deployment import Failure, Launches
from kato.model.task import TaskState

STEADY = 60.0
"""Seconds of running after which earlier failures are forgiven."""
SKEW = 1.0
"""Seconds by which clocks may differ before one counts as set back."""


def delay(app: App, failures: int) -> float:
    """Seconds to wait after the `failures`-th failure in a row."""
    if failures < 1:
        return 0.0
    longest = app.max_launch_delay_seconds
    try:
        return min(longest, app.backoff_seconds * app.backoff_factor ** (failures - 1))
    except OverflowError:
        return longest


def longest_until(app: App, record: Launches, now: float) -> float:
    """The latest time at which a delay that stands at `now` can end. A later one was written by a clock that has
    been set back since.
    """
    return now + delay(app, record.failures) + SKEW


def failed(app: App, record: Launches, config: str, failure: Failure, ran: float) -> Launches:
    """The record after a task of configuration `config` ended unexpectedly, `ran` seconds after its start.

    A task that was lost with its machine is no failure of the app, and one of another configuration than the
    app's delays nothing; both are only remembered as the last failure.
    """
    if config != app.config_version:  # and the record stays that of whichever configuration was launched last
        return msgspec.structs.replace(record, last_failure=failure)
    record = msgspec.structs.replace(of_config(record, config), last_failure=failure)
    if failure.state == TaskState.LOST:
        return record
    if ran >= STEADY and not bounded(app):
        return forgiven(record)
    failures = record.failures + 1
    return msgspec.structs.replace(record, failures=failures, until=failure.time + delay(app, failures))


def bounded(app: App) -> bool:
    """Whether its failures are counted to an end, so that none is forgiven."""
    return app.restart_policy is not None and app.restart_policy.max_attempts is not None


def given_up(app: App, record: Launches) -> bool:
    """Whether it has failed more often than it may be tried again."""
    most = app.restart_policy.max_attempts if app.restart_policy else None
    return most is not None and record.config == app.config_version and record.failures > most


def of_config(record: Launches, config: str) -> Launches:
    """The record for a configuration; another one than it was kept for starts with no failures."""
    return record if record.config == config else msgspec.structs.replace(forgiven(record), config=config)


def forgiven(record: Launches) -> Launches:
    """The record without its failures and its delay."""
    return msgspec.structs.replace(record, failures=0, until=0.0)
