"""A request's words and the World come in; the Change that they ask for comes out. Marathon's meanings, pure."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import cast

import msgspec

from kato.api.wishes import Change
from kato.language.marathon import Tree, merge, read_app, read_apps, read_group
from kato.language.shape import Malformed
from kato.model.app import App
from kato.model.deployment import Deployment, GroupRecord, Kill
from kato.model.errors import Conflict, Fault, InvalidApp, InvalidInput, NotFound
from kato.model.ids import absolute, parent, within
from kato.model.task import Task
from kato.model.world import World

Json = dict[str, object]
History = Mapping[str, Sequence[str]]
Asked = Callable[[World], Change]


def find(world: World, id: str) -> App:
    """The app, or NotFound in Marathon's words."""
    app = world.apps.get(id)
    if app is None:
        raise NotFound(f"App '{id}' does not exist")
    return app


def find_version(world: World, id: str, version: str) -> App:
    """One version of an app, current or old."""
    app = world.spec(id, version)
    if app is None:
        raise NotFound(f"App '{id}' does not exist in version {version}")
    return app


# -- apps ---------------------------------------------------------------------------------------------------


def create(world: World, body: object) -> Change:
    """POST of an app."""
    app = read_app(body)
    if app.id in world.apps:
        raise Conflict(f"An app with id [{app.id}] already exists.")
    return Change(apps={app.id: app})


def update(world: World, id: str, body: Json, *, partial: bool, create: bool = True) -> Change:
    """PUT (or, with `create` false, PATCH) of one app; a body of nothing but a version goes back to it."""
    if not create:
        find(world, id)
    version = _asked_version(body)
    if version is not None:
        find(world, id)
        return Change(apps={id: find_version(world, id, version)})
    return Change(apps={id: read_app(_completed(world, {**body, "id": id}, partial))})


def update_all(world: World, bodies: Sequence[object], *, partial: bool, create: bool = True) -> Change:
    """PUT or PATCH of a list of apps."""
    given = [_identified(each, index) for index, each in enumerate(bodies)]
    if not create:
        for each in given:
            find(world, str(each["id"]))
    wanted = {str(each["id"]): _asked_version(each) for each in given}
    back = {id: find_version(world, find(world, id).id, version) for id, version in wanted.items() if version}
    rest = [_completed(world, each, partial) for each in given if each["id"] not in back]
    return Change(apps={**back, **{app.id: app for app in read_apps(rest)}})


def remove(world: World, id: str) -> Change:
    """DELETE of an app."""
    return Change(apps={find(world, id).id: None})


def restart(world: World, id: str) -> Change:
    """All tasks exchanged for new ones of the same configuration."""
    return Change(apps={id: _unversioned(find(world, id))}, restart=frozenset({id}))


def scale_away(world: World, tasks: Sequence[Task], *, wipe: bool = False) -> Change:
    """Tasks killed, and their apps smaller by as many."""
    apps: dict[str, App | None] = {}
    for task in tasks:
        app = apps.get(task.app) or world.apps.get(task.app)
        if app is None:
            continue  # it is going anyway
        apps[task.app] = _unversioned(msgspec.structs.replace(app, instances=max(app.instances - 1, 0)))
    return Change(apps=apps, kills=kills(tasks, scale=True, wipe=wipe))


def kills(tasks: Iterable[Task], *, scale: bool = False, wipe: bool = False) -> tuple[Kill, ...]:
    """Wishes to stop tasks."""
    return tuple(Kill(task=task.id, app=task.app, scale=scale, wipe=wipe) for task in tasks)


def roll_back(world: World, deployment: Deployment) -> Change:
    """Every app that a deployment touches returns to where it was before; the deployment ends."""
    apps = {
        app: None if version is None else find_version(world, app, version)
        for app, version in deployment.original.items()
    }
    return Change(apps=apps, cancel=(deployment.id,))


def _asked_version(body: Json) -> str | None:
    """The version that a body goes back to: Marathon takes "version" only alone or with "id"."""
    version = body.get("version")
    if version is None:
        return None
    if body.keys() - {"id", "version"}:
        raise InvalidApp([Fault("/", "The 'version' field may only be combined with the 'id' field.")])
    if not isinstance(version, str):
        raise Malformed([Fault("/version", "must be text, a version such as 2026-01-01T00:00:00.000Z")])
    return version


def _identified(body: object, index: int) -> Json:
    if not isinstance(body, dict):
        raise Malformed([Fault(f"({index})", "must be an object")])
    if not isinstance(body.get("id"), str):
        raise Malformed([Fault(f"({index})/id", "must be text" if "id" in body else "is missing")])
    return {**body, "id": absolute(body["id"])}


def _completed(world: World, body: Json, partial: bool) -> Json:
    current = world.apps.get(str(body["id"]))
    return merge(current, body) if partial and current is not None else body


def _unversioned(app: App) -> App:
    return msgspec.structs.replace(app, version="", version_info=None)


# -- groups -------------------------------------------------------------------------------------------------


def group_exists(world: World, id: str) -> bool:
    """Whether a user named the group, or something lies in it."""
    return id == "/" or id in world.groups or any(within(other, id) for other in _held(world, id))


def find_group(world: World, id: str) -> str:
    """The group's id, or NotFound in Marathon's words."""
    if not group_exists(world, id):
        raise NotFound(f"Group '{id}' does not exist")
    return id


def create_group(world: World, id: str, body: Json) -> Change:
    """POST of a group."""
    tree = read_group(body, base=id)
    if tree.id in world.apps:
        raise Conflict(f"An app with id [{tree.id}] already exists.")
    if group_exists(world, tree.id):
        raise Conflict(f"Group {tree.id} is already created. Use PUT to change this group.")
    return _as_tree(world, tree, body)


def update_group(world: World, id: str, body: Json, history: History) -> Change:
    """PUT of a group: it becomes what the body says, whole; what the body leaves out altogether stays as it is.

    A body with `version` goes back to that version, one with `scaleBy` multiplies all instances. history: the
    versions of each app in the group.
    """
    if isinstance(version := body.get("version"), str):
        return _group_back(world, find_group(world, id), version, history)
    if body.get("scaleBy") is not None:
        return _group_scaled(world, find_group(world, id), body["scaleBy"])
    tree = read_group({**body, "id": id} if id != "/" else body, base="/")
    if tree.id in world.apps:
        raise Conflict(f"An app with id [{tree.id}] already exists.")
    return _as_tree(world, tree, body)


def remove_group(world: World, id: str) -> Change:
    """DELETE of a group and all in it."""
    find_group(world, id)
    groups: dict[str, GroupRecord | None] = {group: None for group in world.groups if within(group, id)}
    return Change(apps=dict.fromkeys(_held(world, id)), groups=groups)


def _held(world: World, group: str) -> list[str]:
    return [app for app in world.apps if app != group and within(app, group)]


def _as_tree(world: World, tree: Tree, body: Json) -> Change:
    kept_apps, kept_groups, kept_dependencies = _kept(world, tree.id, body)
    apps: dict[str, App | None] = {}
    apps.update({id: None for id in _held(world, tree.id) if id not in kept_apps})
    apps.update({app.id: app for app in tree.apps})
    groups: dict[str, GroupRecord | None] = {}
    groups.update({id: None for id in world.groups if within(id, tree.id) and id not in kept_groups})
    for record in tree.groups:
        current = world.groups.get(record.id)
        groups[record.id] = current if current and record.id in kept_dependencies else record
    return Change(apps=apps, groups=groups)


def _kept(world: World, id: str, body: Json) -> tuple[set[str], set[str], set[str]]:
    """Apps, groups, and dependencies of groups, that stay since the body has no word of them at all."""
    apps: set[str] = set()
    groups: set[str] = set()
    dependencies: set[str] = set()
    for group, words in _nodes(id, body):
        if words.get("apps") is None:
            apps.update(app for app in world.apps if parent(app) == group and app != group)
        if words.get("groups") is None:
            apps.update(app for app in _held(world, group) if parent(app) != group)
            groups.update(each for each in world.groups if each != group and within(each, group))
        if words.get("dependencies") is None:
            dependencies.add(group)
    return apps, groups, dependencies


def _nodes(id: str, body: Json) -> Iterator[tuple[str, Json]]:
    yield id, body
    for each in cast(Collection[Json], body.get("groups") or ()):
        yield from _nodes(absolute(str(each["id"]), id), each)


def _group_scaled(world: World, id: str, factor: object) -> Change:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor <= 1000:
        raise Malformed([Fault("/scaleBy", "must be a number from 0 to 1000")])
    apps: Mapping[str, App | None] = {
        app: _unversioned(
            msgspec.structs.replace(world.apps[app], instances=math.ceil(world.apps[app].instances * factor))
        )
        for app in _held(world, id)
    }
    return Change(apps=apps)


def _group_back(world: World, id: str, version: str, history: History) -> Change:
    """Each app in the group as it was at `version`; an app that is younger goes. One that was removed since does
    not return: its versions went with it.
    """
    apps: dict[str, App | None] = {}
    for app in _held(world, id):
        then = max((each for each in history.get(app, ()) if each <= version), default=None)
        apps[app] = find_version(world, app, then) if then else None
    if all(app is None for app in apps.values()):
        raise NotFound(f"Group '{id}' does not exist in version {version}")
    return Change(apps=apps)


# -- tasks --------------------------------------------------------------------------------------------------


def chosen_tasks(world: World, app: str, host: str | None) -> list[Task]:
    """The tasks of an app that live, on one host or (`None`, `*`) on all."""
    statuses = world.statuses.get(app, {})
    return [
        task
        for task in world.tasks.get(app, {}).values()
        if not (task.id in statuses and statuses[task.id].state.ended) and _on(world, task, host)
    ]


def find_task(world: World, app: str, id: str) -> Task:
    """A task of an app, by its id or its instance's; NotFound in Marathon's words."""
    for task in chosen_tasks(world, app, None):
        if id in (task.id, task.id.rpartition("._")[0]):
            return task
    raise NotFound(f"Task '{id}' does not exist")


def tasks_by_id(world: World, ids: object) -> list[Task]:
    """The tasks that a list of ids names; those that are gone are passed over."""
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise Malformed([Fault("/ids", "must be a list of task ids")])
    for id in ids:
        if "." not in id:
            raise InvalidInput(f"Invalid task id {id}")
    wanted = set(ids)
    living = (task for app in world.tasks for task in chosen_tasks(world, app, None))
    return [task for task in living if task.id in wanted or task.id.rpartition("._")[0] in wanted]


def _on(world: World, task: Task, host: str | None) -> bool:
    if host in (None, "*"):
        return True
    node = world.nodes.get(task.node)
    return node is not None and host in (node.id, node.hostname, node.address)
