"""What becomes of a task, for the log: its last status and the new one go in; sentences go out."""

from collections.abc import Iterator

from kato.model.ids import short_task
from kato.model.task import Status, TaskState


def told(before: Status | None, now: Status) -> Iterator[str]:
    """How a task is from now on, where that is another than it was."""
    name = short_task(now.task)
    if before is None or before.state is not now.state:
        yield f"{name} is {_word(now.state)}{f': {now.message}' if now.message else ''}"
    if now.state is not TaskState.RUNNING:
        return
    for n, health in enumerate(now.health):
        was = before.health[n] if before and n < len(before.health) else None
        if health.alive != (was.alive if was else False):
            words = "passes" if health.alive else f"fails: {health.cause or 'no'}"
            yield f"{name}: health check {n} {words}"
    if now.ready and now.health and not (before and before.ready):
        yield f"{name} is ready"


def _word(state: TaskState) -> str:
    return state.removeprefix("TASK_").lower()
