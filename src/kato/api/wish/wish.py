"""A World and what is meant go in (an app goes, is restarted, tasks are killed); the Wish comes out. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

import msgspec

from kato.api.wish import find
from kato.model.app import App
from kato.model.deployment import Deployment, GroupRecord, Kill
from kato.model.errors import NotFound
from kato.model.ids import within
from kato.model.task import Task
from kato.model.world import World

History = Mapping[str, Sequence[str]]
"""App → the versions that are kept of it."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for, seen on one World.

    apps: each app as it should be, None where it should go. An app that carries `version_info` goes back to that
    configuration; tasks that were launched from it are kept.
    groups: records to write, None where one should go. restart: apps whose tasks are to be exchanged although
    nothing changed. kills: tasks to stop. cancel: deployments to end without further steps.
    """

    apps: Mapping[str, App | None] = {}
    groups: Mapping[str, GroupRecord | None] = {}
    restart: Set[str] = frozenset()
    kills: tuple[Kill, ...] = ()
    cancel: tuple[str, ...] = ()


Asked = Callable[[World], Wish]
"""What a request comes to on the newest World; it may be asked again on a newer one."""


def remove(world: World, id: str) -> Wish:
    """An app goes."""
    return Wish(apps={find.app(world, id).id: None})


def restart(world: World, id: str) -> Wish:
    """All tasks exchanged for new ones of the same configuration."""
    return Wish(apps={id: bare(find.app(world, id))}, restart=frozenset({id}))


def scale_away(world: World, tasks: Sequence[Task], *, wipe: bool = False) -> Wish:
    """Tasks killed, and their apps smaller by as many."""
    apps: dict[str, App | None] = {}
    for task in tasks:
        app = apps.get(task.app) or world.apps.get(task.app)
        if app is None:
            continue  # it is going anyway
        apps[task.app] = bare(msgspec.structs.replace(app, instances=max(app.instances - 1, 0)))
    return Wish(apps=apps, kills=kills(tasks, scale=True, wipe=wipe))


def kills(tasks: Iterable[Task], *, scale: bool = False, wipe: bool = False) -> tuple[Kill, ...]:
    """Tasks to be stopped."""
    return tuple(Kill(task=task.id, app=task.app, scale=scale, wipe=wipe) for task in tasks)


def roll_back(world: World, deployment: Deployment) -> Wish:
    """Every app that a deployment touches returns to where it was before; the deployment ends."""
    apps = {
        app: None if version is None else find.version(world, app, version)
        for app, version in deployment.original.items()
    }
    return Wish(apps=apps, cancel=(deployment.id,))


def remove_group(world: World, id: str) -> Wish:
    """A group goes, and all in it."""
    find.group(world, id)
    groups: dict[str, GroupRecord | None] = {group: None for group in world.groups if within(group, id)}
    return Wish(apps=dict.fromkeys(find.apps_in(world, id)), groups=groups)


def scale_group(world: World, id: str, factor: float) -> Wish:
    """All instances in a group multiplied, and rounded up."""
    apps: dict[str, App | None] = {}
    for each in find.apps_in(world, find.group(world, id)):
        app = world.apps[each]
        apps[each] = bare(msgspec.structs.replace(app, instances=math.ceil(app.instances * factor)))
    return Wish(apps=apps)


def group_back(world: World, id: str, version: str, history: History) -> Wish:
    """Each app in the group as it was at `version`; an app that is younger goes. One that was removed since does
    not return: its versions went with it.
    """
    apps: dict[str, App | None] = {}
    for app in find.apps_in(world, find.group(world, id)):
        then = max((each for each in history.get(app, ()) if each <= version), default=None)
        apps[app] = find.version(world, app, then) if then else None
    if all(app is None for app in apps.values()):
        raise NotFound(f"Group '{id}' does not exist in version {version}")
    return Wish(apps=apps)


def bare(app: App) -> App:
    """An app without what Káto writes into it, for comparing."""
    return msgspec.structs.replace(app, version="", version_info=None)
