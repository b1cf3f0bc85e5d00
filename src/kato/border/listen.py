"""A link to a master is dialled, and dialled again when it breaks; the views that come over it go out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import structlog

from kato.model.errors import Unavailable

BACKOFF = 5.0
"""Seconds between two tries to reach a master, at most."""

View = TypeVar("View")

log = structlog.get_logger()


async def listen(dial: Callable[[], AsyncIterator[View]]) -> AsyncIterator[View]:
    """Every view of every link that comes to be, without end."""
    wait = 0.1
    while True:
        try:
            async for view in dial():
                wait = 0.1
                yield view
        except Unavailable as error:
            log.warning("no master answers; the last view goes on", error=str(error), again_in=wait)
        await asyncio.sleep(wait)
        wait = min(wait * 2, BACKOFF)
