"""Staying with what runs: health changes and output of tasks come from the cell, lines go to stdout."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from kato.cli.follow import look
from kato.cli.live import Row, changes, failures, rows
from kato.cli.logs import Lines
from kato.cli.show import say
from kato.model.errors import KatoError, Unavailable

if TYPE_CHECKING:
    from kato.client import Client

PAUSE = 0.5
"""Seconds between two looks."""


async def stay(client: "Client", apps: Collection[str], revive: Callable[[], Awaitable[bool]]) -> None:
    """Prints what tasks write and how their health changes, without end. `revive`: called when no cell answers."""
    shown: dict[str, Row] = {}
    streams: dict[str, asyncio.Task[bool]] = {}
    lines = Lines(say)
    first = answering = True
    try:
        while True:
            try:
                found = await look(client, apps)
                fresh = {row.key: row for row in rows(found, {})}
                if not answering:
                    say("The cell answers again.")
                for line in changes(shown, list(fresh.values()), failures(found)) if not first else ():
                    say(line)
                shown, answering = fresh, True
            except Unavailable:
                if answering:
                    say("The cell does not answer.")
                answering = False
                await revive()
            _listen(client, lines, shown, streams, first)
            first = False
            await asyncio.sleep(PAUSE)
    finally:
        for stream in streams.values():
            stream.cancel()
        await asyncio.gather(*streams.values(), return_exceptions=True)


def _listen(
    client: "Client", lines: Lines, shown: dict[str, Row], streams: dict[str, asyncio.Task[bool]], first: bool
) -> None:
    """Follows the output of tasks: whole of those that are new, from now on of those that were there before."""
    for task, row in shown.items():
        if not row.task:
            continue
        known = streams.get(task)
        if known is None:
            streams[task] = asyncio.create_task(_copy(client, lines, task, 0 if first else None))
        elif known.done() and not known.result():
            streams[task] = asyncio.create_task(_copy(client, lines, task, 0))


async def _copy(client: "Client", lines: Lines, task: str, tail: int | None) -> bool:
    """Whether the output was read to its end; False where the cell went away meanwhile."""
    try:
        async for piece in client.logs(task, tail=tail, follow=True):
            lines.feed(piece)
    except Unavailable:
        return False
    except KatoError:
        pass
    return True
