"""Named volumes: an app goes in; what the folders are called that its volumes are kept in comes out."""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

from kato.model.app import App, AppVolume
from kato.model.ids import safe


class NamedVolume(msgspec.Struct, frozen=True):
    """A volume that a node keeps. bytes: what it takes on the disk."""

    node: str
    name: str
    bytes: int


def kept_as(app: App, volume: AppVolume) -> str | None:
    """What the folder of a volume is called on its node; None where it is no named one."""
    if volume.external is not None:
        return volume.external.name
    if volume.persistent is not None:
        place = PurePosixPath(volume.container_path.lstrip("/"))
        mark = hashlib.sha256(f"{app.id} {place}".encode()).hexdigest()[:8]
        return f"{safe(app.id)}-{place.name}-{mark}"
    return None


def named_volumes(apps: Iterable[App]) -> frozenset[str]:
    """The folders that apps name."""
    return frozenset(
        name
        for app in apps
        for volume in (app.container.volumes if app.container else ())
        if (name := kept_as(app, volume)) is not None
    )
