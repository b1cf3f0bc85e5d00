"""A World and what is wished for go in; every port and name that two apps would have comes out, as faults. Pure.

It is asked of the World whose `wish/seq` the flip compares, so that of two wishes at the same moment the second
sees the first. What stands is not refused: an app that shares a port since long ago can still be changed.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kato.model.app import App
from kato.model.errors import Fault
from kato.model.ingress import routes, service_ports
from kato.model.world import World

TOGETHER = "HAPROXY_DEPLOYMENT_GROUP"
"""Under this label marathon-lb's zdd starts an app's next colour beside the last one, both with the same host."""


class Claim(NamedTuple):
    """One thing that only one app can have, and where the app says so. what: a port, or a host with its path."""

    what: int | str
    path: str

    def refused(self, app: str, owner: str) -> Fault:
        """Why it cannot be had, and what to do."""
        if isinstance(self.what, int):
            return Fault(
                self.path,
                f"service port {self.what} of {app} belongs to {owner}; give {app} another one, or 0 for any "
                "that is free",
            )
        host, slash, path = self.what.partition("/")
        return Fault(
            self.path,
            f"host {host} with path {slash}{path.rstrip('/')} of {app} belongs to {owner}; give {app} another "
            "host, or a path of its own",
        )


def claims(app: App) -> Iterator[Claim]:
    """What an app asks for itself."""
    for path, port in service_ports(app):
        yield Claim(port, path)
    for path, route in routes(app):
        yield Claim(route, path)


def clashes(world: World, asked: Mapping[str, App | None], own: Mapping[int, str]) -> list[Fault]:
    """What the apps of a wish newly ask for, and cannot have. own: the cell's ports, by what they are."""
    new = {id: found for id, app in sorted(asked.items()) if app and (found := _new(app, world.apps.get(id)))}
    if not any(new.values()):
        return []
    after = {id: app for id, app in {**world.apps, **asked}.items() if app is not None}
    owners: dict[int | str, str] = {port: f"the cell's {part}" for port, part in own.items()}
    for id, app in after.items():
        fresh = {claim.what for claim in new.get(id, ())}
        owners.update((claim.what, id) for claim in claims(app) if claim.what not in fresh)
    faults: list[Fault] = []
    for id, found in new.items():
        for claim in found:
            owner = owners.setdefault(claim.what, id)
            if owner != id and not _together(claim, after[id], after.get(owner)):
                faults.append(claim.refused(id, owner))
    return faults


def _new(app: App, before: App | None) -> list[Claim]:
    if before is app:
        return []
    had = {claim.what for claim in claims(before)} if before is not None else set()
    return [claim for claim in claims(app) if claim.what not in had]


def _together(claim: Claim, app: App, owner: App | None) -> bool:
    """Whether two apps have a host in common on purpose."""
    group = app.labels.get(TOGETHER)
    return (
        isinstance(claim.what, str) and bool(group) and owner is not None and owner.labels.get(TOGETHER) == group
    )
