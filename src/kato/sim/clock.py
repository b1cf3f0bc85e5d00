"""An event loop whose clock jumps to the next timer: an hour of it takes as long as its work does."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
"""What the wall clock of a simulation says at loop time 0, in epoch seconds."""


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: whoever is awaited will wait for ever."""


class _Jump(selectors.DefaultSelector):
    """A selector that never waits: it moves the clock forward by as long as it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("The simulation is stuck: nothing is ready and no timer is set.")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The standard loop on virtual time. What is meant for a thread runs at once; sockets have no place on it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Calls `func` here and now: a thread would run on real time, and virtual time would jump past it."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def wall(self) -> float:
        """Epoch seconds, for whoever takes a wall clock."""
        return EPOCH + self._jump.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on a loop of its own on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
