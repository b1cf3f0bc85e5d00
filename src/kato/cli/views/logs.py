"""What tasks wrote: pieces of output come from the cell; whole lines, with the task's name, go to stdout."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kato.cli.printing.show import coloured, harmless
from kato.cli.words.names import ended_task, find_task, group_of
from kato.cli.words.place import THERE, Address
from kato.cli.words.usage import moment, whole
from kato.model.errors import NotFound
from kato.model.ids import safe, short_task, timestamp, within

if TYPE_CHECKING:
    from kato.client import Client, LogPiece

MOST = 1_000_000
"""Lines that anyone asks for."""
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Of terminals (ECMA-48), one a task in turn."""


SHOWN = 5
"""Ended tasks that are named."""


async def logs(
    name: str = "/",
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    tail: Annotated[int | None, Parameter(name=["--tail", "-n"], converter=whole("--tail", "lines", MOST))] = None,
    since: Annotated[float | None, Parameter(converter=moment(time.time))] = None,
    place: Address = THERE,
) -> None:
    """Print what tasks wrote: of all apps, of a project, of an app, or one; in the order of time, by task.

    Parameters
    ----------
    name
        An app (`vote`, `/voting/vote`), all apps of a project (`voting`), or a task (`vote.3`, or its whole id),
        also one that has ended lately; left out: all apps.
    follow
        Go on with what comes, until Ctrl-C.
    tail
        Only the last lines, so many of each task.
    since
        Only what was written since: 10m, 1h30m or 2d ago, or a time such as 2026-11-23T05:20:00Z.
    """
    async with place.client() as client:
        apps = {each["id"]: each for each in await client.apps()}
        tasks = [task["id"] for app in apps.values() for task in app["tasks"]]
        try:
            group = group_of(name, apps)
            found = group or find_task(name, tasks, apps)
        except NotFound:
            ended = await _ended(client, name)
            if ended is None:
                raise
            found = ended
        away = await _away(client, found, apps)
        if away is not None:
            print(f"kato: {away}", file=sys.stderr)
        lines, silent = Lines(print, named=bool(group) or found in apps), True
        async for piece in client.logs(found, tail=tail, follow=follow, since=since):
            lines.feed(piece)
            silent = False
        lines.end()
        if silent and away is None:
            print(f"kato: {await _nothing(client, found, found in apps)}", file=sys.stderr)


async def _away(client: "Client", name: str, apps: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Whose output cannot be read now, and why, in the words of its runtime, which is not there; else None."""
    owner = short_task(name).rpartition(".")[0]
    meant = {id: app["runtime"] for id, app in apps.items() if within(id, name) or safe(id) == owner}
    runtimes = {each for each in meant.values() if each} - {"process"}
    for node in await client.nodes() if runtimes else ():
        for runtime in sorted(runtimes.difference(node["runtimes"])):
            notes = [note for note in node["notes"] if note.startswith(f"{runtime}: ")]
            if notes:
                whose = sorted(id for id, its in meant.items() if its == runtime)
                more = f" and {len(whose) - SHOWN} more" if len(whose) > SHOWN else ""
                what = f"What {', '.join(whose[:SHOWN])}{more} wrote cannot be read now."
                return f"{what} {notes[0].removeprefix(f'{runtime}: ')}"
    return None


async def _nothing(client: "Client", name: str, app: bool) -> str:
    """What to say where nothing was written; of an app, which of its ended tasks did."""
    found = await client.ended() if app else []
    ended = [each["short"] for each in found if each["short"].rpartition(".")[0] == safe(name)]
    if not ended:
        return "Nothing is written yet."
    return f"Nothing is written yet. Ended tasks, whose output is kept: {', '.join(ended[: -SHOWN - 1 : -1])}."


async def _ended(client: "Client", name: str) -> str | None:
    """The task of that name that has gone, if its output is kept; it is said how it ended."""
    task = await ended_task(client, name)
    if task is None:
        return None
    when = f" at {timestamp(task['ended'])}" if task["ended"] else ""
    print(f"kato: {task['short']} has ended{when}. {task['message']}", file=sys.stderr)
    return str(task["task"])


class Lines:
    """Puts pieces together to lines and hands them to `write`. named: each with its task in front."""

    def __init__(self, write: Callable[[str], None], *, named: bool = True) -> None:
        self._write = write
        self._named = named
        self._rest: dict[tuple[str, str], str] = {}
        self._colours: dict[str, int] = {}
        self._width = 0

    def feed(self, piece: "LogPiece") -> None:
        """Takes a piece; writes the lines that it ends."""
        key = (piece.task, piece.stream)
        *lines, rest = (self._rest.pop(key, "") + piece.text).split("\n")
        for line in lines:
            self._write(self._line(piece.task, line))
        if rest:
            self._rest[key] = rest

    def end(self) -> None:
        """Writes what has no newline yet."""
        for (task, _), rest in self._rest.items():
            self._write(self._line(task, rest))
        self._rest.clear()

    def _line(self, task: str, text: str) -> str:
        text = harmless(text.rstrip("\r")) if sys.stdout.isatty() else text.rstrip("\r")
        if not self._named:
            return text
        name = short_task(task)
        self._width = max(self._width, len(name))
        name = f"{name:{self._width}}"
        if coloured():
            colour = COLOURS[self._colours.setdefault(task, len(self._colours)) % len(COLOURS)]
            name = f"\x1b[{colour}m{name}\x1b[0m"
        return f"{name} | {text}"
