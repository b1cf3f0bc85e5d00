"""top: what tasks use flows in, look by look; a screen that a person watches, or one table, comes out."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kato.cli.place import THERE, Address
from kato.cli.show import Output, Row, listing
from kato.config import paintable
from kato.model.errors import InvalidInput
from kato.model.ids import timestamp

Once = Annotated[bool, Parameter(negative=(), help="Print one table, after a second, and end.")]
Sort = Annotated[
    Literal["cpu", "memory", "task", "app", "node", "restarts"],
    Parameter(help="What comes first: the largest, or by name."),
]
COLUMNS = ("task", "cpu", "memory", "state", "health", "node", "app", "restarts")
"""The most telling first: a narrow terminal shows those that fit."""
LAPSE = 1.0
"""Seconds between two looks: what is used of processors is used between them."""
LARGEST_FIRST = ("cpu", "memory", "restarts")


async def top(
    *,
    once: Once = False,
    sort: Sort = "cpu",
    output: Output = "table",
    place: Address = THERE,
) -> int:
    """Watch what tasks use of processors and memory, on the whole terminal. `q` or Ctrl-C ends it, `/` filters,
    and c, m, t, a, n and r sort by cpu, memory, task, app, node and restarts. Nothing is measured while nobody
    looks.

    cpu is in percent of one core. restarts: how often its app failed in a row, until it stays up for a minute.

    Parameters
    ----------
    output
        How to print: table, json or yaml. Of these only a table is watched.
    """
    if not once and output == "table":
        check_terminal()
    async with place.client() as client:
        before = await client.stats()
        if once or output != "table":
            await asyncio.sleep(LAPSE)
            found = ordered(rows(before, await client.stats()), sort)
            shown: Sequence[Row] = [in_words(each) for each in found] if output == "table" else found
            listing(shown, COLUMNS, output, empty="No task runs. See: kato ls")
            return 0
        from kato.cli.screen import Screen  # which takes a while to be imported

        screen = Screen(client.stats, before, sort)
        await screen.run_async(mouse=False)
        return screen.return_code or 0


def check_terminal() -> None:
    """InvalidInput where a screen can be drawn on nothing."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and paintable()):
        raise InvalidInput(
            "top draws on a terminal, and this is none. One table: kato top --once; as data: kato top -o json."
        )


def rows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each task of `after`. cpu: percent of one core since `before`, None where nobody can tell."""
    known = {each["task"]: each for each in before}
    return [_row(known.get(each["task"]), each) for each in after]


def _row(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    cpu = None
    if before is not None and None not in (before["cpu"], now["cpu"]) and now["at"] > before["at"]:
        cpu = round(max(0.0, 100 * (now["cpu"] - before["cpu"]) / (now["at"] - before["at"])), 1)
    return {
        "task": now["short"],
        "cpu": cpu,
        "memory": now["memory"],
        "limit": now["limit"],
        "state": now["state"],
        "health": now["checks"],
        "node": now["node"],
        "app": now["app"],
        "restarts": now["restarts"],
        "started": now["started"] and timestamp(now["started"]),
        "id": now["task"],
    }


def ordered(found: Sequence[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """By one column: the largest first of figures, by name of words; equal ones by task."""
    by_task = sorted(found, key=lambda row: (row["app"], row["task"]))
    largest = sort in LARGEST_FIRST
    key: Callable[[dict[str, Any]], Any] = (lambda row: row[sort] or 0) if largest else (lambda row: row[sort])
    return sorted(by_task, key=key, reverse=largest)


def in_words(row: Mapping[str, Any]) -> dict[str, str]:
    """A row as a table shows it."""
    used, limit = row["memory"], row["limit"]
    return {
        "task": row["task"],
        "cpu": "-" if row["cpu"] is None else f"{row['cpu']:.1f}%",
        "memory": "-" if used is None else size(used) + (f"/{size(limit)}" if limit else ""),
        "state": row["state"],
        "health": row["health"] or "-",
        "node": row["node"],
        "app": row["app"],
        "restarts": str(row["restarts"]),
    }


def size(number: int) -> str:
    """Bytes in the largest unit of which there is one.

    >>> size(0), size(1536), size(64 << 20), size(3 << 30)
    ('0B', '1.5K', '64M', '3G')
    """
    units = "BKMGT"
    value, n = float(number), 0
    while value >= 1024 and n < len(units) - 1:
        value, n = value / 1024, n + 1
    return f"{value:.0f}{units[n]}" if value >= 10 or value == int(value) else f"{value:.1f}{units[n]}"
