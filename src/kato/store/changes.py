"""What a mirror took in flows in, revision by revision; one subscriber's own queue of it flows out."""

import asyncio
from collections import deque
from typing import Any, NamedTuple, Self

from kato.model.errors import Compacted


class Change(NamedTuple):
    """One key, decoded: None before it was made, and None once it is gone."""

    key: str
    before: Any
    now: Any


class Changes(NamedTuple):
    """All that one step of the mirror changed; `revision` is where the mirror stands since."""

    revision: int
    items: tuple[Change, ...]


class Subscription:
    """An async iterator over Changes, and a context manager that ends it. One reader.

    A reader that falls `limit` steps behind is dropped: its next read raises Compacted, and it begins anew from
    the mirror as it is.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: deque[Changes] = deque()
        self._wake = asyncio.Event()
        self._dropped = False
        self.over = False

    def offer(self, changes: Changes) -> None:
        """Called by the mirror; never waits."""
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self._dropped = self.over = True
        else:
            self._queue.append(changes)
        self._wake.set()

    def close(self) -> None:
        """Ends it; a reader that waits stops."""
        self.over = True
        self._wake.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changes:
        while not self._queue:
            self._check_dropped()
            if self.over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def _check_dropped(self) -> None:
        if self._dropped:
            raise Compacted(f"This reader fell {self._limit} changes behind and was dropped. Look at the mirror.")
