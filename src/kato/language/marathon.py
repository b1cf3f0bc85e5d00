"""Marathon's JSON comes in, an app, a list of apps or a group, as plain data; Apps and GroupRecords come out.

The same functions serve files (`strict`: an unknown key is a fault) and the API (unknown keys, nulls and what a
GET adds are ignored). They raise with every fault, each with its path in Marathon's manner.
"""

from typing import Any, cast

import msgspec

from kato.language.normal import Json, normalise
from kato.language.shape import Malformed, app_faults, group_faults, plain, written
from kato.language.wire import app_document as app_document
from kato.model.app import App
from kato.model.deployment import GroupRecord
from kato.model.errors import Fault, InvalidApp, InvalidInput
from kato.model.groups import validate_group
from kato.model.ids import absolute, parent, within
from kato.model.validate import validate, validate_id


class Tree(msgspec.Struct, frozen=True):
    """A group read whole: `id`, every app in it at any depth, every group in it (itself included, not `/`)."""

    id: str
    apps: tuple[App, ...]
    groups: tuple[GroupRecord, ...]


def read_app(data: object, *, base: str = "/", strict: bool = False) -> App:
    """One app. A relative id is taken from `base`; `version` and `versionInfo` are dropped, the cell assigns them.

    Raises Malformed where the shape is wrong, else InvalidApp where a rule is broken.
    """
    data = _plain(data)
    if faults := app_faults(data, strict=strict):
        raise Malformed(faults)
    app, faults = _app(cast(Json, data), base)
    if faults:
        raise InvalidApp(faults)
    return app


def read_apps(data: object, *, base: str = "/", strict: bool = False) -> tuple[App, ...]:
    """A list of apps; paths begin with the index, `(0)/cpus`. Raises as `read_app` does, over all of them."""
    data = _plain(data)
    if not isinstance(data, list):
        raise Malformed([Fault("/", "must be a list of apps")])
    if faults := [f for n, each in enumerate(data) for f in _below((n,), app_faults(each, strict=strict))]:
        raise Malformed(faults)
    apps: list[App] = []
    for n, each in enumerate(data):
        app, found = _app(each, base)
        faults.extend(_below((n,), found))
        apps.append(app)
    faults.extend(validate_group(apps))
    if faults:
        raise InvalidApp(faults)
    return tuple(apps)


def read_group(data: object, *, base: str = "/", strict: bool = False) -> Tree:
    """A group with all below it. Without an id it is `base` itself; relative ids are taken from where they stand.

    `scaleBy` and `version` are other wishes than a tree and are ignored. Raises Malformed or InvalidApp, over
    the whole tree.
    """
    data = _plain(data)
    if faults := group_faults(data, strict=strict):
        raise Malformed(faults)
    apps: list[App] = []
    groups: list[GroupRecord] = []
    _group(cast(Json, data), base, (), apps, groups, faults)
    faults.extend(validate_group(apps, groups))
    if faults:
        raise InvalidApp(faults)
    return Tree(absolute(cast(Json, data).get("id", ""), base), tuple(apps), tuple(groups))


def merge(app: App, patch: object) -> Json:
    """The JSON of `app` with the fields of `patch` in place of its own: Marathon's partial update, for `read_app`.

    A null puts a field back to its default. A field that excludes another (cmd and args, an old word and its
    new one, the network's kind and its ports) drops that other unless `patch` has it too.
    """
    if not isinstance(patch, dict):
        raise Malformed([Fault("/", "must be an object")])
    base = app_document(app)
    for word, others in _EXCLUDES.items():
        if patch.get(word) is not None:
            for other in others:
                base.pop(other, None)
    container = patch.get("container")
    docker = container.get("docker") if isinstance(container, dict) else None
    if isinstance(docker, dict) and docker.get("network") is not None:
        base.pop("networks", None)
        base.pop("portDefinitions", None)
    if patch.get("networks") is not None:
        _change_networks(base, patch["networks"])
    return {**base, **patch, "id": app.id}


_EXCLUDES = {
    "cmd": ("args",),
    "args": ("cmd",),
    "uris": ("fetch",),
    "ports": ("portDefinitions",),
    "ipAddress": ("networks", "portDefinitions"),
}


def _change_networks(base: Json, networks: object) -> None:
    """Ports of the kind that the new networks do not take go."""
    host = isinstance(networks, list) and all(isinstance(n, dict) and n.get("mode") == "host" for n in networks)
    if host:
        base.get("container", {}).pop("portMappings", None)
    else:
        base.pop("portDefinitions", None)


def _plain(data: object) -> object:
    try:
        return plain(data)
    except RecursionError:
        raise Malformed([Fault("/", "is nested too deep")]) from None


def _below(steps: tuple[str | int, ...], faults: list[Fault]) -> list[Fault]:
    prefix = written(steps) if steps else ""
    return [
        Fault(prefix + ("" if fault.path == "/" and prefix else fault.path), fault.message) for fault in faults
    ]


def _app(data: Json, base: str) -> tuple[App, list[Fault]]:
    """An app whose shape is right, and its faults."""
    id, dependencies, faults = _placed(data, base)
    if faults:
        return App(id=id), faults
    normal, faults = normalise({**data, "id": id})
    normal["dependencies"] = [*dependencies]
    try:
        app = msgspec.convert(normal, App)
    except (msgspec.ValidationError, OverflowError) as error:
        return App(id=id), [*faults, Fault("/", str(error))]
    return app, faults or validate(app)


def _placed(data: Json, base: str) -> tuple[str, tuple[str, ...], list[Fault]]:
    """The absolute id of an app or group and what it depends on, and the faults in these."""
    id, field = str(data.get("id", "")), "/id"
    try:
        id = absolute(id, base)
        field = "/dependencies"
        return id, tuple(absolute(each, id) for each in data.get("dependencies", ())), []
    except InvalidInput as error:
        return id, (), [Fault(field, str(error))]


def _group(
    data: Json,
    base: str,
    steps: tuple[str | int, ...],
    apps: list[App],
    groups: list[GroupRecord],
    faults: list[Fault],
) -> None:
    id, dependencies, found = _placed(data, base)
    if steps and not data.get("id"):
        found = [Fault("/id", "is missing: a group within a group says its name")]
    if found:
        faults.extend(_below(steps, found))
        return
    if id != "/":
        faults.extend(_below(steps, list(validate_id(id))))
        groups.append(GroupRecord(id=id, version="", dependencies=dependencies))
    if steps and not within(id, base):
        faults.extend(_below(steps, [Fault("/id", f"{id} is not within the group {base} that it stands in")]))
    if data.get("pods"):
        faults.extend(_below(steps, [Fault("/pods", "pods are not taken yet; write them as apps")]))
    for n, each in enumerate(data.get("apps", ())):
        app, found = _app(each, id)
        if not within(parent(app.id), id):
            found = [*found, Fault("/id", f"{app.id} is not within the group {id} that it stands in")]
        faults.extend(_below((*steps, "apps", n), found))
        apps.append(app)
    for n, each in enumerate(data.get("groups", ())):
        _group(each, id, (*steps, "groups", n), apps, groups, faults)


def documents(tree: Tree) -> Json:
    """A tree as one group's JSON again, nested, as a PUT of `/v2/groups` takes it."""
    whole: Json = {"id": tree.id, "apps": [], "groups": [], "dependencies": []}
    nodes: dict[str, Json] = {tree.id: whole}

    def node(id: str) -> Json:
        if id not in nodes:
            nodes[id] = {"id": id, "apps": [], "groups": [], "dependencies": []}
            node(parent(id))["groups"].append(nodes[id])
        return nodes[id]

    for group in tree.groups:
        node(group.id)["dependencies"] = list(group.dependencies)
    for app in tree.apps:
        node(parent(app.id))["apps"].append(_wish(app))
    return whole


def _wish(app: App) -> Json:
    document: dict[str, Any] = app_document(app)
    document.pop("version", None)
    return document
