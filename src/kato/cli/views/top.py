"""top: what tasks use flows in, look by look; a screen that a person watches, or one table, comes out."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from cyclopts import Parameter

from kato.cli.printing.show import Output, Row, listing
from kato.cli.views.used import COLUMNS, LAPSE, in_words, ordered, rows
from kato.cli.words.place import THERE, Address
from kato.config import paintable
from kato.model.errors import InvalidInput

Once = Annotated[bool, Parameter(negative=(), help="Print one table, after a second, and end.")]
Sort = Annotated[
    Literal["cpu", "memory", "task", "app", "node", "restarts"],
    Parameter(help="What comes first: the largest, or by name."),
]


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
        from kato.cli.views.screen import Screen  # which takes a while to be imported

        screen = Screen(client.stats, before, sort)
        await screen.run_async(mouse=False)
        return screen.return_code or 0


def check_terminal() -> None:
    """InvalidInput where a screen can be drawn on nothing."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and paintable()):
        raise InvalidInput(
            "top draws on a terminal, and this is none. One table: kato top --once; as data: kato top -o json."
        )
