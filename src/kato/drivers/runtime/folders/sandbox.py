"""What surrounds a process: an App, a user's name and the folders of the driver go in; who it runs as, its
environment, its command line and the links to its volumes come out.
"""

import contextlib
import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kato.model.app import App, AppVolume
from kato.model.errors import DriverError
from kato.model.volume import kept_as

INHERITED = ("PATH", "HOME", "LANG")
"""What a task has from the cell where its app does not say."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
SANDBOX = "/mnt/mesos/sandbox"
"""Where a container finds its sandbox (Mesos' place)."""
_OCTAL = re.compile(r"\\([0-7]{3})")
LAST_ID = 2**32 - 2
LONGEST_NAME = 255
"""Bytes in the name of a file, on the file systems of Linux."""


class Identity(msgspec.Struct, frozen=True):
    """Who a task runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


class VolumeLink(msgspec.Struct, frozen=True):
    """A volume: `place` in the sandbox is a link to `target`. owned: the driver makes the target where missing."""

    place: PurePosixPath
    target: Path
    owned: bool


def identity(user: str | None) -> Identity:
    """The user called `user`: a name or number, with `:group` where it is not the user's own; None for the cell's.

    Raises DriverError for an unknown one, and for another user than the cell's where the cell is not root.
    """
    name, _, group = (user or str(os.geteuid())).partition(":")
    number = _number(name, "user")
    try:
        entry = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
        uid, gid, home, groups = (
            entry.pw_uid,
            entry.pw_gid,
            entry.pw_dir,
            os.getgrouplist(entry.pw_name, entry.pw_gid),
        )
    except (KeyError, ValueError):  # ValueError: what no name of a user can hold, as a NUL byte
        if number is None:
            raise DriverError(f"There is no user {name!r} on this machine. Add it, or name another.") from None
        uid, gid, home, groups = number, number, "/", [number]
    if group:
        number = _number(group, "group")
        try:
            gid = grp.getgrnam(group).gr_gid if number is None else number
        except (KeyError, ValueError):
            raise DriverError(f"There is no group {group!r} on this machine. Add it, or name another.") from None
        groups = [gid, *groups]
    if os.geteuid() != 0 and (uid != os.geteuid() or (group and gid not in {os.getegid(), *os.getgroups()})):
        raise DriverError(
            f"It is to run as {user!r}, and only root can start processes of others. Run the cell as root, or "
            "leave out `user`."
        )
    return Identity(uid, gid, tuple(dict.fromkeys(groups)), home)


def _number(word: str, what: str) -> int | None:
    """A user or group by its number; None for a name. DriverError beyond what the kernel counts (credentials(7)):
    4294967295 is its word for no one."""
    if not (word.isascii() and word.isdecimal()):
        return None
    if len(word) > len(str(LAST_ID)) or int(word) > LAST_ID:
        raise DriverError(f"It is to run as {what} {word:.20}, and numbers go from 0 to {LAST_ID}. Name another.")
    return int(word)


def command(app: App) -> tuple[str, ...]:
    """The words that are executed: `cmd` by the shell, `args` as they stand."""
    if app.cmd is not None:
        return ("/bin/sh", "-c", app.cmd)
    if app.args:
        return app.args
    raise DriverError("It has neither `cmd` nor `args`, so there is nothing to run. Give it one of them.")


def environment(
    given: Mapping[str, str], cell: Mapping[str, str], who: Identity, sandbox: Path
) -> Mapping[str, str]:
    """The whole environment: what is `given`, the sandbox by Mesos' names; PATH, HOME and LANG where not given.

    HOME is the user's own where the task does not run as the cell's user.
    """
    inherited = {name: cell[name] for name in INHERITED if name in cell}
    if who.uid != os.geteuid():
        inherited["HOME"] = who.home
    return inherited | dict(given) | {"MESOS_SANDBOX": str(sandbox), "MESOS_DIRECTORY": str(sandbox)}


def working_folder(app: App, sandbox: Path) -> Path:
    """Where it runs: the label KATO_WORKDIR (from the sandbox where it is not absolute), else the sandbox."""
    return sandbox / app.labels.get("KATO_WORKDIR", "")


def links(app: App, volumes: Path, secrets: Path, *, nested: bool = False) -> tuple[VolumeLink, ...]:
    """The volumes of an app as links. secrets: the folder with its files of secrets, each called by the number of
    its volume. nested: whether one may lie within another, as in a container. DriverError for what is not had."""
    found: list[VolumeLink] = []
    for n, volume in enumerate(app.container.volumes if app.container else ()):
        link = _link(app, volume, volumes, secrets / str(n))
        for other in () if nested else found:
            if link.place.is_relative_to(other.place) or other.place.is_relative_to(link.place):
                raise DriverError(
                    f"Its volumes at '{other.place}' and '{link.place}' lie one within the other, and volumes of "
                    "a process are links, which cannot. Give each a place of its own."
                )
        found.append(link)
    return tuple(found)


def _link(app: App, volume: AppVolume, volumes: Path, secret: Path) -> VolumeLink:
    where = f"Its volume at {volume.container_path!r}"
    place = PurePosixPath(volume.container_path.lstrip("/"))
    if not place.parts or ".." in place.parts or any(not _can_be_named(part) for part in place.parts):
        raise DriverError(
            f"{where} is not a path inside the sandbox. Name a folder, without '..' and NUL bytes, each part of "
            f"it of {LONGEST_NAME} bytes at most."
        )
    if volume.external is not None or volume.persistent is not None:
        return VolumeLink(place, volumes / _volume_name(kept_as(app, volume), where), True)
    if volume.host_path is None:
        return VolumeLink(place, secret, False)
    if "\0" in volume.host_path:
        raise DriverError(f"{where} has a host path with a NUL byte, which no path can hold. Leave it out.")
    if not volume.host_path.startswith("/"):
        raise DriverError(
            f"{where} has the host path {volume.host_path!r}, which is not absolute. Write it in full."
        )
    return VolumeLink(place, Path(volume.host_path), False)


def _volume_name(name: str | None, where: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise DriverError(f"{where} is called {name!r}. The name of a volume has no '/' and begins with no '.'.")
    if not _can_be_named(name):
        raise DriverError(
            f"{where} is called {name!r}. A name has at most {LONGEST_NAME} bytes, none of them NUL."
        )
    return name


def _can_be_named(part: str) -> bool:
    return "\0" not in part and len(part.encode(errors="replace")) <= LONGEST_NAME


def furnish(sandbox: Path, volumes: tuple[VolumeLink, ...], who: Identity, files: Path | None = None) -> None:
    """Makes the sandbox, of `files` where there are any, and the volumes that are missing, closed to others, and
    links them. OSError, DriverError.

    No step is taken through a link: no place lies within another (`links`), and the sandbox is given to its user,
    whose other tasks could put a link there, only once all of it stands.
    """
    if files is None:
        sandbox.mkdir(mode=0o700)
    else:
        files.rename(sandbox)
        if os.geteuid() == 0:
            hand(sandbox, who.uid, who.gid)
    made = [sandbox]
    for link in volumes:
        if link.owned:
            _provide(link.target, who)
        place = sandbox
        for part in link.place.parts[:-1]:
            place = place / part
            if place not in made:
                _make(place.mkdir, 0o700)
                made.append(place)
        _make((place / link.place.name).symlink_to, link.target)
    for folder in reversed(made):
        _own(folder, who)


def _make(act: Callable[[Any], None], how: Any) -> None:
    try:
        act(how)
    except FileExistsError as error:
        raise DriverError(
            f"Its files that were fetched have {Path(error.filename2 or error.filename).name!r} where its volume "
            "is to be. Give one of them another place."
        ) from error


def hand(folder: Path, uid: int | None, gid: int | None) -> None:
    """Gives what is in a folder to a user; to whoever comes, where nobody knows who that is. Blocks. OSError."""
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(here, name)
            if uid is not None and gid is not None:
                os.chown(path, uid, gid, follow_symlinks=False)
            elif not os.path.islink(path):
                mode = stat.S_IMODE(os.lstat(path).st_mode)
                os.chmod(path, mode | (0o777 if mode & 0o100 else 0o666))


def close_volumes(volumes: Path, sandboxes: Iterable[Path]) -> None:
    """Closes the folder of all volumes to others, unless one of these sandboxes is somebody else's.

    A container's root may put a program there that makes whoever runs it root; nobody else is to reach it.
    """
    if all(sandbox.stat().st_uid == os.geteuid() for sandbox in sandboxes):
        volumes.chmod(0o700)


def _provide(volume: Path, who: Identity) -> None:
    """Makes a named volume, or gives one that is still empty to its user."""
    with contextlib.suppress(FileExistsError):
        volume.mkdir()
    if who.uid != os.geteuid():
        volume.parent.chmod(0o711)
    if not any(volume.iterdir()):
        _own(volume, who)


def _own(folder: Path, who: Identity) -> None:
    folder.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(folder, who.uid, who.gid)


def closed_folder(path: Path, who: Identity) -> Path | None:
    """The first folder on the way to `path` that `who` may not pass, by its mode; None where the way is open."""
    for folder in reversed(path.parents):
        try:
            about = folder.stat()
        except OSError:
            return None
        owner, group = about.st_uid == who.uid, about.st_gid in who.groups
        if who.uid and not about.st_mode & (0o100 if owner else 0o010 if group else 0o001):
            return folder
    return None


class _Level(msgspec.Struct):
    """A folder on the way down. number: its device and inode; left: the folders in it that are still to delete."""

    name: str
    number: tuple[int, int]
    left: list[str]


def delete(folder: Path) -> None:
    """Deletes a folder and all in it, following no link; what a task closed to its own user is opened again.

    However deep it is: neither a call, nor a descriptor, nor a piece of a path is spent on each level. OSError,
    also where a task, or somebody, has mounted something in it: those files are not ours.
    """
    if (mount := mounted_in(folder, Path("/proc/self/mountinfo").read_text())) is not None:
        raise OSError(errno.EBUSY, "something is mounted there, whose files would go too. Say: umount", str(mount))
    here = os.open(folder.parent, _FOLDER)
    try:
        way = [_Level("", _number_of(here), [folder.name])]
        while way[0].left or len(way) > 1:
            if way[-1].left:
                name = way[-1].left.pop()
                here = _replace(here, _enter(name, here))
                way.append(_Level(name, _number_of(here), _unlink_files(here)))
            else:
                done = way.pop()
                here = _replace(here, os.open("..", _FOLDER, dir_fd=here))
                if _number_of(here) != way[-1].number:
                    raise OSError(errno.ESTALE, "it was moved while it was deleted", done.name)
                os.rmdir(done.name, dir_fd=here)
    finally:
        os.close(here)


def mounted_in(folder: Path, mountinfo: str) -> Path | None:
    """Where in a folder something is mounted, by /proc/self/mountinfo (proc(5)), which writes blanks in octal."""
    above = folder.parent.resolve() / folder.name
    for line in mountinfo.splitlines():
        place = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split()[4]))
        if place.is_relative_to(above):
            return place
    return None


def _replace(former: int, descriptor: int) -> int:
    os.close(former)
    return descriptor


def _enter(name: str, above: int) -> int:
    """Opens a folder, also one that is closed to its owner."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | _FOLDER, dir_fd=above)
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(".", _FOLDER, dir_fd=handle)
    finally:
        os.close(handle)


def _unlink_files(folder: int) -> list[str]:
    """Deletes what is no folder; the names of the folders."""
    with os.scandir(folder) as listed:
        entries = list(listed)  # a folder that changes while it is listed may leave some out
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
    return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _number_of(folder: int) -> tuple[int, int]:
    about = os.fstat(folder)
    return about.st_dev, about.st_ino
