"""A command beside a task with a person at its other end: what is typed flows in, onto a terminal or a pipe; what
it writes flows out as it comes, and last how it left.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import termios
import tty
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kato.drivers.runtime.keepers import keeper
from kato.model.conversation import Command, Keys, Left, Said, Size, Typing, Wrote

CHUNK = 1 << 16
"""Bytes that a pipe holds (man 7 pipe), and so what may be left in it when its writer has ended."""
_LAST_READS = 16
"""Of a terminal, which hands out a page (4 KiB) a time. A daemon that is left behind may write for ever."""
GRACE = 1.0
"""Seconds between SIGHUP and SIGKILL for a command whose person has gone."""
_GONE = (errno.EIO, errno.EPIPE)
"""What a terminal, and a pipe, whose other end is closed says."""


@dataclass
class _Ends:
    """Our ends, by stream, and the command's three. typed: where keys go; None where it has no input."""

    ours: dict[str, int]
    theirs: tuple[int, int, int]
    typed: int | None
    terminal: int | None = None
    open: set[int] = field(default_factory=set)

    def close(self, *ends: int) -> None:
        for end in set(ends) & self.open:
            self.open.discard(end)
            os.close(end)


async def hold(
    program: Path,
    record: Path,
    command: Command,
    typing: Typing,
    words: Sequence[str] = (),
    resized: Callable[[Size], Awaitable[None]] | None = None,
) -> AsyncGenerator[Said, None]:
    """Runs a keeper's `exec` until its first process has ended. Raises keeper.Fault before anything was said, and
    OSError. Closed before, it hangs up, and ends it.

    words: what the keeper is to run in the command's place, which has a terminal of its own for it behind ours, so
    that ours hands every key on as it is; resized: gives that one its size.
    """
    with _opened(command, raw=bool(words)) as ends:
        process = await _spawn(program, record, command, ends, words or command.argv)
        feeding = asyncio.create_task(_feed(ends, typing, resized))
        ending = asyncio.create_task(process.wait())
        try:
            while ends.ours and not ending.done():
                await _until_readable(ends.ours.values(), ending)
                for said in _read(ends):
                    yield said
            code = await ending
            for _ in range(_LAST_READS):
                for said in _read(ends):
                    yield said
            yield Left(code if code >= 0 else 128 - code)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            ends.close(*ends.open)
            await _hang_up(process, ending)


async def _spawn(
    program: Path, record: Path, command: Command, ends: _Ends, words: Sequence[str]
) -> asyncio.subprocess.Process:
    """The command once it runs. Raises keeper.Fault where it cannot."""
    outlet, inlet = os.pipe2(os.O_CLOEXEC)
    ends.open |= {outlet, inlet}
    stdin, stdout, stderr = ends.theirs
    process = await asyncio.create_subprocess_exec(
        *(str(program), "exec", str(inlet), str(record), *words),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env={"TERM": command.kind} if command.terminal else {},
        pass_fds=(inlet,),
        start_new_session=True,
    )
    ends.close(inlet, *ends.theirs)
    try:
        await _until_readable([outlet])
        if said := os.read(outlet, CHUNK):
            raise keeper.Fault(said.decode(errors="replace"))
    except BaseException:
        await _hang_up(process, asyncio.create_task(process.wait()))
        raise
    ends.close(outlet)
    return process


@contextlib.contextmanager
def _opened(command: Command, *, raw: bool) -> Iterator[_Ends]:
    ends = _Ends({}, (-1, -1, -1), None)
    try:
        if command.terminal:
            ours, theirs = os.openpty()
            ends.open |= {ours, theirs}
            if raw:
                tty.setraw(theirs)
            ends.ours, ends.theirs, ends.typed, ends.terminal = {"stdout": ours}, (theirs,) * 3, ours, ours
            resize(ours, Size(command.rows, command.columns))
        else:
            (out, out_in), (err, err_in), (keys, typed) = (_pipe(ends) for _ in range(3))
            ends.ours, ends.theirs, ends.typed = {"stdout": out, "stderr": err}, (keys, out_in, err_in), typed
            if not command.interactive:
                ends.close(typed)
        for end in ends.open - set(ends.theirs):
            os.set_blocking(end, False)
        yield ends
    finally:
        ends.close(*ends.open)


def _pipe(ends: _Ends) -> tuple[int, int]:
    """A pipe that is closed with the others, also where there are no descriptors for the next one."""
    pipe = os.pipe2(os.O_CLOEXEC)
    ends.open |= set(pipe)
    return pipe


async def _feed(ends: _Ends, typing: Typing, resized: Callable[[Size], Awaitable[None]] | None) -> None:
    """Hands on what is typed. The end of the input is told to a pipe; a terminal has keys for it."""
    typed = ends.typed
    async for each in typing:
        if isinstance(each, Size):
            if ends.terminal is not None:
                resize(ends.terminal, each)
                if resized is not None:
                    await resized(each)
        elif typed in ends.open and not await _write(typed, each):
            ends.close(typed)
    if ends.terminal is None and typed is not None:
        ends.close(typed)


async def _write(end: int, keys: Keys) -> bool:
    """Whether there is still somebody who reads."""
    loop, left = asyncio.get_running_loop(), memoryview(keys.data)
    while left:
        try:
            left = left[os.write(end, left) :]
        except BlockingIOError:
            with _watching([end], loop.add_writer, loop.remove_writer) as ready:
                await ready.wait()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return False
    return True


def _read(ends: _Ends) -> Iterator[Said]:
    """What has been written by now, one piece a stream; a stream that has ended is dropped."""
    for stream, end in list(ends.ours.items()):
        data = b""
        try:
            data = os.read(end, CHUNK)
        except BlockingIOError:
            continue
        except OSError as error:
            if error.errno not in _GONE:
                raise
        if data:
            yield Wrote(stream, data)
        else:
            del ends.ours[stream]


async def _until_readable(ends: Collection[int], ending: "asyncio.Future[int] | None" = None) -> None:
    loop = asyncio.get_running_loop()
    with _watching(ends, loop.add_reader, loop.remove_reader) as ready:
        if ending is None:
            await ready.wait()
            return
        ending.add_done_callback(wake := lambda _: ready.set())
        try:
            await ready.wait()
        finally:
            ending.remove_done_callback(wake)


@contextlib.contextmanager
def _watching(
    ends: Collection[int], add: Callable[..., None], remove: Callable[[int], bool]
) -> Iterator[asyncio.Event]:
    ready = asyncio.Event()
    for end in ends:
        add(end, ready.set)
    try:
        yield ready
    finally:
        for end in ends:
            remove(end)


async def _hang_up(process: asyncio.subprocess.Process, ending: "asyncio.Task[int]") -> None:
    """Ends it where it has not ended by itself."""
    for number in (signal.SIGHUP, signal.SIGKILL):
        if ending.done():
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        await asyncio.wait([ending], timeout=GRACE)


def resize(terminal: int, size: Size) -> None:
    """Gives a terminal its size. OSError where it is none."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
