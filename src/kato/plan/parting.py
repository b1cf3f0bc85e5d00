"""A World and the id of an app that is being removed go in; what is left of it, and what that waits for, comes
out.
"""

import math
from collections.abc import Iterator

from kato.model.ids import short_task
from kato.model.task import Status, Task
from kato.model.world import World
from kato.plan.drain import drained_at_last


def parts(world: World, id: str) -> bool:
    """Whether an app that nobody wishes for is not gone yet: a task of it, or its deployment, is left."""
    return id not in world.apps and (
        id in world.tasks or any(id in each.target for each in world.deployments.values())
    )


def parting(world: World, id: str, now: float) -> Iterator[str]:
    """Sentences at `now` (epoch seconds): that it is being removed, then each task that is left."""
    yield f"{id} is being removed."
    statuses = world.statuses.get(id, {})
    for _, task in sorted(world.tasks.get(id, {}).items()):
        yield f"{short_task(task.id)} on {task.node} {_awaits(world, task, statuses.get(task.id), now)}."


def _awaits(world: World, task: Task, status: Status | None, now: float) -> str:
    """What one task does, and what comes next."""
    if task.goal == "done" or (status is not None and status.state.ended):
        return "has ended"
    node, spec = world.nodes.get(task.node), world.spec(task.app, task.version)
    if node is None or task.node in world.dark:
        return f"ends once {task.node} answers again"
    if spec is not None and spec.runtime not in node.runtimes:
        notes = (each for each in node.notes if each.startswith(f"{spec.runtime}: "))
        why = "".join(f": {each.removeprefix(f'{spec.runtime}: ').rstrip('.')}" for each in notes)
        return f"ends once the {spec.runtime} runtime answers again{why}"
    match task.goal:
        case "run":
            return "still runs, and is taken out of service next"
        case "drain":
            left = _left(drained_at_last(task, removed=True), now)
            return f"ends when its last connections have, at the latest in {left}"
    if spec is None:
        return "has been asked to end"
    return f"has been asked to end, and is killed in {_left(task.goal_since + spec.kill_grace, now)} if it has not"


def _left(until: float, now: float) -> str:
    return f"{max(0, math.ceil(until - now))} s"
