"""The driver's end of a keeper (keeper.c): a record with a spec flows in, a keeper that has detached, or the fault
that it told, comes out; and later word that it is gone.
"""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

import msgspec

from kato.drivers.runtime.keepers.record import Record, Started, is_ending, is_stopped, start_time
from kato.model.errors import DriverError

KEEPER = Path(__file__).parents[1] / "keeper"
"""The program: where the drivers are that have it executed, in tasks of containers too."""
NOT_ENTERED = 125
"""Its exit code where it could not enter the task's surroundings."""
HELD_MS = 500
"""How long a keeper says nothing until it is looked at; a slow disk may hold it, too."""


class Fault(Exception):
    """A keeper could not start its task. step: what it was doing, its own word; cause: the kernel's."""

    def __init__(self, said: str) -> None:
        self.step, _, self.cause = said.partition(": ")
        super().__init__(f"the keeper could not {self.step or 'start'}: {self.cause or 'it was killed'}.")


def spawn(keeper: Path, record: Record) -> Started:
    """Starts the task that the record's spec says. Raises Fault, and OSError where no keeper could be started.

    Its first process ends once it has detached; its pipe closes once the task runs or cannot. Blocks until then,
    or until the task, which runs then, is seen to have stopped its keeper.
    """
    with subprocess.Popen(
        [keeper, "keep", record.folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        close_fds=False,  # the keeper closes all that it did not ask for
    ) as process:
        assert process.stdout is not None
        said = _hear(process.stdout.fileno(), record)
    if not said.startswith(b"{"):
        raise Fault(said.decode(errors="replace"))
    return msgspec.json.decode(said, type=Started)


def _hear(pipe: int, record: Record) -> bytes:
    """All that a keeper says, or what stands in the record where it is kept from saying it."""
    said, ready = b"", select.poll()
    ready.register(pipe, select.POLLIN)
    while True:
        if ready.poll(HELD_MS):
            if not (data := os.read(pipe, 4096)):
                return said
            said += data
            continue
        with contextlib.suppress(OSError):  # no descriptors: looked at again
            start = record.started()
            if start is not None and is_stopped(start.keeper):
                return msgspec.json.encode(start)


async def started(record: Record, patience: float) -> Started | None:
    """Its start; a keeper whose cell was killed meanwhile is given the moment that it needs to write it, but no
    more than `patience` seconds: a record may be damaged. None where nothing can be read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while (start := record.started()) is None and record.locked():  # noqa: ASYNC110
                await asyncio.sleep(
                    0.005
                )  # a window of a few ms, right after kill -9; nothing tells that it closes
            return start
    return None


async def until_gone(record: Record, start: Started) -> None:
    """Returns when the keeper is gone: its pidfd says so, taken while the lock and the start time prove it."""
    try:
        handle = os.pidfd_open(start.keeper)
    except ProcessLookupError:
        handle = -1
    try:
        ours = handle >= 0 and start_time(start.keeper) == start.keeper_start
        if record.locked():
            if not ours:
                raise DriverError(
                    f"The keeper of task {record.task} lives, but not in this cell's pid namespace. "
                    "Run the cell where it ran before."
                )
            await _readable(handle)
        elif ours and is_ending(start.keeper):  # it has let go of its lock, and cannot be reaped yet
            await _readable(handle)
        if ours:
            # Where the cell is process 1 of a container it inherits its keepers, and no one else reaps them.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222
    finally:
        if handle >= 0:
            os.close(handle)


def urge(record: Record, wish: signal.Signals) -> bool:
    """Sends `wish` to a keeper that was stopped, as a task of its own user can do; whether it was. One whose
    control is gone is told to end its task by SIGTERM. Any other is at work on something that does not die.
    Raises OSError.
    """
    start = record.started()
    if start is None:
        return False
    try:
        handle = os.pidfd_open(start.keeper)
    except ProcessLookupError:
        return False
    try:
        if start_time(start.keeper) != start.keeper_start:
            return False
        stopped = is_stopped(start.keeper)
        if stopped or not record.control.exists():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, wish if stopped else signal.SIGTERM)
        return stopped
    finally:
        os.close(handle)


async def _readable(handle: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)
