"""What becomes of a HAProxy that does not answer: unanswered questions go in; whether it is stuck, or on a machine
that is merely slow, comes out, and one that is stuck is ended.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kato.drivers.balancer.process import HaproxyProcess
from kato.drivers.balancer.runtime_socket import ANSWER, MASTER

PATIENCE = 10.0
"""Seconds of unanswered questions in a row after which it may be stuck."""


class State(NamedTuple):
    """A process as the kernel has it. ticks: of the processor that it has used."""

    stopped: bool
    waits: bool
    """For the machine: for its turn, or for a disk."""
    ticks: int


class Patience:
    """Of one folder's HAProxy.

    A question counts for the seconds that it was given, so that a pause of the cell's own is not held against
    HAProxy. What waits for the machine, or has used the processor since the question before, is slow and not
    stuck; one that spins is ended by its own watchdog.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vain = 0.0
        self._before: Mapping[int, State] = {}

    def answered(self) -> None:
        """It lives."""
        self._vain = 0.0
        self._before = {}

    def stuck(self, seconds: float) -> bool:
        """Whether it is stuck, now that one more question had no answer within `seconds`."""
        before, self._before = self._before, {pid: _state(pid) for pid in living(self._folder)}
        self._vain += min(seconds, ANSWER)
        if self._vain < PATIENCE:
            return False
        now = self._before
        still = [not each.waits and pid in before and before[pid].ticks == each.ticks for pid, each in now.items()]
        return any(each.stopped for each in now.values()) or (bool(still) and all(still))


def living(folder: Path) -> list[int]:
    """The processes of a HAProxy that was started in `folder`: masters, and workers old and new."""
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal() and _ours(each, folder)]


async def end(folder: Path) -> None:
    """Ends all of them at once, and waits until they are gone."""
    async with asyncio.TaskGroup() as group:
        for pid in living(folder):
            with contextlib.suppress(ProcessLookupError):
                process = HaproxyProcess(pid)
                # Looked at again, now that the descriptor is there: so it is of the process that was found.
                if _ours(Path("/proc", str(pid)), folder):
                    group.create_task(_kill(process))
                else:
                    process.close()


async def _kill(process: HaproxyProcess) -> None:
    with contextlib.closing(process):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.fd, signal.SIGKILL)
        await process.gone(5.0)


def _ours(entry: Path, folder: Path) -> bool:
    """Whether a process was told of our socket and stands in our folder, as every one of HAProxy does."""
    with contextlib.suppress(OSError):
        if MASTER.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
            return os.path.samefile(entry / "cwd", folder)
    return False


def _state(pid: int) -> State:
    """Of a process over all of its threads; of one that has gone meanwhile, one that is merely slow."""
    states, ticks = set[str](), 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            states.add(fields[0])
            ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return State(False, True, 0)
    return State(states == {"T"}, bool(states & {"R", "D"}), ticks)
