"""What an app's volumes are in a container: an App and its image's files go in; folders that are there, bound to
places, come out.

A named volume that is empty gets what the image has at its place, and its owner, as users of Docker expect.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kato.drivers.runtime.brought.pulled import docker_of
from kato.drivers.runtime.folders.sandbox import SANDBOX, links, mounted_in
from kato.drivers.runtime.oci.config import Bind
from kato.model.app import App
from kato.model.errors import DriverError

LONGEST = 1 << 20
"""Bytes of a file of users or groups: some ten thousand of them."""


def binds(app: App, volumes: Path, lower: Path, secrets: Path) -> tuple[Bind, ...]:
    """The app's volumes. lower: the image's files; secrets: the folder of its secrets' files. DriverError for what
    it cannot have."""
    assert app.container is not None
    found, mounts = [], Path("/proc/self/mountinfo").read_text()
    for volume, link in zip(app.container.volumes, links(app, volumes, secrets, nested=True), strict=True):
        if volume.secret is not None:
            found.append(Bind(str(link.target), str(PurePosixPath(SANDBOX, volume.container_path)), True))
            continue
        if link.owned:
            _provide(link.target, lower, str(link.place))
        elif not link.target.exists():
            raise DriverError(f"Its volume's host path {link.target} is not there. Make it, or name another.")
        covers = link.target.is_dir() and mounted_in(link.target.resolve(), mounts) is not None
        found.append(Bind(str(link.target), f"/{link.place}", volume.mode == "RO", covers))
    return tuple(found)


def fresh(app: App, image: Iterable[str], named: Iterable[Bind], lower: Path, folder: Path) -> tuple[Bind, ...]:
    """Volumes without a name, which go with the task: those of the app, and those that its image declares where
    nothing else is mounted. folder: where they are made."""
    asked = [each for each in docker_of(app).parameters if each.key in ("volume", "tmpfs")]
    own = [_place(each.value) for each in asked if each.key == "volume"]
    taken = {PurePosixPath(each.place) for each in named}
    taken |= {PurePosixPath(each.value.partition(":")[0]) for each in asked if each.key == "tmpfs"}
    declared = [place for place in map(PurePosixPath, image) if place not in taken and _is_a_place(place, lower)]
    found = []
    for n, place in enumerate(dict.fromkeys((*own, *declared))):
        folder.mkdir(exist_ok=True)
        _provide(folder / str(n), lower, str(place))
        found.append(Bind(str(folder / str(n)), str(place)))
    return tuple(found)


def _place(value: str) -> PurePosixPath:
    if not value.startswith("/") or ":" in value or ".." in value.split("/") or not value.strip("/"):
        raise DriverError(
            f"The docker parameter 'volume' has the value {value!r}: write an absolute path, for a folder that is "
            "the task's own. Others stand in the app's `volumes`."
        )
    return PurePosixPath(value)


def _is_a_place(place: PurePosixPath, lower: Path) -> bool:
    """Whether a folder can be bound there: where a link is on the way the image's own files stay, which go with
    the task as well."""
    source = inside(lower, str(place))
    return lacks(lower, str(place)) if source is None else source.is_dir() and place != PurePosixPath("/")


def _provide(volume: Path, lower: Path, place: str) -> None:
    """Makes it where it is missing, and fills it where it is empty."""
    if not volume.exists():
        volume.mkdir()
        volume.chmod(0o755)
    source = inside(lower, place)
    if any(volume.iterdir()) or source is None or not source.is_dir():
        return
    copy(source, volume)
    about = source.stat()
    shutil.copystat(source, volume)
    os.chown(volume, about.st_uid, about.st_gid)


def copy(source: Path, target: Path) -> None:
    """All of a folder, with its owners and links. DriverError, as where the disk is full."""
    words = ["cp", "-a", "--reflink=auto", f"{source}/.", str(target)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise DriverError(f"{source} cannot be copied: {done.stderr.strip()[-300:]}.")


def inside(root: Path, place: str) -> Path | None:
    """What is at a place of an image, where no link is on the way: a link would lead into the host's files."""
    path = root
    for part in Path(place.lstrip("/")).parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except OSError:
            return None
        if part == ".." or stat.S_ISLNK(mode):
            return None
    return path


def lacks(root: Path, place: str) -> bool:
    """Whether a folder is missing in an image and can be made there: no link is on the way to it."""
    path = root
    for part in Path(place.lstrip("/")).parts:
        path = path / part
        if part == ".." or path.is_symlink():
            return False
        if not path.exists():
            return ".." not in Path(place).parts
    return False


def text_in(root: Path, place: str) -> str:
    """A file of an image; nothing where there is none. DriverError for one that no machine has."""
    path = inside(root, place)
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise DriverError(
            f"Its image's /{place} has more than {LONGEST >> 20} MiB, and the cell would have to hold it whole. "
            "Make the image with a shorter one."
        )
    return text.decode(errors="replace")
