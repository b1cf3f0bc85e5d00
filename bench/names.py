"""Names of a running cell go in; answers a second on one core, and how soon a change is answered, come out.

PYTHONPATH=tests python -m bench.names

The load is dnsperf's (Debian), once without EDNS, as libc asks, and once with it. dnsmasq answers for the same
names in the same minute, where it is installed.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from bench.figures import SHORT, absent, say
from bench.probe import cpu, get, until
from load import free_port
from machine import Machine

APPS = 10
TASKS = 2
ROUNDS = 1 if SHORT else 3
SECONDS = 2 if SHORT else 5
CHANGES = 2 if SHORT else 10
RATE = 30_000
"""Answers a second that are promised."""
SOON = 0.1
"""Seconds within which a change is to be answered."""
SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
CHECK = {"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "delaySeconds": 0, "timeoutSeconds": 10}


def main() -> None:
    machine = Machine()
    machine.env["KATO_DNS"] = f"127.0.0.1:{free_port()}"
    port = int(machine.env["KATO_DNS"].rpartition(":")[2])
    try:
        start(machine)
        until(lambda: len(targets(port, "_web-0._tcp.shop.kato")) == TASKS)
        time.sleep(2)
        questions = write_questions(machine.root, port)
        rates(machine, port, questions)
        changes(machine, port)
    finally:
        machine.close()


def start(machine: Machine) -> None:
    """Apps of two tasks, and one with a check, which is killed later."""
    web = {"cpus": 0.01, "mem": 16, "cmd": "sleep 1000", "instances": TASKS, "portDefinitions": [{"port": 0}]}
    apps = [{**web, "id": f"web-{n}"} for n in range(APPS)]
    apps.append({**web, "id": "checked", "cmd": SERVER, "healthChecks": [CHECK], "backoffSeconds": 0})
    file = machine.root / "shop.json"
    file.write_text(json.dumps({"id": "/shop", "apps": apps}))
    machine.kato("up", str(file), "-d")


def targets(port: int, name: str, within: float = 30) -> dict[int, str]:
    """Host ports and names of the tasks behind a service name."""
    answer = dns.query.udp(dns.message.make_query(name, "SRV"), "127.0.0.1", within, port).answer
    return {record.port: str(record.target).rstrip(".") for each in answer for record in each}


def write_questions(folder: Path, port: int) -> Path:
    """What dnsperf asks: names of apps and tasks, addresses of another kind, ports; one in nine is not there."""
    lines = []
    for n in range(APPS):
        found = targets(port, f"_web-{n}._tcp.shop.kato")
        lines += [f"web-{n}.shop.kato {kind}" for kind in ("A", "AAAA") * 2]
        lines += [f"{host} A" for host in found.values()]
        lines += [f"_web-{n}._tcp.shop.kato SRV"] * 2 + [f"gone-{n}.shop.kato A"]
    path = folder / "questions"
    path.write_text("\n".join(lines) + "\n")
    return path


# -- answers a second ---------------------------------------------------------------------------------------------


def rates(machine: Machine, port: int, questions: Path) -> None:
    """Microseconds of a core an answer, of Káto and of dnsmasq, turn by turn; what the API takes meanwhile."""
    cell = int(machine.get("/v1/cell")["pid"])
    with dnsmasq(port) as rival:
        for figure, flags in (("dns_answer", ()), ("dns_answer_edns", ("-e",))):
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(press(port, questions, cell, *flags))
                if rival is not None:
                    theirs.append(press(rival[1], questions, rival[0].pid, *flags))
            tell(figure, "kato", ours, 1e6 / RATE)
            if theirs:
                tell(figure, "dnsmasq", theirs, None)
            else:
                absent(figure, "dnsmasq", "apt-get install dnsmasq-base")
    pings(machine, port, questions)


Press = tuple[float, float, int]
"""Answers a second, cores that the server used, and questions that were lost."""


def press(port: int, questions: Path, pid: int, *flags: str) -> Press:
    """One run of dnsperf: one thread, 20 clients, at most 100 questions open."""
    used, began = cpu([pid]), time.perf_counter()
    said = perf(port, questions, *flags)
    cores = (cpu([pid]) - used) / (time.perf_counter() - began)
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    lost = re.search(r"Queries lost:\s+(\d+)", said)
    assert rate and lost, said
    return float(rate[1]), cores, int(lost[1])


def perf(port: int, questions: Path, *flags: str) -> str:
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(questions), "-l", str(SECONDS)]
    command += ["-c", "20", "-T", "1", "-q", "100", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def tell(figure: str, by: str, runs: list[Press], target: float | None) -> None:
    """The processor's time an answer: on a machine that is shared, the rate is what others leave over."""
    say(
        figure,
        "us of a core",
        [1e6 * cores / rate for rate, cores, _ in runs],
        by=by,
        target=target,
        per_second=[round(rate) for rate, _, _ in runs],
        cores=[round(cores, 2) for _, cores, _ in runs],
        lost=sum(lost for _, _, lost in runs),
    )


def pings(machine: Machine, port: int, questions: Path) -> None:
    """What the cell's API takes while it answers as many questions as it can."""
    for figure, loaded in (("dns_idle_ping", False), ("dns_loaded_ping", True)):
        load = threading.Thread(target=perf, args=(port, questions))
        if loaded:
            load.start()
        began, took = time.perf_counter(), []
        while time.perf_counter() - began < SECONDS:
            asked = time.perf_counter()
            assert get(machine.api, path="/ping")[0] == 200
            took.append(time.perf_counter() - asked)
            time.sleep(0.01)
        if loaded:
            load.join()
        say(figure, "s", sorted(took)[len(took) // 2 :: len(took)], worst=round(max(took), 4))


@contextlib.contextmanager
def dnsmasq(port: int) -> Iterator[tuple[subprocess.Popen[bytes], int] | None]:
    """dnsmasq with the same names, in a session of its own as the cell is; None where it is not installed."""
    binary = shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        yield None
        return
    its = free_port()
    command = [binary, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]
    command += [f"--port={its}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local=/kato/"]
    for n in range(APPS):
        command += [f"--host-record=web-{n}.shop.kato,127.0.0.1"]
        for number, host in targets(port, f"_web-{n}._tcp.shop.kato").items():
            command += [f"--host-record={host},127.0.0.1"]
            command += [f"--srv-host=_web-{n}._tcp.shop.kato,{host},{number},0,1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: answers(its))
        yield process, its
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    try:
        return len(targets(port, "_web-0._tcp.shop.kato", 0.2)) == TASKS
    except (OSError, dns.exception.Timeout):
        return False


# -- changes ------------------------------------------------------------------------------------------------------


def changes(machine: Machine, port: int) -> None:
    """Seconds from SIGKILL of a task to answers without it, and from its heir's health to answers with that."""
    service = "_checked._tcp.shop.kato"
    until(lambda: len(targets(port, service)) == TASKS)
    gone, back = [], []
    for _ in range(CHANGES):
        before = targets(port, service)
        victim = machine.tasks("/shop/checked")[0]
        os.kill(machine.pid(victim["id"]), signal.SIGKILL)
        killed = time.perf_counter()
        until(partial(lambda former: former not in targets(port, service), victim["ports"][0]), began=killed)
        gone.append(time.perf_counter() - killed)
        until(partial(lambda former: bool(targets(port, service).keys() - former), before.keys()))
        seen = time.time()
        (heir,) = targets(port, service).keys() - before.keys()
        (task,) = (each for each in machine.tasks("/shop/checked") if each["ports"] == [heir])
        healthy = datetime.fromisoformat(task["healthCheckResults"][0]["firstSuccess"]).timestamp()
        back.append(seen - healthy)
    say("dns_change_gone", "s", gone, target=SOON)
    say("dns_change_healthy", "s", back, target=SOON)


if __name__ == "__main__":
    main()
