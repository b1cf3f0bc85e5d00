"""The record of one task, as the keeper and the driver share it: a spec goes in as NUL-ended pairs, what the
keeper wrote of start and end comes out as structs.
"""

import errno
import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import TypeVar

import msgspec

from kato.drivers.runtime import Exit
from kato.model.link import RemovedTask

_T = TypeVar("_T")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
"""A FIFO that a task puts in a file's place holds up nobody."""
_LONGEST = 4096
"""Bytes of what a keeper writes (record.c: 1024)."""
_WITHOUT_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a keeper starts. env is whole; user is (uid, gid, groups), None for the cell's own.

    rotate: bytes of a full output file; files: how many full ones are kept beside the current. grace: seconds
    between SIGTERM and SIGKILL where the keeper itself is told to end. events: the cgroup's file of OOM kills.
    descriptors: the soft limit of open files; None for the keeper's own. stop: the signal that asks it to end.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    user: tuple[int, int, tuple[int, ...]] | None = None
    cgroups: tuple[str, ...] = ()
    events: str | None = None
    rotate: int
    files: int
    grace: float
    descriptors: int | None = None
    stop: int = Signals.SIGTERM

    def encode(self) -> bytes:
        """The pairs, as record.c reads them. ValueError where a word holds a NUL: no process can be given it."""
        pairs: list[tuple[str, object]] = [
            ("cwd", self.cwd),
            ("rotate", self.rotate),
            ("files", self.files),
            ("grace", self.grace),
        ]
        pairs += [("arg", word) for word in self.argv]
        pairs += [("env", f"{name}={value}") for name, value in self.env.items()]
        pairs += [("cgroup", folder) for folder in self.cgroups]
        if self.descriptors is not None:
            pairs.append(("descriptors", self.descriptors))
        if self.stop != Signals.SIGTERM:
            pairs.append(("stop", int(self.stop)))
        if self.events is not None:
            pairs.append(("events", self.events))
        if self.user is not None:
            uid, gid, groups = self.user
            pairs += [("uid", uid), ("gid", gid), *(("group", group) for group in groups)]
        words = [str(word) for pair in pairs for word in pair]
        for word in words:
            if "\0" in word:
                raise ValueError(
                    "no process can be given a NUL byte in its command, environment or folder. Take it out."
                )
        return b"".join(os.fsencode(word) + b"\0" for word in words)


class Started(msgspec.Struct, frozen=True):
    """Who runs. start, keeper_start: clock ticks since boot (field 22 of /proc/PID/stat). time: epoch seconds."""

    pid: int
    start: int
    keeper: int
    keeper_start: int
    boot: str
    time: float


class Ended(msgspec.Struct, frozen=True):
    """How the task's first process ended: a code or a signal, never both. ended: epoch seconds."""

    code: int | None
    signal: int | None
    ended: float
    oom: bool


class Record:
    """The folder of one task. `sandbox` is the task's own; everything beside it is closed to the task's user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = folder.name
        self.sandbox = folder / "sandbox"
        self.spec = folder / "spec"
        self.control = folder / "control"

    @property
    def exists(self) -> bool:
        return self.folder.is_dir()

    @property
    def clean(self) -> bool:
        """Whether the keeper ended by itself, with nothing of the task left: it removes its control last."""
        return not self.control.exists()

    def locked(self) -> bool:
        """Whether a keeper lives. It asks for the lock, shared, for no longer than the question takes.

        A damaged one is held by nobody who could be known by it.
        """
        try:
            lock = os.open(self.folder / "lock", _READ)
        except OSError as error:
            if error.errno in _WITHOUT_MEANS:
                raise
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def await_lock(self, patience: float) -> None:
        """Returns once no keeper lives, or after `patience` seconds. Blocks."""
        deadline = time.monotonic() + patience
        while self.locked() and time.monotonic() < deadline:
            time.sleep(0.005)

    def started(self) -> Started | None:
        """What stood before the task's exec; None where it never came so far."""
        return self._read("started", Started)

    def ended(self) -> Ended | None:
        """How it ended; None where nobody wrote it."""
        return self._read("ended", Ended)

    def kept(self, boot: str) -> RemovedTask:
        """What is known of the task once it was removed. boot: the kernel's boot id now."""
        started, ended = self.started(), self.ended()
        return RemovedTask(
            self.task,
            started.time if started else None,
            ended.ended if ended else None,
            exit_of(started, ended, boot).message,
        )

    def _read(self, name: str, type: type[_T]) -> _T | None:
        # A damaged file (a failing disk) tells nothing, which is what None says; without means a cell asks again.
        try:
            file = os.open(self.folder / name, _READ)
            try:
                return msgspec.json.decode(os.read(file, _LONGEST), type=type)
            finally:
                os.close(file)
        except msgspec.MsgspecError:
            return None
        except OSError as error:
            if error.errno in _WITHOUT_MEANS:
                raise
            return None


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process."""
    return _stat(pid)[:1] in (["T"], ["t"])


def is_ending(pid: int) -> bool:
    """Whether a process has begun to end (PF_EXITING among its flags), and is in the table still."""
    fields = _stat(pid)
    return bool(fields) and bool(int(fields[6]) & 0x4)


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat (man proc) from its third field on, which follows the name; nothing where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def exit_of(started: Started | None, ended: Ended | None, boot: str) -> Exit:
    """How a task ended whose keeper is gone. boot: the kernel's boot id now."""
    if ended is not None:
        return Exit(ended.code, ended.signal, ended.ended, message(ended), oom=ended.oom)
    if started is not None and started.boot != boot:
        return Exit(message="The machine went down while it ran.", rebooted=True)
    return Exit(message="Nobody knows how it ended: its keeper was killed. What was left of it was ended.")


def message(ended: Ended) -> str:
    """An end as a sentence."""
    if ended.oom:
        return "It needed more memory than its `mem` allows, and the kernel killed it."
    if ended.signal is not None:
        return f"It was ended by signal {ended.signal} ({signal_name(ended.signal)})."
    return f"It exited with code {ended.code}."


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return Signals(number).name
    except ValueError:
        return f"SIG{number}"
