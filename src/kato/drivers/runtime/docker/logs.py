"""What a container wrote: its description by the engine goes in; the pieces of a stream come out, each with when.

A terminal's have no time, since the engine cuts them anyhow.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from kato.drivers.runtime.docker.engine import SILENCE, Engine
from kato.model.link import Reached


async def written(
    engine: Engine,
    seen: Mapping[str, Any],
    stream: str,
    tail: int | None = None,
    follow: bool = False,
    since: Reached | None = None,
) -> AsyncGenerator[tuple[int | None, bytes], None]:
    """Pieces of `stdout` or `stderr`, with the engine's time of each. seen: its word of the container."""
    path, tty = f"/containers/{seen['Id']}/logs", seen["Config"]["Tty"]
    query: dict[str, str | int] = {
        stream: 1,
        "tail": "all" if tail is None else str(tail),
        "follow": int(follow),
    }
    query |= {} if tty else {"timestamps": 1}
    query |= {"since": after(since.time)} if since and since.time else {}
    skip = since.offset if since and tty else 0
    async with contextlib.aclosing(
        engine.output("GET", path, tty=tty, silence=None if follow else SILENCE, **query)
    ) as pieces:
        async for data in pieces:
            piece = (None, data[skip:]) if tty else stamped(data)
            skip = max(skip - len(data), 0)
            if piece[1]:
                yield piece


def stamped(frame: bytes) -> tuple[int | None, bytes]:
    """A message as the engine wrote it down, with when in nanoseconds since the epoch (RFC 3339 stands before it).

    >>> stamped(b"2026-11-23T05:18:22.000000007Z hello")
    (1795411102000000007, b'hello')
    """
    stamp, _, text = frame.partition(b" ")
    seconds, _, rest = stamp.decode("ascii", "replace").partition(".")
    try:
        whole = int(datetime.fromisoformat(f"{seconds}+00:00").timestamp())
        return whole * 10**9 + int(rest.rstrip("Z").ljust(9, "0")), text
    except ValueError:
        return None, frame


def after(moment: int) -> str:
    """What the engine calls the first time behind one: seconds, a dot and nine digits."""
    return f"{(moment + 1) // 10**9}.{(moment + 1) % 10**9:09d}"
