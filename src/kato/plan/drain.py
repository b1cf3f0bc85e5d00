"""A draining task and the borders' acknowledgements go in; whether its sessions are over comes out."""

from collections.abc import Mapping, Set

from kato.model.frontend import BorderAck
from kato.model.task import Task
from kato.plan.backoff import SKEW

DRAIN = 30.0
"""Seconds that a task may drain at most."""
DRAIN_REMOVED = 5.0
"""Seconds that a task of an app which is no longer wished for may drain at most."""


def drained(task: Task, borders: Mapping[str, BorderAck], dark: Set[str], now: float, removed: bool) -> bool:
    """Whether a draining task may be stopped.

    Either every border that is not dark has applied a view without it and holds no session for it, or it has
    drained for as long as it may; a drain that began later than `now` (the clock was set back) has, for all that
    anybody knows. now: epoch seconds.
    """
    if now >= drained_at_last(task, removed) or task.goal_since > now + SKEW:
        return True
    return all(
        ack.seq >= task.goal_seq and not ack.sessions.get(task.id)
        for node, ack in borders.items()
        if node not in dark
    )


def drained_at_last(task: Task, removed: bool) -> float:
    """Epoch seconds at which a draining task is stopped whatever the borders say."""
    return task.goal_since + (DRAIN_REMOVED if removed else DRAIN)
