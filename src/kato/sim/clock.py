"""An event loop whose clock jumps to the next timer: an hour of it takes as long as its work does.

Whoever is to be stopped and let go on, as by SIGSTOP and SIGCONT, runs its tasks in a context where `OWNER` is it.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""What the wall clock of a simulation says at loop time 0, in epoch seconds."""

OWNER: ContextVar[object] = ContextVar("OWNER", default=None)
"""Whose task runs."""


class Stuck(RuntimeError):
    """Whoever is awaited will wait for ever."""


class _Jump(selectors.DefaultSelector):
    """A selector that never waits: it moves the clock forward by as long as it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.end = math.inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("The simulation is stuck: nothing is ready and no timer is set.")
        self.now += max(timeout, 0.0)
        if self.now > self.end:
            raise Stuck("The simulation goes on though it should be over: something does not end.")
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The standard loop on virtual time. Sockets and subprocesses have no place on it."""

    def __init__(self, end: float = math.inf) -> None:
        """end: seconds after which whatever still goes on is Stuck."""
        self._jump = _Jump()
        self._jump.end = end
        self._frozen: dict[object, list[asyncio.Handle]] = {}
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *arguments: Any
    ) -> asyncio.Future[T]:
        """What would run in a thread runs at once: time does not pass while it does."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*arguments))
        except Exception as error:
            done.set_exception(error)
        return done

    def freeze(self, owner: object) -> None:
        """Stops the tasks of `owner`: none of them takes another step until `thaw`. Their timers go on."""
        self._frozen.setdefault(owner, [])

    def thaw(self, owner: object) -> None:
        """Lets the tasks of `owner` go on, with all that has come for them meanwhile, in order."""
        for handle in self._frozen.pop(owner, []):
            if not handle.cancelled():
                super().call_soon(handle._run)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._frozen:
            owner = OWNER.get() if context is None else context.get(OWNER)
            if owner in self._frozen:
                handle = asyncio.Handle(callback, args, self, context)
                self._frozen[owner].append(handle)
                return handle
        return super().call_soon(callback, *args, context=context)


def run(main: Coroutine[Any, Any, T], end: float = math.inf) -> T:
    """Runs `main` on a loop of its own on virtual time. Stuck where that is not over by `end` (seconds)."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(end)) as runner:
        return runner.run(main)
