"""A keeper's words, to run a command beside a task, flow in; what came of it, with its last output, flows out."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Sequence

from kato.drivers.runtime import LAST, Executed
from kato.drivers.runtime.keepers import keeper

_PIPE = 1 << 16
"""Bytes that a pipe holds (man 7 pipe): what was written before the end."""


async def run(words: Sequence[str], timeout: float) -> Executed:
    """Runs a keeper's `run` to the end of its first process. Raises TimeoutError, keeper.Fault and OSError; where
    it is given up, also by cancelling, it has ended.
    """
    null = asyncio.subprocess.DEVNULL
    with _listening() as (inlet, last):
        process = await asyncio.create_subprocess_exec(
            *words, stdin=null, stdout=inlet, stderr=inlet, env={}, start_new_session=True
        )
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    if code == keeper.NOT_ENTERED:
        raise keeper.Fault(last.decode(errors="replace"))
    return Executed(code if code >= 0 else 128 - code, bytes(last))


@contextlib.contextmanager
def _listening() -> Iterator[tuple[int, bytearray]]:
    """A pipe's inlet, and the last that was written to it. Its end is not awaited: a daemon that the command
    leaves behind may hold it open for ever.
    """
    loop, last = asyncio.get_running_loop(), bytearray()
    outlet, inlet = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(inlet, True)

    def hear() -> bool:
        try:
            data = os.read(outlet, LAST)
        except BlockingIOError:
            return False
        last.extend(data)
        del last[:-LAST]
        return bool(data)

    loop.add_reader(outlet, hear)
    try:
        yield inlet, last
    finally:
        loop.remove_reader(outlet)
        for _ in range(_PIPE // LAST):
            if not hear():
                break
        os.close(inlet)
        os.close(outlet)
