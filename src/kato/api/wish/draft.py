"""A Wish and the World that it was made on go in; the Draft of what it comes to comes out. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from kato.api.wish.clashes import clashes
from kato.api.wish.ports import assign
from kato.api.wish.wish import Wish, bare
from kato.model.app import App, VersionInfo
from kato.model.deployment import Deployment, GroupRecord, Kill
from kato.model.errors import Fault, InvalidApp, Locked
from kato.model.groups import validate_group
from kato.model.ids import version_after
from kato.model.world import World


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a Wish comes to, before it is committed. version: of everything in it.

    id: of its deployment, made or (nothing changed) not.
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
        """The World as it would be with this in force: for dry runs."""
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


def draft(
    world: World,
    wish: Wish,
    now: float,
    *,
    id: str,
    force: bool = False,
    floor: str = "",
    salt: str = "",
    own: Mapping[int, str] | None = None,
) -> Draft:
    """What `wish` comes to at `now` (epoch seconds). Raises Locked (without `force`) and InvalidApp.

    id: of the deployment. floor: a version that the new one must sort after. salt: of this cell, so that two
    cells on one machine choose different service ports; own: the cell's own ports, by what they are.
    """
    own = own or {}
    _refuse_faults(world, wish, own)
    version = _version(world, wish, now, floor)
    changed = _changed(world, wish, version, assign(wish.apps, world, salt, own))
    groups = {group: record for group, record in wish.groups.items() if not _stands(world, group, record)}
    deployment = Deployment(
        id=id,
        version=version,
        original={app: before.version if before else None for app, (before, _) in changed.items()},
        target={app: after.version if after else None for app, (_, after) in changed.items()},
        started=now,
    )
    return Draft(
        id=id,
        version=version,
        deployment=deployment if changed else None,
        pieces=tuple(after for _, after in changed.values() if after is not None),
        groups={group: _dated(record, version) for group, record in groups.items()},
        kills=wish.kills,
        cancelled=_taken_over(world, wish, changed, force),
    )


def grows(found: Draft, world: World) -> bool:
    """Whether it starts tasks: not where apps go or get smaller, and tasks are killed."""
    before = [(world.apps.get(piece.id), piece) for piece in found.pieces]
    return any(
        old is None or old.config_version != new.config_version or old.instances < new.instances
        for old, new in before
    )


def holders(world: World, apps: Iterable[str]) -> tuple[Deployment, ...]:
    """The running deployments that hold any of `apps`."""
    touched = set(apps)
    return tuple(
        each for each in world.deployments.values() if not each.cancelled and touched & each.target.keys()
    )


def _changed(
    world: World, wish: Wish, version: str, ported: Mapping[str, App]
) -> dict[str, tuple[App | None, App | None]]:
    """The apps that do not stay as they are, in order: before and after."""
    found: dict[str, tuple[App | None, App | None]] = {}
    for app in sorted(wish.apps):
        before = world.apps.get(app)
        after = _after(before, ported.get(app), version, app in wish.restart)
        if after is not before:
            found[app] = (before, after)
    return found


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
        if same_config and _runs_alike(current, wanted):
            config = current.config_version
    info = VersionInfo(last_scaling_at=version, last_config_change_at=config)
    return msgspec.structs.replace(wanted, version=version, version_info=info)


def _runs_alike(current: App, wanted: App) -> bool:
    """Whether a task of one could be a task of the other, so that none need be exchanged: they differ in no more
    than how many there are, and how they are exchanged and chosen. (In Marathon a new upgradeStrategy is a new
    configuration; a Compose file's changes with its replicas.)
    """
    alike = msgspec.structs.replace(
        bare(wanted),
        instances=current.instances,
        upgrade_strategy=current.upgrade_strategy,
        kill_selection=current.kill_selection,
    )
    return bare(current) == alike


def _version(world: World, wish: Wish, now: float, floor: str) -> str:
    touched = [world.apps[app].version for app in wish.apps if app in world.apps]
    return version_after(max([floor, *touched, *(each.version for each in world.deployments.values())]), now)


def _taken_over(world: World, wish: Wish, apps: Iterable[str], force: bool) -> tuple[Deployment, ...]:
    ended = {id: world.deployments[id] for id in wish.cancel if id in world.deployments}
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


def _refuse_faults(world: World, wish: Wish, own: Mapping[int, str]) -> None:
    """What only the whole shows, so that one app alone may be without fault."""
    if faults := [*_misplaced(world, wish), *clashes(world, wish.apps, own)]:
        raise InvalidApp(faults)


def _misplaced(world: World, wish: Wish) -> list[Fault]:
    """A path that is an app and a group, and circles of dependencies."""
    wished = [app for app in wish.apps.values() if app is not None]
    before = [world.apps.get(app.id) for app in wished]
    if not any(wish.groups.values()) and all(
        old is not None and old.dependencies == new.dependencies for old, new in zip(before, wished, strict=True)
    ):
        return []
    apps = {id: app for id, app in {**world.apps, **wish.apps}.items() if app is not None}
    groups = {id: record for id, record in {**world.groups, **wish.groups}.items() if record is not None}
    return validate_group(apps.values(), groups.values())
