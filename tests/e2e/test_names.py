"""Names of a real cell: tasks live and die, and a real client asks; what it is answered comes out."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from load import free_port
from machine import SLOW, Machine

SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
CHECK = {"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "delaySeconds": 0, "timeoutSeconds": 1}
AT_ONCE = 0.1 * SLOW
"""Seconds within which a change is answered."""


@pytest.fixture
def named(machine: Machine) -> Machine:
    """A machine whose cell has a name server."""
    machine.env["KATO_DNS"] = f"127.0.0.1:{free_port()}"
    return machine


def port(machine: Machine) -> int:
    return int(machine.env["KATO_DNS"].rpartition(":")[2])


def asked(machine: Machine, name: str, kind: str = "A") -> dns.message.Message:
    return dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", 30, port(machine))


def targets(machine: Machine, name: str) -> dict[int, str]:
    """Host ports and names of the tasks behind a service name."""
    return {record.port: str(record.target) for each in asked(machine, name, "SRV").answer for record in each}


def dig(machine: Machine, *words: str) -> list[str]:
    """What dig prints in short, in order."""
    command = ["dig", "+short", "+tries=1", "+timeout=30", "-p", str(port(machine)), "@127.0.0.1", *words]
    return sorted(subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines())


def up(machine: Machine, *apps: dict[str, Any], dns: str | None = None) -> None:
    file = machine.root / "shop.json"
    whole = {"cpus": 0.1, "mem": 32, "cmd": SERVER, "healthChecks": [CHECK]}
    file.write_text(json.dumps({"id": "/shop", "apps": [{**whole, **each} for each in apps]}))
    machine.kato("up", str(file), "-d", *(["--dns", dns] if dns else []))


def test_every_app_and_task_that_serves_has_its_name(named: Machine) -> None:
    ports = [{"port": 0, "name": "http"}]
    where = named.env.pop("KATO_DNS")  # this time by the flag, which the cell must be handed on
    up(named, {"id": "web", "instances": 2, "portDefinitions": ports}, {"id": "none", "instances": 0}, dns=where)
    named.env["KATO_DNS"] = f"127.0.0.1:{free_port()}"
    said = named.kato("up", str(named.root / "shop.json"), "-d")
    assert f"the cell answers for names on {where}, as it was started." in said
    named.env["KATO_DNS"] = where
    tasks = {task["ports"][0]: task for task in named.tasks("/shop/web")}
    named.until(lambda: targets(named, "_web._tcp.shop.kato").keys() == tasks.keys())
    for number, target in targets(named, "_web._tcp.shop.kato").items():
        attempt = tasks[number]["id"].rpartition(".")[2]
        assert target == f"{attempt}.web.shop.kato."
        assert dig(named, target, "A") == ["127.0.0.1"]
    assert targets(named, "_http._web._tcp.shop.kato") == targets(named, "_web._tcp.shop.kato")
    assert dig(named, "web.shop.kato") == ["127.0.0.1"]
    assert dig(named, "+tcp", "WEB.shop.KATO") == ["127.0.0.1"]
    assert len(dig(named, "_web._tcp.shop.kato", "SRV")) == 2
    nothing = asked(named, "none.shop.kato")
    assert nothing.rcode() is dns.rcode.NOERROR and not nothing.answer
    assert asked(named, "nobody.shop.kato").rcode() is dns.rcode.NXDOMAIN
    assert asked(named, "example.com").rcode() is dns.rcode.REFUSED
    cell = named.get("/v1/cell")
    assert cell["dns"] == named.env["KATO_DNS"]


def test_a_killed_task_leaves_the_answers_and_its_heir_appears_at_once(named: Machine) -> None:
    up(named, {"id": "web", "instances": 2, "backoffSeconds": 0, "portDefinitions": [{"port": 0}]})
    service = "_web._tcp.shop.kato"
    named.until(lambda: len(targets(named, service)) == 2)
    took = []
    for _ in range(3):
        before = targets(named, service)
        victim = named.tasks("/shop/web")[0]
        os.kill(named.pid(victim["id"]), signal.SIGKILL)
        killed = time.monotonic()
        named.until(partial(lambda gone: gone not in targets(named, service), victim["ports"][0]))
        left = time.monotonic() - killed
        named.until(lambda: len(targets(named, service)) == 2)
        seen = time.time()
        (fresh,) = targets(named, service).keys() - before.keys()
        (heir,) = (task for task in named.tasks("/shop/web") if task["ports"] == [fresh])
        healthy = epoch(heir["healthCheckResults"][0]["firstSuccess"])
        took.append((left, seen - healthy))
    assert all(min(each) < AT_ONCE for each in zip(*took, strict=True)), took


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_a_removed_app_has_no_name_and_a_new_life_of_the_cell_has_those_of_the_old(named: Machine) -> None:
    up(named, {"id": "web", "portDefinitions": [{"port": 0}]}, {"id": "back"})
    named.until(lambda: dig(named, "web.shop.kato") == ["127.0.0.1"])
    os.kill(named.get("/v1/cell")["pid"], signal.SIGKILL)
    named.until(lambda: named.get("/ping") is None)
    named.start()
    named.until(lambda: dig(named, "web.shop.kato") == ["127.0.0.1"])
    up(named, {"id": "back"})
    named.until(lambda: asked(named, "web.shop.kato").rcode() is dns.rcode.NXDOMAIN)


LIBC = """
import asyncio, socket
from kato.drivers.dns import Options
from kato.drivers.dns.server import Driver
from kato.model.names import AppNames, Names

async def main():
    driver = await Driver.open(Options(listen="127.0.0.1:53"))
    hosts = {"web.kato": ("10.0.0.1", "10.0.0.2", "fd00::1")}
    await driver.apply(Names(1, {"/web": AppNames("/web", "web.kato", hosts)}))
    for name in ("web.kato", "nobody.kato"):
        try:
            found = await asyncio.to_thread(socket.getaddrinfo, name, 80, type=socket.SOCK_STREAM)
            print(*sorted({each[4][0] for each in found}))
        except socket.gaierror as error:
            print(error.errno == socket.EAI_NONAME)
    await driver.close()

asyncio.run(main())
"""
"""A server at port 53, and Python's `getaddrinfo`, which is libc's."""


def test_libc_finds_names_on_port_53(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "libc.py").write_text(LIBC)
    # A network and a resolv.conf of its own, which end with it.
    script = (
        "ip link set lo up && for each in resolv nsswitch; do mount --bind $0/$each.conf /etc/$each.conf; done"
    )
    command = ["unshare", "--net", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    command += ["sh", "-ec", f"{script}; exec {sys.executable} $0/libc.py", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.split("\n") == ["10.0.0.1 10.0.0.2 fd00::1", "True", ""], done.stderr


def test_a_port_that_is_taken_is_said_in_one_sentence(named: Machine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        said = named.kato("serve", "--dns", taken, code=None)
    assert f"The name server cannot listen on {taken}: Address already in use" in said and "--dns" in said
    assert "Traceback" not in said
