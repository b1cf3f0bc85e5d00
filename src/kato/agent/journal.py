"""What an agent must not forget over a restart: the ages of lists and latches flow in, and are durable before the
agent acts on them; sequence numbers that only rise flow out.
"""

import asyncio
from collections.abc import Callable, Set
from pathlib import Path

import msgspec

from kato.agent import durable
from kato.model.errors import Refused

FILE = "agent.json"
LIVES_APART = 1_000_000_000
"""Between the first sequence numbers of two lives: more than the statuses of any one life."""

Age = tuple[int, int, int]


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """`agent.json`. cell, age: of the newest list acted on. seq: the first of a life. ready: latched tasks."""

    cell: str = ""
    age: Age = (0, 0, 0)
    seq: int = 0
    ready: tuple[str, ...] = ()


def remembered(folder: Path) -> tuple[str, Age] | None:
    """The id of the cell whose list the agent of `folder` obeyed last, and the newest age that it keeps of it;
    None where no agent lived there. A store of that cell that is older than this was put back.

    Raises Refused where the file cannot be understood.
    """
    entry = _read(folder / FILE)
    return (entry.cell, entry.age) if entry else None


class Journal:
    """Kept in `folder/agent.json`; with no folder, only for this life (the simulation).

    Safety rule 3 wants the highest (incarnation, epoch, revision) of a cell kept, so that no older list starts a
    task that was forgotten or stops one as absent. A list that brings and takes no task cannot do either beyond
    what the list before it does: goals only advance, and what ended keeps its record until it is absent. So the
    file is written when tasks come or go, or a new leader, incarnation or cell speaks, and not for every change of
    a goal. Ages of two cells say nothing of each other: with another cell, the agent begins anew.
    """

    def __init__(self, folder: Path | None, now: float) -> None:
        """now: epoch seconds. Raises Refused where the file cannot be understood or not be written."""
        self._path = folder / FILE if folder else None
        before = (_read(self._path) if self._path else None) or _Entry()
        first = before.seq + LIVES_APART if before.seq else 0
        self._seq = max(int(now * 1e6), first)
        self._entry = msgspec.structs.replace(before, seq=self._seq)
        self._turn = asyncio.Lock()
        try:
            if self._path:
                _write(self._path, self._entry)
        except OSError as error:
            raise Refused(
                f"{self._path} cannot be written ({error.strerror}), and without it this node might obey an "
                "outdated master. Make room on the disk, or see who owns the folder."
            ) from error

    @property
    def cell(self) -> str:
        """The id of the cell whose list was accepted last."""
        return self._entry.cell

    @property
    def age(self) -> Age:
        """Of the newest list that was accepted."""
        return self._entry.age

    def outdated(self, cell: str, age: Age) -> bool:
        """Whether a list is older than one of the same cell that was accepted."""
        return cell == self._entry.cell and age < self._entry.age

    def next_seq(self) -> int:
        """Higher than any before, in this life and in earlier ones, even if the wall clock went back."""
        self._seq += 1
        return self._seq

    async def accept(self, cell: str, age: Age, tasks: Set[str], *, changed: bool) -> None:
        """A list of `tasks` is going to be acted on; durable when this returns. changed: tasks come or go.

        Raises OSError where it cannot be written: then it is not accepted.
        """
        new_master = (cell, *age[:2]) != (self.cell, *self.age[:2])
        await self._become(
            lambda entry: msgspec.structs.replace(
                entry, cell=cell, age=age, ready=tuple(task for task in entry.ready if task in tasks)
            ),
            keep=changed or new_master,
        )

    def was_ready(self, task: str) -> bool:
        """Whether this task's readiness is latched."""
        return task in self._entry.ready

    async def latch(self, task: str) -> None:
        """Once ready, ready for life: also for the next life of the agent. OSError where it cannot be written."""
        if not self.was_ready(task):
            await self._become(lambda entry: msgspec.structs.replace(entry, ready=(*entry.ready, task)), keep=True)

    async def _become(self, change: Callable[[_Entry], _Entry], *, keep: bool) -> None:
        # Whoever is cancelled leaves a write that goes on to its end: the next one must not meet it.
        await asyncio.shield(asyncio.create_task(self._change(change, keep)))

    async def _change(self, change: Callable[[_Entry], _Entry], keep: bool) -> None:
        async with self._turn:
            entry = change(self._entry)
            if keep and self._path:  # in memory alone, no thread: the simulation has none
                await asyncio.to_thread(_write, self._path, entry)
            self._entry = entry


def _read(path: Path) -> _Entry | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Entry)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise Refused(
            f"{path} cannot be understood ({error}). It keeps this node from obeying an outdated master; remove "
            "it if the cell's masters are all up to date."
        ) from error


def _write(path: Path, entry: _Entry) -> None:
    durable.write(path, msgspec.json.encode(entry))
