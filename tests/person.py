"""A person at a command beside a task, for tests: words go in as keys; what it wrote, and its exit code, stay."""

import asyncio
from collections.abc import AsyncIterator, Callable

from kato.drivers.runtime import Exec, Runtime
from kato.model.conversation import Command, Keys, Left, Size, Typed, Wrote
from runtimes import PATIENCE, TASK


class Person:
    """Types what a test tells, when the command has written what it waits for."""

    def __init__(self, runtime: Runtime, command: Command) -> None:
        assert isinstance(runtime, Exec) and "exec" in runtime.powers
        self._typed: asyncio.Queue[Typed | None] = asyncio.Queue()
        self.heard = {"stdout": b"", "stderr": b""}
        self.code: int | None = None
        self._said = runtime.exec(TASK, command, self._typing())

    async def _typing(self) -> AsyncIterator[Typed]:
        while (each := await self._typed.get()) is not None:
            yield each

    def type(self, *words: str | Size | None) -> None:
        """None is the end of the input."""
        for word in words:
            self._typed.put_nowait(Keys(word.encode()) if isinstance(word, str) else word)

    async def hears(self, word: str) -> None:
        await self._until(lambda: word.encode() in self.heard["stdout"])

    async def leaves(self) -> int:
        try:
            await self._until(lambda: self.code is not None)
        finally:
            await self.hangs_up()
        assert self.code is not None
        return self.code

    async def hangs_up(self) -> None:
        await self._said.aclose()

    async def _until(self, fact: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not fact():
                match await anext(self._said):
                    case Wrote(stream, data):
                        self.heard[stream] += data
                    case Left(code):
                        self.code = code
