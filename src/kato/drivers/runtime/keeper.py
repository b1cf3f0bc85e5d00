"""The driver's end of a keeper (keeper.c): a record with a spec flows in, a keeper that has detached, or the fault
that it told, comes out; and later word that it is gone.
"""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import msgspec

from kato.drivers.runtime.record import Record, Started, start_time
from kato.model.errors import DriverError

KEEPER = Path(__file__).with_name("keeper")
NOT_ENTERED = 125
"""Its exit code where it could not enter the task's surroundings."""


class Fault(Exception):
    """A keeper could not start its task. step: what it was doing, its own word; cause: the kernel's."""

    def __init__(self, said: str) -> None:
        self.step, _, self.cause = said.partition(": ")
        super().__init__(f"the keeper could not {self.step or 'start'}: {self.cause or 'it was killed'}.")


def spawn(keeper: Path, record: Record) -> Started:
    """Starts the task that the record's spec says. Raises Fault, and OSError where no keeper could be started.

    Its first process ends once it has detached; its pipe closes once the task runs or cannot. Blocks until then.
    """
    with subprocess.Popen(
        [keeper, "keep", record.folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        close_fds=False,  # the keeper closes all that it did not ask for
    ) as process:
        said = process.stdout.read() if process.stdout else b""
    if not said.startswith(b"{"):
        raise Fault(said.decode(errors="replace"))
    return msgspec.json.decode(said, type=Started)


async def started(record: Record) -> Started | None:
    """Its start; a keeper whose cell was killed meanwhile is given the moment that it needs to write it."""
    while (start := record.started()) is None and record.locked():  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # a window of a few ms, right after kill -9; nothing tells that it closes
    return start


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
        # Where the cell is process 1 of a container it inherits its keepers, and no one else reaps them.
        if ours:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)  # noqa: ASYNC222
    finally:
        if handle >= 0:
            os.close(handle)


async def _readable(handle: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)
