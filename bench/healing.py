"""Ten small servers go in, under Káto and under supervisor; how fast they start and heal comes out.

PYTHONPATH=tests python -m bench.healing

Káto's are asked through its balancer, supervisor's at their own ports, for it has none.
"""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.figures import SHORT, absent, say
from bench.probe import Gap, gap, gaps, get, until
from bench.rivals import SERVER, Supervisor
from load import free_ports
from machine import Machine

COUNT = 10
STARTS = 2 if SHORT else 7
FORGIVEN = 62.0
"""Seconds of running after which a task's first failure delays nothing, and a margin."""
CHECK = {"protocol": "TCP", "intervalSeconds": 1, "gracePeriodSeconds": 60, "delaySeconds": 0.2}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as folder:
        machine = Machine()
        try:
            start(machine, Path(folder) / "ten.json")
            since = time.monotonic()
            if Supervisor.binary() is None:
                for figure in ("start_ten", "heal_old"):
                    absent(figure, "supervisor", Supervisor.remedy)
            else:
                theirs(Path(folder))
            time.sleep(max(0.0, since + FORGIVEN - time.monotonic()))
            old = [kill(lambda n=n: answer(machine, n)) for n in range(COUNT)]  # type: ignore[misc]
            tell("heal_old", old, target=1.0, note="ran for > 60 s; through the balancer")
        finally:
            machine.close()


def start(machine: Machine, file: Path) -> None:
    """Starts all on a cell of their own, several times; the last ones stay, and some are killed at once."""
    file.write_text(json.dumps({"id": "/ten", "apps": [wish(n) for n in range(COUNT)]}))
    took = []
    for n in range(STARTS):
        if n:
            machine.kato("down", "--all")
        began = time.perf_counter()
        machine.kato("up", str(file), "-d")
        took.append(until(lambda: all(answer(machine, m) for m in range(COUNT)), began=began))
    say("start_ten", "s", took, note="a cell with its balancer, ten apps, all healthy and answering through it")
    young = [kill(lambda n=n: answer(machine, n)) for n in range(COUNT // 2)]  # type: ignore[misc]
    tell("heal_young", young, note="ran for < 60 s: Marathon's launch delay of 1 s (backoffSeconds) comes first")


def theirs(folder: Path) -> None:
    """The same programs under supervisor."""
    took = []
    for n in range(STARTS):
        programs = {f"p{m}": port for m, port in enumerate(free_ports(COUNT))}
        began = time.perf_counter()
        with Supervisor(folder / f"supervisor-{n}", programs) as rival:
            took.append(time.perf_counter() - began)
            if n < STARTS - 1:
                continue
            time.sleep(2)
            old = [kill(lambda name=name: rival.answer(name)) for name in programs]  # type: ignore[misc]
    by = Supervisor.version()
    say("start_ten", "s", took, by=by, note="ten programs that answer at their own ports; no checks, no balancer")
    tell("heal_old", old, by=by, note="ran for > startsecs (1 s); at its own port")


def tell(figure: str, found: list[Gap], **more: Any) -> None:
    say(figure, "s", [each.back for each in found], **gaps(found), **more)


def wish(n: int) -> dict[str, object]:
    """One app of one small server."""
    return {
        "id": f"server-{n}",
        "args": SERVER,
        "instances": 1,
        "cpus": 0.1,
        "mem": 32,
        "portDefinitions": [{"port": 0}],
        "healthChecks": [CHECK],
        "labels": {"HAPROXY_0_VHOST": f"server-{n}.localhost"},
    }


def answer(machine: Machine, n: int) -> str:
    """What an app answers through the balancer; empty while it does not."""
    status, body = get(machine.ingress, f"server-{n}.localhost")
    return body if status == 200 else ""


def kill(ask: Callable[[], str]) -> Gap:
    """From SIGKILL of who answers to the first answer of another."""
    until(lambda: bool(ask()))
    pid = int(ask().split()[1])
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    return gap(lambda: f" {pid} " not in (ask() or f" {pid} "), began)


if __name__ == "__main__":
    main()
