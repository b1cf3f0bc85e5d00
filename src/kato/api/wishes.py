"""A wish as data: the World and a Change that a user asks for go in; pieces, a flip and what settles it come out.

Nothing here does I/O; `commit.py` performs it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import msgspec

from kato.api.ports import assign
from kato.model.app import App, VersionInfo
from kato.model.deployment import Deployment, GroupRecord, Kill, Record
from kato.model.errors import InvalidApp, Locked
from kato.model.ids import version_after
from kato.model.validate import validate_group
from kato.model.world import World
from kato.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Compare, Delete, Op, Put, keys

KEPT_VERSIONS = 25
"""Versions of an app that are kept (Marathon's `--zk_max_versions` is of that order)."""
_CANCELLED_AT_ONCE = 30
"""Deployments that one flip ends; more are ended before it, which is safe by itself."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
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


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a Change comes to. version: of everything in it; id: of its deployment, made or (nothing changed) not.

    pieces: app versions to be written first. cancelled: deployments as they are now, to be ended.
    """

    id: str
    version: str
    deployment: Deployment | None = None
    pieces: tuple[App, ...] = ()
    groups: Mapping[str, GroupRecord | None] = {}
    kills: tuple[Kill, ...] = ()
    cancelled: tuple[Deployment, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.deployment or self.groups or self.kills or self.cancelled)

    def overlay(self, world: World) -> World:
        """The World as it would be with this wish in force: for dry runs."""
        new = {(app.id, app.version): app for app in self.pieces}
        target = self.deployment.target if self.deployment else {}
        held = dict.fromkeys(target, self.id)
        ended = {each.id for each in self.cancelled}
        deployments = {id: each for id, each in world.deployments.items() if id not in ended}
        groups = {id: record for id, record in world.groups.items() if id not in self.groups}
        return replace(
            world,
            apps={app: spec for app, spec in world.apps.items() if app not in target}
            | {app.id: app for app in self.pieces},
            deployments=deployments | ({self.id: self.deployment} if self.deployment else {}),
            locks={app: id for app, id in world.locks.items() if id not in ended} | held,
            groups=groups | {id: record for id, record in self.groups.items() if record is not None},
            kills={**world.kills, **{kill.task: kill for kill in self.kills}},
            spec=lambda app, version: new.get((app, version)) or world.spec(app, version),
        )


class Batch(msgspec.Struct, frozen=True):
    """One transaction but for `wish/seq`, which the committer compares and raises."""

    compares: tuple[Compare, ...] = ()
    ops: tuple[Op, ...] = ()


def wish(
    world: World,
    change: Change,
    now: float,
    *,
    id: str,
    force: bool = False,
    floor: str = "",
    salt: str = "",
    avoid: Collection[int] = (),
) -> Wish:
    """What `change` comes to at `now` (epoch seconds). Raises Locked (without `force`) and InvalidApp.

    id: of the deployment. floor: a version that the new one must sort after. salt: of this cell, so that two
    cells on one machine choose different service ports; avoid: ports that are not to be chosen.
    """
    wished = {app: target for app, target in change.apps.items() if target is not None}
    _refuse_faults(world, change)
    ported = assign(wished, world, salt, avoid)
    version = _version(world, change, now, floor)
    original: dict[str, str | None] = {}
    target: dict[str, str | None] = {}
    pieces: list[App] = []
    for app in sorted(change.apps):
        current = world.apps.get(app)
        after = _after(current, ported.get(app), version, app in change.restart)
        if after is current:
            continue
        original[app] = current.version if current else None
        target[app] = after.version if after else None
        if after is not None:
            pieces.append(after)
    cancelled = _taken_over(world, change, target, force)
    deployment = Deployment(id=id, version=version, original=original, target=target, started=now)
    groups = {group: record for group, record in change.groups.items() if not _stands(world, group, record)}
    return Wish(
        id=id,
        version=version,
        deployment=deployment if target else None,
        pieces=tuple(pieces),
        groups={group: _dated(record, version) for group, record in groups.items()},
        kills=change.kills,
        cancelled=cancelled,
    )


def bare(app: App) -> App:
    """An app without what Káto writes into it, for comparing."""
    return msgspec.structs.replace(app, version="", version_info=None)


def holders(world: World, apps: Iterable[str]) -> tuple[Deployment, ...]:
    """The running deployments that hold any of `apps`."""
    touched = set(apps)
    return tuple(
        each for each in world.deployments.values() if not each.cancelled and touched & each.target.keys()
    )


def _after(current: App | None, wanted: App | None, version: str, restart: bool) -> App | None:
    """The app as it will be: `current` itself where nothing changes."""
    if wanted is None:
        return None
    back_to = wanted.version_info.last_config_change_at if wanted.version_info else None
    config = back_to or version
    if current is not None and not restart:
        same_config = back_to in (None, current.config_version)
        if same_config and bare(current) == bare(wanted):
            return current
        if same_config and bare(current) == msgspec.structs.replace(bare(wanted), instances=current.instances):
            config = current.config_version
    info = VersionInfo(last_scaling_at=version, last_config_change_at=config)
    return msgspec.structs.replace(wanted, version=version, version_info=info)


def _version(world: World, change: Change, now: float, floor: str) -> str:
    touched = [world.apps[app].version for app in change.apps if app in world.apps]
    return version_after(max([floor, *touched, *(each.version for each in world.deployments.values())]), now)


def _taken_over(world: World, change: Change, apps: Iterable[str], force: bool) -> tuple[Deployment, ...]:
    ended = {id: world.deployments[id] for id in change.cancel if id in world.deployments}
    held = [each for each in holders(world, apps) if each.id not in ended]
    if held and not force:
        first = next(app for app in apps if any(app in each.target for each in held))
        raise Locked(first, [each.id for each in held])
    return tuple(each for each in ({each.id: each for each in held} | ended).values() if not each.cancelled)


def _stands(world: World, group: str, record: GroupRecord | None) -> bool:
    current = world.groups.get(group)
    if record is None or current is None:
        return record is current
    return record.dependencies == current.dependencies


def _dated(record: GroupRecord | None, version: str) -> GroupRecord | None:
    return record and msgspec.structs.replace(record, version=version)


def _refuse_faults(world: World, change: Change) -> None:
    """What only the whole shows: a path that is an app and a group, and circles of dependencies."""
    wished = [app for app in change.apps.values() if app is not None]
    before = [world.apps.get(app.id) for app in wished]
    if not any(change.groups.values()) and all(
        old is not None and old.dependencies == new.dependencies for old, new in zip(before, wished, strict=True)
    ):
        return
    apps = {id: app for id, app in {**world.apps, **change.apps}.items() if app is not None}
    groups = {id: record for id, record in {**world.groups, **change.groups}.items() if record is not None}
    if faults := validate_group(apps.values(), groups.values()):
        raise InvalidApp(faults)


# -- transactions -------------------------------------------------------------------------------------------


def prepare(wish: Wish, modified: Mapping[str, int]) -> Iterator[Batch]:
    """The immutable pieces, in as many transactions as they need; each must not exist yet."""
    writes = [_cancel(ended, modified) for ended in wish.cancelled[_CANCELLED_AT_ONCE:]]
    for app in wish.pieces:
        key = keys.version(app.id, app.version)
        writes.append(Batch((Compare(key, "modified", "=", 0),), (Put(key, keys.encode(app)),)))
    yield from batches(writes)


def flip(wish: Wish, modified: Mapping[str, int]) -> tuple[Batch, tuple[Batch, ...]]:
    """The transaction that puts the wish in force, and those that settle it where all did not fit into the first.

    modified: at which revision each deployment that is taken over was last written, by its key.
    """
    first = [_cancel(ended, modified) for ended in wish.cancelled[:_CANCELLED_AT_ONCE]]
    rest = [_put(keys.kill(kill.task), kill) for kill in wish.kills]
    for group, record in sorted(wish.groups.items(), key=lambda item: (not _depends(item[1]), item[0])):
        rest.append(_delete(keys.group(group)) if record is None else _put(keys.group(group), record))
    if wish.deployment is None:
        whole, *more = [*batches([*first, *rest])] or [Batch()]
        return whole, tuple(more)
    following = list(_pointers(wish.deployment))
    entire = list(batches([*first, _put(keys.deployment(wish.deployment.id), wish.deployment), *rest, *following]))
    if len(entire) == 1:
        return entire[0], ()
    open_ended = msgspec.structs.replace(wish.deployment, settled=False)
    head, *more = batches([*first, _put(keys.deployment(open_ended.id), open_ended), *rest])
    return head, (*more, *settling(open_ended))


def settling(deployment: Deployment) -> tuple[Batch, ...]:
    """What makes the pointers and locks follow a deployment; its last write says that they do."""
    key = keys.deployment(deployment.id)
    alive = Compare(key, "modified", "!=", 0)
    done = _put(key, msgspec.structs.replace(deployment, settled=True))
    parts = [Batch((alive,), part.ops) for part in batches(_pointers(deployment), reserve=1)]
    return (*parts, Batch((alive,), done.ops))


def outdated(held: Sequence[str], used: Collection[str], exists: bool) -> list[str]:
    """Which of an app's versions may go: beyond the newest 25, or all of an app that is gone, but none in use."""
    newest = sorted(held, reverse=True)[: KEPT_VERSIONS if exists else 0]
    return [version for version in held if version not in newest and version not in used]


def in_use(world: World, app: str) -> set[str]:
    """Versions of an app that its pointer, its tasks or running deployments need."""
    used = {task.version for task in world.tasks.get(app, {}).values()}
    for each in world.deployments.values():
        used |= {version for side in (each.original, each.target) if (version := side.get(app))}
    if app in world.apps:
        used.add(world.apps[app].version)
    return used


def batches(writes: Iterable[Batch], *, reserve: int = 0) -> Iterator[Batch]:
    """Writes joined into transactions within the port's limit, in order.

    reserve: operations that the caller adds to each, beside the two for `wish/seq`.
    """
    compares: list[Compare] = []
    ops: list[Op] = []
    size = 0
    for write in writes:
        count = len(compares) + len(ops) + len(write.compares) + len(write.ops)
        if ops and (count + reserve + 2 > MAX_TXN_OPERATIONS or size + _size(write) > MAX_TXN_BYTES // 2):
            yield Batch(tuple(compares), tuple(ops))
            compares, ops, size = [], [], 0
        compares += write.compares
        ops += write.ops
        size += _size(write)
    if ops:
        yield Batch(tuple(compares), tuple(ops))


def _pointers(deployment: Deployment) -> Iterator[Batch]:
    for app, version in sorted(deployment.target.items()):
        pointer = keys.app(app)
        yield _delete(pointer) if version is None else _put(pointer, Record(app=app, version=version))
        yield _put(keys.lock(app), deployment.id)


def _cancel(deployment: Deployment, modified: Mapping[str, int]) -> Batch:
    """Only if the leader has not ended it meanwhile: it must not come back."""
    key = keys.deployment(deployment.id)
    over = msgspec.structs.replace(deployment, cancelled=True)
    return Batch((Compare(key, "modified", "=", modified[key]),), (Put(key, keys.encode(over)),))


def _put(key: str, value: object) -> Batch:
    return Batch((), (Put(key, keys.encode(value)),))


def _delete(key: str) -> Batch:
    return Batch((), (Delete(key),))


def _size(write: Batch) -> int:
    return sum(len(op.key) + (len(op.value) if isinstance(op, Put) else 0) for op in write.ops)


def _depends(record: GroupRecord | None) -> bool:
    return record is not None and bool(record.dependencies)
