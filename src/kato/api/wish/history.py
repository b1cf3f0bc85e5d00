"""A World goes in; which versions of an app once were whole, and where it goes back to, comes out. Pure.

The leader writes down each version of which a deployment ended with every task healthy (`Launches.whole`). A later
version that says the same as an earlier one has taken back all between them: nothing goes back to those.
"""

from collections.abc import Collection, Sequence

import msgspec

from kato.api.wish import find
from kato.api.wish.difference import Difference, difference
from kato.api.wish.wish import Wish, bare
from kato.model.app import App
from kato.model.deployment import Deployment
from kato.model.errors import NotFound
from kato.model.world import World

SHOWN = 5
"""Versions that are named to somebody who asks for another."""


class KeptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an app. state: present, former (where a rollback goes), whole (once it was), or not whole.

    change: what it changed about the one before it, as a sentence; None for the oldest that is kept.
    """

    version: str
    state: str
    change: str | None


def kept(world: World, id: str, versions: Collection[str]) -> list[KeptVersion]:
    """The versions of an app, the newest first."""
    app, former = find.app(world, id), former_of(world, id)
    whole = _whole(world, id)
    found: list[KeptVersion] = []
    before: App | None = None
    for version in sorted(versions):
        if (spec := world.spec(id, version)) is None:
            continue
        states = {app.version: "present"} | ({former.version: "former"} if former else {})
        state = states.get(version, "whole" if version in whole else "not whole")
        change = difference(id, before, spec) if before else None
        found.append(KeptVersion(version=version, state=state, change=change.sentence if change else None))
        before = spec
    return found[::-1]


def former_of(world: World, id: str) -> App | None:
    """The newest version before the present one that once was whole, and was not taken back since."""
    trail: list[App] = []
    for each in filter(None, (world.spec(id, version) for version in _whole(world, id))):
        trail = [*trail[: _index(trail, each)], each]
    return next(reversed(trail[: _index(trail, world.apps[id])]), None)


def rolled_back(world: World, id: str, version: str | None) -> Wish:
    """An app goes back to `version`, or (None) to its former one. NotFound where there is none.

    A deployment that holds it is then taken back whole: every other app that it changes goes back to its own
    former version, what is new in it goes, and what it removes comes again.
    """
    if version is not None:
        return Wish(apps={find.app(world, id).id: find.version(world, id, version)})
    deployment = world.deployments.get(world.locks.get(id, ""))
    if deployment is None:
        find.app(world, id)
        if (former := former_of(world, id)) is not None:
            return Wish(apps={id: former})
    else:
        apps = {each: _back(world, each, before) for each, before in deployment.original.items()}
        changed = {each: spec for each, spec in apps.items() if spec is not world.apps.get(each)}
        if id in changed:
            return Wish(apps=changed, cancel=(deployment.id,))
    raise NotFound(
        f"{id} has no former version that once was whole and was not taken back since, so there is nothing to go "
        f"back to. Name one: kato versions {id.strip('/')}, kato rollback {id.strip('/')} VERSION"
    )


def missing(id: str, version: str, versions: Sequence[str]) -> NotFound:
    """What to say of a version that is not kept. versions: those that are, the newest first."""
    return NotFound(f"{id} has no version {version!r}. The last that it has: {', '.join(versions[:SHOWN])}.")


def told(world: World, deployment: Deployment) -> list[Difference]:
    """What a deployment changes, app by app."""
    found = []
    for id, version in sorted(deployment.target.items()):
        before = deployment.original.get(id)
        old, new = (world.spec(id, each) if each else None for each in (before, version))
        if (changed := difference(id, old, new)) is not None:
            found.append(changed)
    return found


def _back(world: World, id: str, before: str | None) -> App | None:
    """What an app of a deployment goes back to. before: the version that it had, None where it is new."""
    if id not in world.apps:
        return find.version(world, id, before) if before else None
    former = former_of(world, id)
    return world.apps[id] if former is None and before is not None else former


def _whole(world: World, id: str) -> Sequence[str]:
    return world.launches[id].whole if id in world.launches else ()


def _index(trail: Sequence[App], app: App) -> int:
    """Where a version stands that says the same as `app`; behind all where there is none."""
    return next((n for n, each in enumerate(trail) if bare(each) == bare(app)), len(trail))
