"""The voting example goes in; how fast it is up, what it costs idle, and how fast it heals come out.

PYTHONPATH=tests python -m bench.voting

A rival with five programs idles in the same minute, where supervisor is installed.
"""

import json
import os
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.figures import ROOT, SHORT, absent, say
from bench.probe import LONGEST, Gap, cpu, gap, gaps, get, pss, rss, until
from bench.rivals import Supervisor
from load import free_ports
from machine import Machine

PROJECT = str(ROOT / "examples" / "voting")
APPS = ("/voting/vote", "/voting/results", "/voting/worker", "/voting/redis", "/voting/db")
UPS = 2 if SHORT else 10
IDLE = 20.0 if SHORT else 60.0
ROUNDS = 1 if SHORT else 2
FORGIVEN = 62.0
"""Seconds of running after which a task's first failure delays nothing, and a margin."""


def main() -> None:
    machine = Machine()
    try:
        start(machine)
        time.sleep(10)
        idle(machine)
        heal(machine)
    finally:
        machine.close()


# -- up -----------------------------------------------------------------------------------------------------------


def start(machine: Machine) -> None:
    """`kato up -d` where PostgreSQL's data are made already; the last one stays up."""
    began = time.perf_counter()
    machine.kato("up", PROJECT, "-d")
    say("up_voting_first", "s", [time.perf_counter() - began], note="with PostgreSQL's initdb; no target")
    commands, sites = [], []
    for _ in range(UPS):
        machine.kato("down", "--all")
        began = time.perf_counter()
        machine.kato("up", PROJECT, "-d")
        commands.append(time.perf_counter() - began)
        sites.append(until(lambda: answers(machine), began=began))
        until(lambda: all(healthy(machine, app) for app in APPS))
    say("up_voting_command", "s", commands, target=5.0)
    say("up_voting_serving", "s", sites, target=5.0, note="the command, then 200 of both sites")


def answers(machine: Machine) -> bool:
    """Whether both sites answer, the results out of the database."""
    vote = get(machine.ingress, "vote.localhost")
    return vote[0] == get(machine.ingress, "results.localhost", "/counts")[0] == 200


def healthy(machine: Machine, app: str) -> bool:
    return machine.healthy(app) == (2 if app == "/voting/vote" else 1)


# -- idle ---------------------------------------------------------------------------------------------------------


def idle(machine: Machine) -> None:
    """Memory, and the processor over a while in which nobody asks for anything, of Káto and of supervisor."""
    cell = int(machine.get("/v1/cell")["pid"])
    keepers = [int(json.loads(record(machine, task).read_text())["keeper"]) for task in ids(machine)]
    balancer = [pid for pid in machine.processes() if b"haproxy" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    groups = {"cell and keepers": [cell, *keepers], "HAProxy": balancer}
    with ExitStack() as stack:
        rival = None
        if Supervisor.binary() is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kato-bench-")))
            programs = {f"p{n}": port for n, port in enumerate(free_ports(5))}
            rival = stack.enter_context(Supervisor(folder / "supervisor", programs))
            groups["rival"] = [rival.pid]
            time.sleep(3)
        used = {name: cpu(pids) for name, pids in groups.items()}
        began = time.perf_counter()
        time.sleep(IDLE)
        lasted = time.perf_counter() - began
        percent = {name: (cpu(pids) - used[name]) / lasted * 100 for name, pids in groups.items()}
        costs: dict[str, Any] = {"keepers": len(keepers), "seconds": round(lasted)}
        aside = round(sum(map(pss, balancer)), 1)
        say("idle_memory_cell", "MiB", [pss(cell)], target=120.0, rss=rss(cell), haproxy_pss=aside, **costs)
        say("idle_memory_keepers", "MiB", [sum(map(pss, keepers))], note="all together", **costs)
        say(
            "idle_cpu",
            "% of a core",
            [percent["cell and keepers"]],
            target=1.0,
            haproxy=percent["HAProxy"],
            **costs,
        )
        if rival is None:
            absent("idle_memory_cell", "supervisor", Supervisor.remedy)
            return
        about = "supervisord alone with five programs: no checks, API, balancer or keepers"
        say("idle_memory_cell", "MiB", [pss(rival.pid)], by=Supervisor.version(), rss=rss(rival.pid), note=about)
        say("idle_cpu", "% of a core", [percent["rival"]], by=Supervisor.version(), note=about)


# -- heal ---------------------------------------------------------------------------------------------------------


def heal(machine: Machine) -> None:
    """SIGKILL of each app's task that ran for more than a minute, to its replacement's first answer."""
    took: dict[str, list[Gap]] = {app: [] for app in APPS}
    for _ in range(ROUNDS):
        until(lambda: youngest(machine) > FORGIVEN, FORGIVEN + LONGEST)
        for app in APPS:
            for task in ids(machine, app):
                took[app].append(kill(machine, app, task))
        until(lambda: all(healthy(machine, app) for app in APPS))
    for app in APPS:
        figure = f"heal{app.replace('/', '_')}"
        say(figure, "s", [each.back for each in took[app]], target=1.0, **gaps(took[app]))


def youngest(machine: Machine) -> float:
    """Seconds for which the youngest task has run."""
    time.sleep(0.5)
    return time.time() - max(record(machine, task).stat().st_mtime for task in ids(machine))


def ids(machine: Machine, app: str | None = None) -> list[str]:
    return [str(task["id"]) for task in machine.tasks(app)]


def record(machine: Machine, task: str) -> Path:
    """What a keeper wrote when it started its task."""
    return machine.data / "tasks" / task / "started"


def kill(machine: Machine, app: str, task: str) -> Gap:
    """From SIGKILL to the first answer through the balancer that the killed one cannot have given."""
    serves = serving(machine, app)
    pid = machine.pid(task)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    return gap(serves, began)


def serving(machine: Machine, app: str) -> Callable[[], bool]:
    """How to see, as callers would, that an app's only task serves; of vote's two, one that is not there yet."""
    port = next(int(service["port"]) for service in services(machine) if service["app"] == app)
    others = ids(machine, app)

    def vote() -> bool:
        status, page = get(machine.ingress, "vote.localhost")
        return status == 200 and not any(task in page for task in others)

    return {
        "/voting/vote": vote,
        "/voting/results": lambda: get(machine.ingress, "results.localhost", "/counts")[0] == 200,
        "/voting/worker": lambda: get(f"127.0.0.1:{port}", path="/health")[0] == 200,
        "/voting/redis": lambda: pings(port),
        "/voting/db": lambda: admits(port),
    }[app]


def services(machine: Machine) -> list[dict[str, str]]:
    return list(machine.get("/v1/services")["services"])


def pings(port: int) -> bool:
    """Whether Valkey answers on its service port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def admits(port: int) -> bool:
    """Whether PostgreSQL has recovered: it asks a client for its password, and refuses it no more."""
    words = struct.pack("!i", 3 << 16) + b"user\0votes\0database\0postgres\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack("!i", len(words) + 4) + words)
            return connection.recv(1) == b"R"
    except OSError:
        return False


if __name__ == "__main__":
    main()
