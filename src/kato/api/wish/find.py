"""Names come in; the apps, groups and tasks that they mean come out, or NotFound in Marathon's words."""

from kato.model.app import App
from kato.model.errors import NotFound
from kato.model.ids import instance_id, within
from kato.model.task import Task
from kato.model.world import World


def app(world: World, id: str) -> App:
    """The app. NotFound."""
    found = world.apps.get(id)
    if found is None:
        raise NotFound(f"App '{id}' does not exist")
    return found


def version(world: World, id: str, version: str) -> App:
    """One version of an app, current or old. NotFound."""
    found = world.spec(id, version)
    if found is None:
        raise NotFound(f"App '{id}' does not exist in version {version}")
    return found


def group(world: World, id: str) -> str:
    """The group's id. NotFound."""
    if not group_exists(world, id):
        raise NotFound(f"Group '{id}' does not exist")
    return id


def group_exists(world: World, id: str) -> bool:
    """Whether a user named the group, or something lies in it."""
    return id == "/" or id in world.groups or any(within(other, id) for other in apps_in(world, id))


def apps_in(world: World, group: str) -> list[str]:
    """The ids of the apps in a group, at any depth."""
    return [app for app in world.apps if app != group and within(app, group)]


def tasks(world: World, app: str, host: str | None = None) -> list[Task]:
    """The tasks of an app that live, on one host or (`None`, `*`) on all."""
    statuses = world.statuses.get(app, {})
    return [
        task
        for task in world.tasks.get(app, {}).values()
        if not (task.id in statuses and statuses[task.id].state.ended) and _on(world, task, host)
    ]


def task(world: World, app: str, id: str) -> Task:
    """A task of an app that lives, by its id or its instance's. NotFound."""
    for each in tasks(world, app):
        if id in (each.id, instance_id(each.id)):
            return each
    raise NotFound(f"Task '{id}' does not exist")


def _on(world: World, task: Task, host: str | None) -> bool:
    if host in (None, "*"):
        return True
    node = world.nodes.get(task.node)
    return node is not None and host in (node.id, node.hostname, node.address)
