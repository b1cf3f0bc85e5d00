"""Who lives in which cgroup: tasks go in; a cgroup for each, where that is permitted, and the pids in it come out.

A cell's tasks live below `kato/<hash of their folder>`, which the cell locks while it runs: others clear away what
nobody holds.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from kato.drivers.runtime.resources.limits import MAX_PIDS, OPTIONAL, settings
from kato.model.app import App
from kato.model.errors import DriverError

CONTROLLERS = ("memory", "cpu", "pids", "cpuacct")
COUNTS = "cpuacct"
"""It sets no limit, and is missed nowhere: version 2 counts with cpu."""
TRIES = 10


class Hierarchy(msgspec.Struct, frozen=True):
    """Where one controller is mounted. version: 1 or 2."""

    version: int
    path: Path


def hierarchies(mountinfo: str, unified: str) -> dict[str, Hierarchy]:
    """Where each controller is, from /proc/self/mountinfo and the v2 mount's cgroup.controllers."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        path = Path(place.split()[4])
        words = kind.split()
        if words[0] == "cgroup":
            offered, version = words[2].split(","), 1
        elif words[0] == "cgroup2":
            offered, version = unified.split(), 2
        else:
            continue
        found |= {name: Hierarchy(version, path) for name in CONTROLLERS if name in offered and name not in found}
    return found


def unified_mount(mountinfo: str) -> Path | None:
    """Where cgroup v2 is mounted."""
    for line in mountinfo.splitlines():
        place, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(place.split()[4])
    return None


def room(folder: Path) -> str:
    """The cgroup below `kato` that holds the tasks of the driver with this folder."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


class Limits:
    """The cgroups of one driver's tasks: `kato/<hash of the folder>/<task>` in each hierarchy.

    notes: which limits cannot be set here, and why, as sentences. locks: descriptors that say to other cells that
    somebody lives there.
    """

    def __init__(
        self,
        parents: Mapping[str, Hierarchy],
        notes: tuple[str, ...],
        pids: int = MAX_PIDS,
        locks: Iterable[int] = (),
    ) -> None:
        self._parents = parents
        self._locks = tuple(locks)
        self._pids = pids
        self.notes = notes

    @classmethod
    def open(cls, folder: Path, pids: int = MAX_PIDS) -> "Limits":
        """Makes the parents where permitted; what is not becomes a note. Removes those of cells that are gone."""
        found = mounted()
        name = room(folder)
        parents, locks = {}, []
        refused: dict[str, list[str]] = {}
        for controller in CONTROLLERS:
            if controller == COUNTS and controller not in found:
                continue
            try:
                if controller not in found:
                    raise OSError("the kernel offers no such cgroup controller here")
                parents[controller], lock = _settle(found[controller], controller, name)
                locks.append(lock)
            except OSError as error:
                if controller == COUNTS:
                    continue
                refused.setdefault(error.strerror or str(error), []).append(controller)
        sweep()
        notes = tuple(f"No {', '.join(names)} limits: {why}. They need root." for why, names in refused.items())
        return cls(parents, notes, pids, locks)

    @property
    def tell_members(self) -> bool:
        """Whether cgroups say who belongs to a task."""
        return bool(self._parents)

    def _folders(self, task: str) -> Iterator[Path]:
        yield from dict.fromkeys(parent.path / task for parent in self._parents.values())

    def create(self, task: str, app: App) -> tuple[str, ...]:
        """Makes the task's cgroups with its limits; their folders. OSError leaves some, which `remove` takes."""
        for controller, parent in self._parents.items():
            folder = parent.path / task
            folder.mkdir(parents=True, exist_ok=True)
            for file, value in settings(app, controller, parent.version, self._pids):
                if file in OPTIONAL and not (folder / file).exists():
                    continue
                (folder / file).write_text(value)
        return tuple(str(folder) for folder in self._folders(task))

    def events(self, task: str) -> str | None:
        """The file that counts the task's OOM kills; None without memory limits."""
        parent = self._parents.get("memory")
        if parent is None:
            return None
        return str(parent.path / task / ("memory.oom_control" if parent.version == 1 else "memory.events"))

    def members(self, task: str) -> set[int]:
        """The pids in the task's cgroups."""
        pids: set[int] = set()
        for folder in self._folders(task):
            with contextlib.suppress(OSError):
                pids.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return pids

    def forbid_forks(self, task: str) -> None:
        """Lets no process of the task make another, so that killing them comes to an end."""
        for folder in self._folders(task):
            with contextlib.suppress(OSError), open(folder / "pids.max", "r+") as file:
                file.write("0")

    def remove(self, task: str) -> None:
        """Removes the task's cgroups. Blocks for up to a second while the kernel lets the last member go."""
        for folder in self._folders(task):
            for _ in range(100):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    pass
                except OSError:
                    time.sleep(0.01)
                    continue
                break
            else:
                raise DriverError(f"The cgroup {folder} cannot be removed: something still runs in it.")

    def close(self) -> None:
        """Removes the parents, where no task uses them, and those of cells that are gone."""
        for lock in self._locks:
            os.close(lock)
        sweep()


def sweep() -> None:
    """Removes the cgroups of all cells that are gone, as by kill -9, but those in which a task still runs."""
    for kato in {hierarchy.path / "kato" for hierarchy in mounted().values()}:
        with contextlib.suppress(OSError):
            for cell in _below(kato):
                _clear(cell)
            kato.rmdir()


def _clear(cell: Path) -> None:
    """Removes the cgroup of a cell that is gone: nobody holds its lock."""
    with contextlib.suppress(OSError):
        lock = os.open(cell, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for task in _below(cell):
                with contextlib.suppress(OSError):
                    task.rmdir()
            cell.rmdir()
        finally:
            os.close(lock)


def _below(folder: Path) -> list[Path]:
    return [Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]


def mounted() -> dict[str, Hierarchy]:
    """Where each controller is on this machine."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    mount = unified_mount(mountinfo)
    offered = ""
    if mount is not None:
        with contextlib.suppress(OSError):
            offered = (mount / "cgroup.controllers").read_text()
    return hierarchies(mountinfo, offered)


def _settle(hierarchy: Hierarchy, controller: str, name: str) -> tuple[Hierarchy, int]:
    """A cell's own cgroup, and the descriptor that locks it; made anew where another cell was just removing it."""
    for _ in range(TRIES):
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as undo:
            parent = _parent(hierarchy, controller, name)
            lock = os.open(parent.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.samestat(parent.path.stat(), os.fstat(lock)):
                undo.pop_all()
                return parent, lock
    raise OSError(f"the cgroup {name} goes away as often as it is made")


def _parent(hierarchy: Hierarchy, controller: str, name: str) -> Hierarchy:
    path = hierarchy.path
    for part in ("kato", name):
        if hierarchy.version == 2:
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
        path = path / part
        path.mkdir(parents=True, exist_ok=True)
    if hierarchy.version == 2:
        (path / "cgroup.subtree_control").write_text(f"+{controller}")
    if not os.access(path, os.W_OK, effective_ids=True):
        raise PermissionError(13, "not permitted", str(path))
    return Hierarchy(hierarchy.version, path)
