"""Staying with what runs: health changes and output of tasks come from the cell, lines go to stdout."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from kato.cli.changes.follow import look
from kato.cli.printing.live import Row, changes, failures, rows
from kato.cli.printing.show import say
from kato.cli.views.logs import Lines
from kato.model.errors import KatoError, Unavailable

if TYPE_CHECKING:
    from kato.client import Client

PAUSE = 0.5
"""Seconds between two looks."""


OVER = ("finished", "failed")
"""States of apps of which no task will run any more by itself."""
LAST_WORDS = 5.0
"""Seconds to read what was written last."""


async def stay(
    client: "Client", apps: Collection[str], revive: Callable[[], Awaitable[bool]], before: Collection[str] = ()
) -> list[Mapping[str, Any]]:
    """Prints what tasks write and how their health changes, until all that there is has ended; it is returned.

    revive: called when no cell answers. before: tasks that were there before, of which only what is new is shown.
    """
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
                over = [app for app in found if app["state"] in OVER]
                if over and all(app["state"] in (*OVER, "stopped") for app in found):
                    _listen(client, lines, shown, streams, before if first else None)
                    await asyncio.wait(streams.values(), timeout=LAST_WORDS)
                    return over
            except Unavailable:
                if answering:
                    say("The cell does not answer.")
                answering = False
                await revive()
            _listen(client, lines, shown, streams, before if first else None)
            first = False
            await asyncio.sleep(PAUSE)
    finally:
        for stream in streams.values():
            stream.cancel()
        await asyncio.gather(*streams.values(), return_exceptions=True)


def _listen(
    client: "Client",
    lines: Lines,
    shown: dict[str, Row],
    streams: dict[str, asyncio.Task[bool]],
    before: Collection[str] | None,
) -> None:
    """Follows the output of tasks: whole of those that are new, from now on of those that run already.

    before: at the first look, the tasks of before, so that all is shown of one that has come and ended since.
    """
    for task, row in shown.items():
        if not row.task:
            continue
        known = streams.get(task)
        if known is None:
            whole = before is None or (row.state in OVER and task not in before)
            streams[task] = asyncio.create_task(_copy(client, lines, task, None if whole else 0))
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
