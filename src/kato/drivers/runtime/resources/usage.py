"""What tasks use: a process of each goes in; seconds of processors and bytes of memory come out.

A task's own cgroup counts all that ever ran in it, and its memory as `docker stats` shows it: without those pages
of files that could go at once. Where a task has none of its own, the processes that live now are counted: theirs
and their ended children's time, and memory that is of no file.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from kato.drivers.runtime.resources.cgroups import Hierarchy, mounted
from kato.model.link import Used

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def used(tasks: Mapping[str, tuple[int, str]]) -> dict[str, Used]:
    """What each task uses, by a process of it, and a word that the path of its own cgroup has. Tasks that have
    gone are left out. It blocks for some milliseconds.
    """
    places, found = mounted(), {}
    children: dict[int, list[int]] | None = None
    for task, (pid, mark) in tasks.items():
        try:
            paths = paths_of(Path(f"/proc/{pid}/cgroup").read_text())
            cpu, memory = _cpu(places, paths, mark), _memory(places, paths, mark)
            if cpu is None or memory is None:
                children = _children() if children is None else children
                pids = _family(pid, children)
                cpu = _ticks(pids) if cpu is None else cpu
                memory = _private(pids) if memory is None else memory
        except (OSError, ValueError):
            continue
        found[task] = Used(cpu, memory)
    return found


def paths_of(text: str) -> dict[str, str]:
    """Where a process is in each hierarchy, from its /proc/PID/cgroup: by controller, that of version 2 by ''.

    >>> paths_of("4:cpu,cpuacct:/a\\n0::/b\\n")
    {'cpu': '/a', 'cpuacct': '/a', '': '/b'}
    """
    lines = (line.split(":", 2) for line in text.splitlines())
    return {name: path for _, names, path in lines for name in names.split(",")}


def _cpu(places: Mapping[str, Hierarchy], paths: Mapping[str, str], mark: str) -> float | None:
    folder = _folder(places.get("cpuacct"), "cpuacct", paths, mark)
    if folder is not None:
        return int((folder / "cpuacct.usage").read_text()) / 1e9
    place = places.get("cpu")
    folder = _folder(place, "cpu", paths, mark) if place is not None and place.version == 2 else None
    return None if folder is None else _counted(folder / "cpu.stat", "usage_usec") / 1e6


def _memory(places: Mapping[str, Hierarchy], paths: Mapping[str, str], mark: str) -> int | None:
    place = places.get("memory")
    folder = _folder(place, "memory", paths, mark)
    if place is None or folder is None:
        return None
    whole, idle = ("memory.current", "inactive_file")
    if place.version == 1:
        whole, idle = ("memory.usage_in_bytes", "total_inactive_file")
    return max(0, int((folder / whole).read_text()) - _counted(folder / "memory.stat", idle))


def _folder(place: Hierarchy | None, name: str, paths: Mapping[str, str], mark: str) -> Path | None:
    """The task's own cgroup in a hierarchy; None where it has none there, or it cannot be seen from here."""
    if place is None:
        return None
    path = paths.get(name if place.version == 1 else "", "")
    folder = place.path / path.lstrip("/")
    return folder if mark in path and folder.is_dir() else None


def _counted(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        word, _, value = line.partition(" ")
        if word == name:
            return int(value)
    raise ValueError(f"{file} counts no {name}")


def _children() -> dict[int, list[int]]:
    """The children of every process."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                found.setdefault(int(_stat(int(name))[1]), []).append(int(name))
    return found


def _family(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    """A process and all that it started. What is orphaned becomes its keeper's child, so these belong to it."""
    keeper = int(_stat(pid)[1])
    found = [each for each in children.get(keeper, [pid]) if keeper != 1] or [pid]
    for each in found:  # it grows meanwhile
        found += children.get(each, ())
    return found


def _ticks(pids: Iterable[int]) -> float:
    """Seconds of processors, those of children that have ended included."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:15]))
    return ticks / _TICK


def _private(pids: Iterable[int]) -> int:
    """Bytes of memory that are of no file."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
            pages += resident - shared
    return pages * _PAGE


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field (proc(5)) on: a name may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
