"""Two looks at what tasks use go in; rows come out, sorted, and in the words of a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kato.model.ids import timestamp

COLUMNS = ("task", "cpu", "memory", "state", "health", "node", "app", "restarts")
"""The most telling first: a narrow terminal shows those that fit."""
LAPSE = 1.0
"""Seconds between two looks: what is used of processors is used between them."""
FIGURES = ("cpu", "memory", "restarts")
"""The largest first; words by name."""


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
    largest = sort in FIGURES
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
