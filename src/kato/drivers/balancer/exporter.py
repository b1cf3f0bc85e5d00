"""HAProxy's own exporter is asked by its socket; what it says comes out, each app's lines with its name."""

import asyncio
import math
import os
import re
from pathlib import Path
from urllib.parse import unquote

from kato.drivers.balancer.render import EXPORTS
from kato.model.errors import DriverError

QUESTION = "http://haproxy/metrics?scope=global&scope=frontend&scope=backend"
"""Not its servers: a task is one, and has figures of its own in the cell's /metrics."""
ANSWER = 5.0
"""Seconds that it has."""
FRESH = 0.5
"""Seconds for which an answer is given again: every user of the machine may ask."""
_PROXY = re.compile(r'\bproxy="(?:tcp|http)\.\d+\.([^"]+)"')


class Exporter:
    """The exporter of the HAProxy in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asking = asyncio.Lock()
        self._said = (-math.inf, "")

    async def figures(self) -> str:
        """What HAProxy counts. DriverError where it does not answer."""
        clock = asyncio.get_running_loop().time
        async with self._asking:  # however many want to know, it is asked once
            if clock() - self._said[0] >= FRESH:
                text = await asked(self._folder)
                # Beside the event loop: thousands of apps have many figures.
                self._said = clock(), await asyncio.to_thread(by_app, text)
            return self._said[1]


async def asked(folder: Path) -> str:
    """The exporter's answer as it stands. DriverError."""
    import aiohttp  # only where somebody asks: it takes memory and time to load

    try:
        # By way of the folder's descriptor, since a socket's path is cut at 107 bytes and a folder's is not.
        held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(f"/proc/self/fd/{held}/{EXPORTS}"),
                    timeout=aiohttp.ClientTimeout(total=ANSWER),
                    raise_for_status=True,
                ) as session,
                session.get(QUESTION) as answer,
            ):
                return await answer.text()
        finally:
            os.close(held)
    except (OSError, TimeoutError, aiohttp.ClientError) as error:
        raise DriverError(f"HAProxy gives no figures ({error or 'it is silent'}); ask again.") from error


def by_app(text: str) -> str:
    """The exporter's text, where what is an app's says whose it is.

    >>> by_app('haproxy_backend_status{proxy="http.0.shop::web",state="UP"} 1')
    'haproxy_backend_status{proxy="http.0.shop::web",app="/shop/web",state="UP"} 1'
    """
    return _PROXY.sub(lambda found: f'{found[0]},app="{_app(found[1])}"', text)


def _app(word: str) -> str:
    """An app's id, of which `render.word` made a part of HAProxy's name."""
    return "/" + unquote(word.replace("::", "/").replace(":", "%"))
