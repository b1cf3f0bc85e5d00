"""Where what one task asks of a driver or a probe meets what no one foresaw: any exception flows in, a DriverError
of that task flows out, so that the node and its other tasks go on.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from kato.model.errors import DriverError

log = structlog.get_logger()


class Edge:
    """One task's edge, or one runtime's. Each surprise is logged once, with its traceback. whose: for the log."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._told: set[str] = set()

    @contextmanager
    def guard(self, *known: type[Exception]) -> Iterator[None]:
        """Lets DriverErrors pass, and what the caller says that it handles itself; all else becomes one."""
        handled: tuple[type[Exception], ...] = (DriverError, *known)
        try:
            yield
        except handled:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            if what not in self._told:
                self._told.add(what)
                log.exception("a driver failed as nobody expected; only this is affected", whose=self._whose)
            raise DriverError(
                f"What it asks for failed in a way that Káto does not know ({what}). Change what is unusual about "
                "it; the cell's log has the whole story."
            ) from error
