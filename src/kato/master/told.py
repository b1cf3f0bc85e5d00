"""What a plan does, for the log: a plan goes in; sentences go out, each with the ids that it is about."""

from collections.abc import Iterator, Mapping

from kato.loop import Told
from kato.model.action import Action, Advance, Clear, Count, Finish, Plan
from kato.model.world import World

SPOKEN = 200
"""Actions of one plan that the log names; of a longer one it counts the rest."""


def told(plan: Plan, world: World) -> Iterator[Told]:
    """A line an action."""
    for action in plan.actions[:SPOKEN]:
        yield Told(str(action), ids(action, world))
    if len(plan.actions) > SPOKEN:
        yield Told(f"and {len(plan.actions) - SPOKEN} more actions")


def ids(action: Action, world: World) -> Mapping[str, str]:
    """What an action is about, as far as that is known."""
    match action:
        case Finish(deployment=deployment):
            return {"deployment": deployment}
        case Advance(progress=progress):
            return {"deployment": progress.deployment}
        case Count(app=app) | Clear(what="nudge", id=app):
            return _of(world, app)
        case Clear(id=task):
            app = world.kills[task].app if task in world.kills else ""
            placed = world.tasks.get(app, {}).get(task)
            return _of(world, app) | {"task": task} | ({"node": placed.node} if placed else {})
        case _:
            return _of(world, action.task.app) | {"task": action.task.id, "node": action.task.node}


def _of(world: World, app: str) -> dict[str, str]:
    deployment = world.locks.get(app)
    return {name: id for name, id in (("app", app), ("deployment", deployment)) if id}
