"""An address flows in; what wrk counted under `wrk -c 32` flows out: requests, latency, and every kind of failure.

wrk counts a read error where a connection ends under a request that it has sent; an answer that announces
`Connection: close` is none. A request that is never answered is counted nowhere: HAProxy's counts tell of those.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CONNECTIONS = 32


class Mode(NamedTuple):
    """A kind of load. Without keep-alive each request has a connection of its own; a POST is never tried twice."""

    name: str
    keep_alive: bool = True
    method: str = "GET"


MODES = (Mode("keepalive"), Mode("fresh", keep_alive=False), Mode("posts", method="POST"))
FAILURES = ("connect", "read", "write", "status", "timeout")
"""wrk's kinds: status is any answer above 399, timeout one that took over 2 s."""


class Load:
    """What wrk has counted, once it is over."""

    def __init__(self) -> None:
        self.counted: dict[str, Any] = {}

    @property
    def rate(self) -> float:
        """Requests a second."""
        return float(self.counted["requests"]) / float(self.counted["seconds"])

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return float(self.counted["p99_ms"])

    @property
    def failed(self) -> int:
        return sum(int(self.counted[kind]) for kind in FAILURES)


def start(address: str, host: str, mode: Mode, seconds: int) -> subprocess.Popen[str]:
    """wrk, on its way."""
    headers = ["-H", f"Host: {host}"] if host else []
    headers += [] if mode.keep_alive else ["-H", "Connection: close"]
    script = ["-s", str(Path(__file__).with_name("report.lua"))]
    words = ["wrk", "-c", str(CONNECTIONS), "-t", "2", "-d", f"{seconds}s", *headers, *script]
    environment = {**os.environ, "METHOD": mode.method}
    return subprocess.Popen([*words, f"http://{address}/"], stdout=subprocess.PIPE, text=True, env=environment)


def press(address: str, host: str, mode: Mode, seconds: int) -> Load:
    """Presses for so many seconds."""
    load = Load()
    load.counted = _counted(start(address, host, mode, seconds).communicate(timeout=seconds + 30)[0])
    return load


@contextmanager
def pressing(address: str, host: str, mode: Mode, *, at_most: int = 120) -> Iterator[Load]:
    """Presses while the block runs, at most so many seconds; the counts are there when it is left."""
    load = Load()
    process = start(address, host, mode, at_most)
    try:
        yield load
        process.send_signal(signal.SIGINT)
        load.counted = _counted(process.communicate(timeout=30)[0])
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _counted(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return found
