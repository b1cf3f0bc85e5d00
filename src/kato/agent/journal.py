"""What an agent must not forget over a restart: the ages of lists and latches flow in, and are durable before the
agent acts on them; sequence numbers that only rise flow out.
"""

import asyncio
import os
from collections.abc import Set
from pathlib import Path

import msgspec

from kato.model.errors import Refused

LIVES_APART = 1_000_000_000
"""Between the first sequence numbers of two lives: more than the statuses of any one life."""

Age = tuple[int, int, int]


class _Record(msgspec.Struct, kw_only=True):
    """`agent.json`. age: of the newest list acted on. seq: the first of a life. ready: tasks that are latched."""

    age: Age = (0, 0, 0)
    seq: int = 0
    ready: tuple[str, ...] = ()


class Journal:
    """Kept in `folder/agent.json`, by fsync and rename; with no folder, only for this life (the simulation).

    Safety rule 3 wants the highest (incarnation, epoch, revision) kept, so that no older list starts a task that
    was forgotten or stops one as absent. A list that brings and takes no task cannot do either beyond what the
    list before it does: goals only advance, and what ended keeps its record until it is absent. So the file is
    written when tasks come or go, or a new leader or incarnation speaks, and not for every change of a goal.
    """

    def __init__(self, folder: Path | None, now: float) -> None:
        """now: epoch seconds. Raises Refused where the file cannot be understood."""
        self._path = folder / "agent.json" if folder else None
        self._record = self._read()
        first = self._record.seq + LIVES_APART if self._record.seq else 0
        self._seq = self._record.seq = max(int(now * 1e6), first)
        self._writing = asyncio.Lock()
        if self._path is not None:
            _write(self._path, msgspec.json.encode(self._record))

    @property
    def age(self) -> Age:
        """Of the newest list that was accepted."""
        return self._record.age

    def next_seq(self) -> int:
        """Higher than any before, in this life and in earlier ones, even if the wall clock went back."""
        self._seq += 1
        return self._seq

    async def accept(self, age: Age, tasks: Set[str], *, changed: bool) -> None:
        """A list of `tasks` is going to be acted on; durable when this returns. changed: tasks come or go."""
        before = self._record.age
        self._record.ready = tuple(task for task in self._record.ready if task in tasks)
        if changed or age[:2] != before[:2]:
            await self._keep(age)
        self._record.age = age

    def was_ready(self, task: str) -> bool:
        """Whether this task's readiness is latched."""
        return task in self._record.ready

    async def latch(self, task: str) -> None:
        """Once ready, ready for life: also for the next life of the agent."""
        if task not in self._record.ready:
            self._record.ready = (*self._record.ready, task)
            await self._keep(self._record.age)

    async def _keep(self, age: Age) -> None:
        if self._path is None:
            return
        async with self._writing:
            record = _Record(age=max(age, self._record.age), seq=self._record.seq, ready=self._record.ready)
            await asyncio.to_thread(_write, self._path, msgspec.json.encode(record))

    def _read(self) -> _Record:
        if self._path is None:
            return _Record()
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Record)
        except FileNotFoundError:
            return _Record()
        except msgspec.MsgspecError as error:
            raise Refused(
                f"{self._path} cannot be understood ({error}). It keeps this node from obeying an outdated "
                "master; remove it if the cell's masters are all up to date."
            ) from error


def _write(path: Path, content: bytes) -> None:
    """Replaces a file whole and durably, closed to others."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
