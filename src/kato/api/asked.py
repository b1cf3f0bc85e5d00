"""A request's words and the World come in; the Wish that they ask for comes out. Marathon's meanings, pure."""

from collections.abc import Collection, Iterator, Sequence
from typing import cast

from kato.api.wish import Wish, find
from kato.api.wish.wish import History, group_back, scale_group
from kato.language.marathon import Tree, merge, read_app, read_apps, read_group
from kato.language.shape import Malformed
from kato.model.app import App
from kato.model.deployment import GroupRecord
from kato.model.errors import Conflict, Fault, InvalidApp, InvalidInput
from kato.model.ids import absolute, instance_id, parent, within
from kato.model.task import Task
from kato.model.world import World

Json = dict[str, object]


# -- apps ---------------------------------------------------------------------------------------------------


def create(world: World, body: object) -> Wish:
    """POST of an app."""
    app = read_app(body)
    if app.id in world.apps:
        raise Conflict(f"An app with id [{app.id}] already exists.")
    return Wish(apps={app.id: app})


def update(world: World, id: str, body: Json, *, partial: bool, create: bool = True) -> Wish:
    """PUT (or, with `create` false, PATCH) of one app; a body of nothing but a version goes back to it."""
    if not create:
        find.app(world, id)
    version = _asked_version(body)
    if version is not None:
        find.app(world, id)
        return Wish(apps={id: find.version(world, id, version)})
    return Wish(apps={id: read_app(_completed(world, {**body, "id": id}, partial))})


def update_all(world: World, bodies: Sequence[object], *, partial: bool, create: bool = True) -> Wish:
    """PUT or PATCH of a list of apps."""
    given = _identified(bodies)
    if not create:
        for each in given:
            find.app(world, str(each["id"]))
    wanted = {str(each["id"]): _asked_version(each) for each in given}
    back = {id: find.version(world, find.app(world, id).id, version) for id, version in wanted.items() if version}
    rest = [_completed(world, each, partial) for each in given if each["id"] not in back]
    return Wish(apps={**back, **{app.id: app for app in read_apps(rest)}})


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


def _identified(bodies: Sequence[object]) -> list[Json]:
    """The apps of a list, each with its absolute id. Malformed, with every fault, where one is no app at all."""
    apps = [each for each in bodies if isinstance(each, dict) and isinstance(each.get("id"), str)]
    if len(apps) < len(bodies):
        read_apps([*bodies])
    try:
        return [{**each, "id": absolute(each["id"])} for each in apps]
    except InvalidInput:
        read_apps([*bodies])
        raise


def _completed(world: World, body: Json, partial: bool) -> Json:
    current = world.apps.get(str(body["id"]))
    return merge(current, body) if partial and current is not None else body


# -- groups -------------------------------------------------------------------------------------------------


def create_group(world: World, id: str, body: Json) -> Wish:
    """POST of a group."""
    tree = read_group(body, base=id)
    if tree.id in world.apps:
        raise Conflict(f"An app with id [{tree.id}] already exists.")
    if find.group_exists(world, tree.id):
        raise Conflict(f"Group {tree.id} is already created. Use PUT to change this group.")
    return _as_tree(world, tree, body)


def update_group(world: World, id: str, body: Json, history: History) -> Wish:
    """PUT of a group: it becomes what the body says, whole; what the body leaves out altogether stays as it is.

    A body with `version` goes back to that version, one with `scaleBy` multiplies all instances. history: the
    versions of each app in the group.
    """
    if isinstance(version := body.get("version"), str):
        return group_back(world, id, version, history)
    if body.get("scaleBy") is not None:
        return scale_group(world, id, _factor(body["scaleBy"]))
    tree = read_group({**body, "id": id} if id != "/" else body, base="/")
    if tree.id in world.apps:
        raise Conflict(f"An app with id [{tree.id}] already exists.")
    return _as_tree(world, tree, body)


def _as_tree(world: World, tree: Tree, body: Json) -> Wish:
    kept_apps, kept_groups, kept_dependencies = _kept(world, tree.id, body)
    apps: dict[str, App | None] = {}
    apps.update({id: None for id in find.apps_in(world, tree.id) if id not in kept_apps})
    apps.update({app.id: app for app in tree.apps})
    groups: dict[str, GroupRecord | None] = {}
    groups.update({id: None for id in world.groups if within(id, tree.id) and id not in kept_groups})
    for record in tree.groups:
        current = world.groups.get(record.id)
        groups[record.id] = current if current and record.id in kept_dependencies else record
    return Wish(apps=apps, groups=groups)


def _kept(world: World, id: str, body: Json) -> tuple[set[str], set[str], set[str]]:
    """Apps, groups, and dependencies of groups, that stay since the body has no word of them at all."""
    apps: set[str] = set()
    groups: set[str] = set()
    dependencies: set[str] = set()
    for group, words in _nodes(id, body):
        if words.get("apps") is None:
            apps.update(app for app in world.apps if parent(app) == group and app != group)
        if words.get("groups") is None:
            apps.update(app for app in find.apps_in(world, group) if parent(app) != group)
            groups.update(each for each in world.groups if each != group and within(each, group))
        if words.get("dependencies") is None:
            dependencies.add(group)
    return apps, groups, dependencies


def _nodes(id: str, body: Json) -> Iterator[tuple[str, Json]]:
    yield id, body
    for each in cast(Collection[Json], body.get("groups") or ()):
        yield from _nodes(absolute(str(each["id"]), id), each)


def _factor(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1000:
        raise Malformed([Fault("/scaleBy", "must be a number from 0 to 1000")])
    return value


# -- tasks --------------------------------------------------------------------------------------------------


def tasks_by_id(world: World, ids: object) -> list[Task]:
    """The tasks that a list of ids names; those that are gone are passed over."""
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise Malformed([Fault("/ids", "must be a list of task ids")])
    for id in ids:
        if "." not in id:
            raise InvalidInput(f"Invalid task id {id}")
    wanted = set(ids)
    living = (task for app in world.tasks for task in find.tasks(world, app))
    return [task for task in living if task.id in wanted or instance_id(task.id) in wanted]
