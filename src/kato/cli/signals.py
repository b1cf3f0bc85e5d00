"""Ctrl-C and its kin: signals come in; work is cancelled, and the exit code that they mean comes out."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal ended the work. left: what goes on and what was left, as sentences."""

    def __init__(self, number: int, left: str = "") -> None:
        self.exit_code = 128 + number
        self.left = left
        super().__init__(signal.Signals(number).name)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """While it is entered, SIGTERM and SIGHUP cancel the work as Ctrl-C does: what it began is ended.

    One that is ignored (nohup), or that Signals has taken, stays so, now and afterwards.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    free = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is signal.SIG_DFL]
    for each in free:
        loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in free:
            loop.remove_signal_handler(each)


class Parting:
    """While it is entered, Ctrl-C raises Interrupted with what is true by then: `left`."""

    def __init__(self, left: str = "Nothing was changed.") -> None:
        self.left = left

    def asks(self, what: str) -> None:
        """The cell is being asked for something, and has not answered."""
        self.left = f"The cell was just asked for {what} and had not answered; kato ls shows whether it took it."

    def goes_on(self, what: str) -> None:
        """The cell has taken it."""
        self.left = f"The {what} goes on. See: kato ls"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # asyncio.run cancels the command when Ctrl-C comes, and nobody else does.
        if isinstance(error, asyncio.CancelledError):
            raise Interrupted(signal.SIGINT, self.left) from None


class Signals:
    """While it is entered, SIGINT, SIGTERM and SIGHUP end no process but the work that is under `guard`."""

    def __init__(self) -> None:
        self._number: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> "Signals":
        for each in ENDING:
            asyncio.get_running_loop().add_signal_handler(each, self._take, each)
        return self

    def __exit__(self, *_: object) -> None:
        for each in ENDING:
            asyncio.get_running_loop().remove_signal_handler(each)

    def _take(self, number: int) -> None:
        if number == signal.SIGHUP:
            # The terminal has gone; writing to it would fail.
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (sys.stdout, sys.stderr):
                os.dup2(null, stream.fileno())
        if not self._number.done():
            self._number.set_result(number)

    async def guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the work. Raises Interrupted, once it is cancelled, when a signal comes first."""
        task = asyncio.ensure_future(work)
        try:
            waits: list[asyncio.Future[Any]] = [task, self._number]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        number = self._number.result()
        self._number = asyncio.get_running_loop().create_future()
        raise Interrupted(number)
