"""drill: a task's, a machine's or an engine's name goes in; what would happen without it comes out."""

from typing import Annotated

from cyclopts import Parameter

from kato.cli.printing.show import Output, document
from kato.cli.words.place import THERE, Address

Lose = Annotated[
    str,
    Parameter(help="A task (`vote.3`, or its whole id), a machine (its id or host name), or an engine (docker)."),
]


async def drill(*, lose: Lose, output: Output = "table", place: Address = THERE) -> int:
    """Say what would happen if something were lost now: what is replaced, where and when, and what waits, and why.
    The cell's planner decides as it would then; nothing is lost or changed. Exit code: 0 all is replaced or not
    missed, 1 something would wait.

    Parameters
    ----------
    output
        How to print: table (as sentences), json or yaml.
    """
    async with place.client() as client:
        found = await client.drill(lose)
    if output != "table":
        document(found, output)
    else:
        print(f"If {found['what']} were lost now:")
        for line in found["lines"]:
            print(line["sentence"])
        print(found["end"])
    return 1 if any(line["fate"] == "waits" for line in found["lines"]) else 0
