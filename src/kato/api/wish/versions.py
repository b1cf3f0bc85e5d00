"""An app's versions that are kept go in; those that may go come out. Pure."""

from collections.abc import Collection, Sequence

from kato.model.world import World

KEPT_VERSIONS = 25
"""Versions of an app that are kept (Marathon's `--zk_max_versions` is of that order)."""


def outdated(held: Sequence[str], used: Collection[str], exists: bool) -> list[str]:
    """Which of an app's versions may go: beyond the newest 25, or all of an app that is gone, but none in use."""
    newest = sorted(held, reverse=True)[: KEPT_VERSIONS if exists else 0]
    return [version for version in held if version not in newest and version not in used]


def in_use(world: World, app: str) -> set[str]:
    """Versions of an app that its pointer, its tasks or running deployments need, and those it may go back to."""
    used = set(world.launches[app].whole) if app in world.launches and app in world.apps else set()
    used |= {task.version for task in world.tasks.get(app, {}).values()}
    for each in world.deployments.values():
        used |= {version for side in (each.original, each.target) if (version := side.get(app))}
    if app in world.apps:
        used.add(world.apps[app].version)
    return used
