"""How listings look: rows of data go in; a table, JSON or YAML goes to stdout. Colour is for terminals only."""

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kato.cli.printing.terminal import knows_unicode
from kato.config import plain_output

if TYPE_CHECKING:
    from rich.console import Console

Output = Annotated[Literal["table", "json", "yaml"], Parameter(name=["--output", "-o"])]
Row = Mapping[str, Any]
COLOURS = {
    "healthy": "green",
    "finished": "green",
    "running": "cyan",
    "unhealthy": "red",
    "unserved": "red",
    "failed": "red",
    "waiting": "yellow",
    "staging": "yellow",
    "starting": "yellow",
    "building": "yellow",
    "deploying": "yellow",
    "stopping": "magenta",
}
HEADS = {"mem": "MEM (MiB)", "size": "SIZE (MiB)"}
"""Of columns whose name alone does not say what they hold."""
WIDE = 100_000
NARROWEST = 20
"""Characters that the widest column of a table may be folded to."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
MOST = 5
"""Apps that one line names."""


def coloured(stream: Any = None) -> bool:
    """Whether colour and cursor movements are welcome: a terminal, and nobody said NO_COLOR."""
    stream = stream or sys.stdout
    return bool(stream.isatty()) and not plain_output()


def count_of(apps: Collection[str]) -> str:
    """How many apps, in words."""
    return f"{len(apps)} app{'' if len(apps) == 1 else 's'}"


def named(apps: Collection[str]) -> str:
    """The apps by name, but not more than a line holds.

    >>> named(["/b", "/a"])
    '/a, /b'
    """
    more = f" and {len(apps) - MOST} more" if len(apps) > MOST else ""
    return f"{', '.join(sorted(apps)[:MOST])}{more}"


def console() -> "Console":
    """Where people read: as wide as the terminal, without an end where there is none."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        width=None if terminal else WIDE,
        force_terminal=terminal,
        no_color=not coloured(),
        highlight=False,
        soft_wrap=not terminal,
    )


def harmless(line: str) -> str:
    """A line that a task wrote, as a terminal may have it: its colours go, its other control characters are named.

    >>> harmless("\\x1b[31mred\\x1b[0m\\t\\x1b]0;title\\x07")
    'red\\t\\\\x1b]0;title\\\\x07'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _COLOUR.sub("", line))


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def say_anyway(text: str) -> None:
    """Prints a line to whoever still reads; what must be finished goes on if nobody does."""
    try:
        say(text)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def listing(rows: Sequence[Row], columns: Sequence[str], output: str, *, empty: str) -> None:
    """Prints rows. A table has `columns` only; JSON and YAML have all that a row holds."""
    if output == "table":
        table(rows, columns, empty)
    else:
        document([dict(row) for row in rows], output)


def document(body: object, output: str) -> None:
    """Prints data as JSON or YAML."""
    if output == "json":
        import json

        print(json.dumps(body, indent=2, ensure_ascii=not knows_unicode(sys.stdout)))
        return
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = knows_unicode(sys.stdout)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(body, sys.stdout)


def table(rows: Sequence[Row], columns: Sequence[str], empty: str) -> None:
    """Prints aligned columns; `empty` where there is no row."""
    if not rows:
        print(empty)
        return
    cells = [[cell(row.get(column)) for column in columns] for row in rows]
    columns = [HEADS.get(column, column.upper()) for column in columns]
    if not coloured():
        widths = [max(map(len, column)) for column in zip(*([columns, *cells]), strict=True)]
        for line in (columns, *cells):
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    widths = [max(map(len, column)) for column in zip(*([columns, *cells]), strict=True)]
    widest = widths.index(max(widths))
    if not fits(widths, console().width):
        records(columns, cells)
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for n, column in enumerate(columns):
        grid.add_column(column, overflow="fold", no_wrap=n != widest)
    for line in cells:
        grid.add_row(*(Text(text, style=COLOURS.get(text, "")) for text in line))
    console().print(grid)


def fits(widths: Sequence[int], width: int) -> bool:
    """Whether columns of these widths fit into `width`, where the widest of them may be folded.

    >>> fits([10, 60], 40), fits([30, 30], 40)
    (True, False)
    """
    return sum(widths) + 2 * (len(widths) - 1) - max(widths) + min(NARROWEST, max(widths)) <= width


def records(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Prints a line a cell, for terminals that are too narrow for a table."""
    from rich.text import Text

    width = max(map(len, columns))
    for n, line in enumerate(cells):
        if n:
            print()
        for column, text in zip(columns, line, strict=True):
            name = Text(f"{column:{width}}  ", style="dim")
            console().print(name.append(text, style=COLOURS.get(text, "not dim")), soft_wrap=True)


def cell(value: object) -> str:
    """A value as a table shows it.

    >>> cell(None), cell(0.1), cell(2.0), cell([31000, 31001])
    ('-', '0.1', '2', '31000, 31001')
    """
    if value is None or value == "" or value == [] or value == {}:
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return str(value)
