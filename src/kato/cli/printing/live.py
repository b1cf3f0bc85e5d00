"""The live view: apps as the API tells them go in; a moving table, or plain lines without a terminal, come out.

`rows` is pure; `View` paints.
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from kato.cli.printing.show import COLOURS, coloured, console

if TYPE_CHECKING:
    from rich.table import Table

Json = Mapping[str, Any]


class Row(NamedTuple):
    """One line of the view. key: what stays the same while it changes. task: `.3`, empty for tasks that miss."""

    key: str
    app: str
    task: str
    state: str
    note: str = ""


def rows(apps: Sequence[Json], reasons: Mapping[str, str], pulling: Mapping[str, str] = {}) -> list[Row]:
    """A row for each task, and one for each app that misses some, with why it waits. pulling: how far the images
    of apps are.
    """
    found: list[Row] = []
    for app in apps:
        for task in app["tasks"]:
            note = ", ".join(f":{port}" for port in task["ports"]) if task["current"] else "the former version"
            note = task["health"] or note if task["state"] == "failed" else note
            note = pulling.get(app["id"], note) if task["state"] in ("staging", "starting") else note
            found.append(Row(task["id"], app["id"], f".{task['attempt']}", task["state"], note))
        missing = app["wished"] - sum(task["current"] for task in app["tasks"])
        if missing > 0:
            note = pulling.get(app["id"]) or reasons.get(app["id"], "")
            note = note or (f"for {missing} tasks" if missing > 1 else "")
            found.append(Row(f"{app['id']} waits", app["id"], "", "waiting", note))
    return found


class View:
    """Shows rows until it is closed. On a terminal it paints over itself; elsewhere it writes what changed."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown: dict[str, Row] = {}
        self._console = console()
        self._live: Any = None

    @property
    def seconds(self) -> float:
        """Since the view was opened."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        if coloured():
            from rich.live import Live

            self._live = Live(console=self._console, refresh_per_second=10, vertical_overflow="ellipsis")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, fresh: Sequence[Row], ends: Mapping[str, str]) -> None:
        """Shows these rows; `ends` as for `changes`."""
        if self._live is not None:
            self._live.update(_painted(fresh))
        else:
            for line in changes(self._shown, fresh, ends):
                print(line, flush=True)
        self._shown = {row.key: row for row in fresh}


def failures(apps: Sequence[Json]) -> dict[str, str]:
    """How the last task of each app that failed ended, by task."""
    return {app["failure"]["task"]: how_it_failed(app) for app in apps if app["failure"]}


def how_it_failed(app: Json) -> str:
    """The last failure of an app in a sentence, without the task's long id in front."""
    failure = app["failure"]
    return str(failure["message"]).removeprefix(f"Task {failure['task']} cannot be started: ")


def changes(before: Mapping[str, Row], after: Sequence[Row], ends: Mapping[str, str]) -> list[str]:
    """What has gone, and what is new or different, a line each. `before` is by key, `ends` as from `failures`."""
    kept = {row.key for row in after}
    gone = [row for row in before.values() if row.key not in kept and row.task]
    found = [_line(row, "gone", ends.get(row.key, "")) for row in gone]
    return found + [_line(row, row.state, row.note) for row in after if not _told(before.get(row.key), row)]


def _told(before: Row | None, row: Row) -> bool:
    """Whether a line would say nothing new: how far a pull is needs no line of its own."""
    if before is None or before == row:
        return before == row
    image, former = (each.note.partition(", ")[0] for each in (row, before))
    return image.startswith("pulling ") and before._replace(note=row.note) == row and image == former


def _line(row: Row, state: str, note: str) -> str:
    return "  ".join((label(row).ljust(24), state.ljust(9), note)).rstrip()


def label(row: Row) -> str:
    """`/voting/vote.3`, or the app alone."""
    return row.app + row.task


def _painted(fresh: Sequence[Row]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False, expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="ellipsis", no_wrap=True, ratio=1)  # on a narrow terminal the reason gives way
    for row in fresh:
        style = COLOURS.get(row.state, "")
        mark = {"healthy": "●", "running": "●", "finished": "✓", "unhealthy": "✗", "failed": "✗"}.get(
            row.state, "○"
        )
        grid.add_row(Text(label(row)), Text(f"{mark} {row.state}", style=style), Text(row.note, style="dim"))
    return grid
