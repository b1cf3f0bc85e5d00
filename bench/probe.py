"""Process ids and addresses flow in; what they cost and when they answer flows out."""

import http.client
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

TICK = os.sysconf("SC_CLK_TCK")
LONGEST = 120.0
"""Seconds after which a figure does not come out. No time is judged: short runs share two cores."""


def pss(pid: int) -> float:
    """Proportional memory of a process, MiB: pages that several share are divided among them."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]) / 1024


def rss(pid: int) -> float:
    """Resident memory of a process, MiB, shared pages counted whole."""
    return float(re.findall(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[0]) / 1024


def cpu(pids: Iterable[int]) -> float:
    """Seconds of processor time that processes and their awaited children have used so far."""
    used = 0
    for pid in pids:
        used += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return used / TICK


def get(address: str, host: str = "", path: str = "/") -> tuple[int, str]:
    """One request on a connection of its own: status and body; status 0 where nothing answers."""
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": host or address, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def until(holds: Callable[[], bool], within: float = LONGEST, began: float | None = None) -> float:
    """Seconds from `began` (perf_counter; by default now) until something holds, asked every 2 ms."""
    began = time.perf_counter() if began is None else began
    while not holds():
        if time.perf_counter() - began > within:
            raise TimeoutError(f"not within {within} s")
        time.sleep(0.002)
    return time.perf_counter() - began


class Gap(NamedTuple):
    """A service that was away. back: seconds until it answered; slowest: of a request meanwhile, in seconds."""

    back: float
    slowest: float
    refused: int


def gap(asks: Callable[[], bool], began: float, within: float = LONGEST) -> Gap:
    """How long a service is away, asked anew every 10 ms, whether or not earlier requests were answered.

    One request after another would measure the wait of a single one: HAProxy holds a request whose server is gone
    for a second before it tries again.
    """
    answered = Event()
    backs: list[float] = []
    times: list[float] = []
    refused = 0

    def ask() -> None:
        nonlocal refused
        sent = time.perf_counter()
        well = asks()
        now = time.perf_counter()
        times.append(now - sent)
        if well:
            backs.append(now - began)
            answered.set()
        else:
            refused += 1

    with ThreadPoolExecutor(512) as pool:
        while not answered.wait(0.01):
            if time.perf_counter() - began > within:
                raise TimeoutError(f"not within {within} s")
            pool.submit(ask)
    return Gap(min(backs), max(times), refused)


def gaps(found: list[Gap]) -> dict[str, Any]:
    """What to say of several beside how long they were."""
    return {
        "slowest_request_s": round(max(each.slowest for each in found), 3),
        "refused": sum(each.refused for each in found),
    }
