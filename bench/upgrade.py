"""Ten instances under `wrk -c 32` go in; what an upgrade fails, and what balancing costs, come out.

PYTHONPATH=tests python -m bench.upgrade

The rivals: HAProxy without Káto over the same ten servers, and supervisor restarting ten servers one by one behind
a HAProxy that checks them.
"""

import csv
import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import SHORT, absent, say
from bench.healing import CHECK
from bench.probe import get, until
from bench.rivals import SERVER, PlainHaproxy, Supervisor
from bench.wrk import FAILURES, MODES, Load, Mode, press, pressing
from load import free_ports
from machine import Machine

HOST = "web.localhost"
APP = "/bench/web"
COUNT = 10
ROUNDS = 1 if SHORT else 3
THEIR_ROUNDS = 1 if SHORT else 2
THEIRS = 3 if SHORT else COUNT
"""Programs that supervisor restarts, for more than a second each."""
STEADY = 1 if SHORT else 5
BATCH = 2
"""Instances upgraded at a time, as with Compose's `parallelism: 2, order: start-first`."""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as folder:
        machine = Machine()
        try:
            ours(machine, Path(folder))
        finally:
            machine.close()
        if Supervisor.binary() is None:
            for mode in MODES:
                absent(f"upgrade_{mode.name}_failed", "supervisor", Supervisor.remedy)
        else:
            theirs(Path(folder))


def ours(machine: Machine, folder: Path) -> None:
    """Ten instances in a cell: the price of its balancer, then upgrades under load."""
    file = folder / "web.json"
    roll(machine, file, 0)
    until(lambda: get(machine.ingress, HOST)[0] == 200)
    steady(machine, folder)
    version = 0
    for mode in MODES:
        loads, took, told = [], [], []
        for _ in range(ROUNDS):
            version += 1
            before = {str(task["id"]) for task in machine.tasks(APP)}
            counts = haproxy_counts(machine)
            with pressing(machine.ingress, HOST, mode) as load:
                time.sleep(1)
                took.append(roll(machine, file, version))
                time.sleep(2.5)  # so that wrk counts what hung for its two seconds
            after = {str(task["id"]) for task in machine.tasks(APP)}
            assert len(after) == COUNT and not before & after, (before, after)
            loads.append(load)
            told.append({name: value - counts[name] for name, value in haproxy_counts(machine).items()})
        report(mode, loads, took, haproxy=told)


def report(mode: Mode, loads: list[Load], took: list[float], *, by: str = "kato", **more: Any) -> None:
    """The figures of some upgrades under load."""
    more["requests"] = sum(int(load.counted["requests"]) for load in loads)
    kinds = {kind: sum(int(load.counted[kind]) for load in loads) for kind in FAILURES}
    failed = [load.failed for load in loads]
    say(
        f"upgrade_{mode.name}_failed",
        "requests",
        failed,
        by=by,
        target=0.0 if by == "kato" else None,
        **kinds,
        **more,
    )
    say(f"upgrade_{mode.name}_rate", "requests/s", [load.rate for load in loads], by=by)
    say(f"upgrade_{mode.name}_p99", "ms", [load.p99 for load in loads], by=by)
    say(f"upgrade_{mode.name}_seconds", "s", took, by=by)


def roll(machine: Machine, file: Path, version: int) -> float:
    """Seconds that `kato up -d` takes to bring out a version."""
    web = {
        "id": "web",
        "args": SERVER,
        "env": {"VERSION": str(version)},
        "instances": COUNT,
        "cpus": 0.1,
        "mem": 32,
        "portDefinitions": [{"port": 0}],
        "healthChecks": [CHECK],
        "upgradeStrategy": {"minimumHealthCapacity": 1.0, "maximumOverCapacity": BATCH / COUNT},
        "labels": {"HAPROXY_0_VHOST": HOST},
    }
    file.write_text(json.dumps({"id": "/bench", "apps": [web]}))
    began = time.perf_counter()
    machine.kato("up", str(file), "-d")
    return time.perf_counter() - began


def steady(machine: Machine, folder: Path) -> None:
    """Nothing changes: through Káto's HAProxy, through a plain one, and one server without any, turn by turn."""
    ports = [int(task["ports"][0]) for task in machine.tasks(APP)]
    with PlainHaproxy(folder, free_ports(1)[0], ports) as plain:
        ways = {
            "kato": (machine.ingress, HOST),
            "HAProxy without Káto": (plain.address, ""),
            "no balancer, one server": (f"127.0.0.1:{ports[0]}", ""),
        }
        for mode in MODES:
            loads: dict[str, list[Load]] = {by: [] for by in ways}
            for _ in range(ROUNDS):
                for by, (address, host) in ways.items():
                    loads[by].append(press(address, host, mode, STEADY))
            for by, mine in loads.items():
                failed = sum(load.failed for load in mine)
                say(f"balanced_{mode.name}_rate", "requests/s", [load.rate for load in mine], by=by, failed=failed)
                say(f"balanced_{mode.name}_p99", "ms", [load.p99 for load in mine], by=by)


def theirs(folder: Path) -> None:
    """supervisor restarts ten programs, one by one, behind a HAProxy that checks them every second."""
    port, *ports = free_ports(COUNT + 1)
    programs = {f"web{n}": each for n, each in enumerate(ports)}
    by = f"{Supervisor.version()} and HAProxy with checks"
    with (
        Supervisor(folder / "supervisor", programs) as rival,
        PlainHaproxy(folder, port, ports, checks=True) as balancer,
    ):
        for mode in MODES:
            loads, took = [], []
            for _ in range(THEIR_ROUNDS):
                with pressing(balancer.address, "", mode) as load:
                    time.sleep(1)
                    began = time.perf_counter()
                    for name in list(programs)[:THEIRS]:
                        rival.restart(name)
                    took.append(time.perf_counter() - began)
                    time.sleep(2.5)
                loads.append(load)
            report(mode, loads, took, by=by)


def haproxy_counts(machine: Machine) -> dict[str, int]:
    """What Káto's HAProxy has counted so far: failures towards clients, and retries that clients do not see."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(60)
        control.connect(str(machine.data / "balancer" / "worker.sock"))
        control.sendall(b"show stat\n")
        said = b"".join(iter(lambda: control.recv(65536), b"")).decode()
    rows = list(csv.DictReader(said.removeprefix("# ").splitlines()))
    fronts = [row for row in rows if row["svname"] == "FRONTEND"]
    backs = [row for row in rows if row["svname"] == "BACKEND" and row["pxname"].startswith("http.")]

    def total(of: list[dict[str, str]], name: str) -> int:
        return sum(int(row[name] or 0) for row in of)

    return {
        "answered_5xx": total(fronts, "hrsp_5xx"),
        "retries": total(backs, "wretr"),
        "redispatches": total(backs, "wredis"),
        "broken_by_servers": total(backs, "eresp") + total(backs, "srv_abrt"),
    }


if __name__ == "__main__":
    main()
