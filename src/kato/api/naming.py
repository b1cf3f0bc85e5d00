"""Who names a thing of the cell's, a secret or a volume: a World goes in; apps come out."""

from collections.abc import Callable, Iterator

from kato.model.app import App
from kato.model.world import World


def naming(world: World, does: Callable[[App], bool]) -> list[str]:
    """The apps that do, in the version that is wished for or that a task of theirs runs."""
    return sorted({id for id, app in _standing(world) if does(app)})


def _standing(world: World) -> Iterator[tuple[str, App]]:
    yield from world.apps.items()
    for id, tasks in world.tasks.items():
        for version in {task.version for task in tasks.values()}:
            app = world.spec(id, version)
            if app is not None:
                yield id, app
