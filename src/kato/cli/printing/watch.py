"""-w: a listing goes in as two functions, one that looks and one that shows; it is shown whenever it changes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from kato.cli.printing.show import Row, coloured, document, say
from kato.cli.printing.terminal import knows_unicode

Watch = Annotated[bool, Parameter(name=["--watch", "-w"], negative=(), help="Show it again whenever it changes.")]
PAUSE = 0.5
"""Seconds between two looks."""
_HOME = "\x1b[H\x1b[2J\x1b[3J"
"""Clears a terminal, what has scrolled away too, and begins at its top (ECMA-48; the last is xterm's)."""

Look = Callable[[], Awaitable[Sequence[Row]]]


async def shown(look: Look, show: Callable[[Sequence[Row]], None], output: str, watch: bool) -> None:
    """Shows a listing once, or until Ctrl-C. A watched table begins anew on a terminal, and behind an empty line
    elsewhere; JSON has a line for each row that is new, different or gone (`{…, "gone": true}`); YAML a document
    each time.
    """
    rows = await look()
    if not watch:
        show(rows)
        return
    before: Sequence[Row] | None = None
    while True:
        if rows != before:
            _show(rows, before, show, output)
            before = rows
        await asyncio.sleep(PAUSE)
        rows = await look()


def _show(
    rows: Sequence[Row], before: Sequence[Row] | None, show: Callable[[Sequence[Row]], None], output: str
) -> None:
    if output == "json":
        import json

        for row in differences(before or (), rows):
            say(json.dumps(row, ensure_ascii=not knows_unicode(sys.stdout)))
    elif output == "yaml":
        print("---")
        document([dict(row) for row in rows], output)
    else:
        if coloured():
            print(_HOME, end="")
        elif before is not None:
            print()
        show(rows)
    sys.stdout.flush()


def differences(before: Sequence[Row], after: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of `after` that are new or different, then those that have gone. The first key of a row names it.

    >>> differences([{"a": 1, "n": 1}, {"a": 2}], [{"a": 1, "n": 2}])
    [{'a': 1, 'n': 2}, {'a': 2, 'gone': True}]
    """
    known, names = {_name(row): row for row in before}, {_name(row) for row in after}
    fresh = [dict(row) for row in after if known.get(_name(row)) != row]
    return fresh + [{**row, "gone": True} for name, row in known.items() if name not in names]


def _name(row: Mapping[str, Any]) -> Any:
    return next(iter(row.values()))
