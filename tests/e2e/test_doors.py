"""Containers of one project ask for the apps of another: an engine, a network and an /etc of the test's own go in;
what they are told, and what they reach there, comes out.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine import IMAGE, Dockerd, Room, dockerd, needs_root
from kato.cli.upkeep import doctor
from load import free_port
from machine import Machine
from runtimes import alive

UPSTREAM = "192.0.2.53"
ELSEWHERE = ("elsewhere.example", "192.0.2.7")
PROJECT = f"""
name: {{name}}
services:
  {{service}}:
    image: {IMAGE}
    stop_grace_period: 0.5s
    command: sh -c "mkdir /w; echo {{name}} > /w/index.html; exec httpd -f -p 80 -h /w"
    ports: ["{{port}}:80"]
    x-kato: {{{{health: {{{{http: /, interval: 1s}}}}}}}}
"""


ANOTHER = """
  api:
    image: {image}
    stop_grace_period: 0.5s
    command: sh -c "mkdir /w; echo apart > /w/index.html; exec httpd -f -p 80 -h /w"
    ports: ["80"]
    networks: [back]
networks: {{back: {{}}}}
"""
"""A service of the same project that shares no network with its first one."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Dockerd]:
    """One whose machine asks a name server that containers reach, and that knows one name."""
    needs_root()
    with dockerd(begun=False) as engine:
        conf = engine.folder / "resolv.conf"
        conf.write_text(f"nameserver {UPSTREAM}\noptions timeout:2\n")
        for line in (
            "mount --make-rprivate /",
            f"mount --bind {conf} /etc/resolv.conf",
            f"ip address add {UPSTREAM}/32 dev lo",
        ):
            subprocess.run(engine.inside(*line.split()), check=True)
        words = f"dnsmasq --keep-in-foreground --conf-file=/dev/null --listen-address={UPSTREAM} --bind-interfaces"
        words += f" --no-resolv --no-hosts --user=root --pid-file= --address=/{'/'.join(ELSEWHERE)}"
        upstream = subprocess.Popen(engine.inside(*words.split()))
        try:
            engine.start()
            engine.import_busybox()
            yield engine
        finally:
            upstream.kill()
            upstream.wait()


class Shared(Machine):
    """A machine with two projects on the test's engine: `shop`, and `voting`, whom it asks for."""

    def __init__(self, engine: Dockerd) -> None:
        super().__init__()
        self.engine = engine
        self.env["DOCKER_HOST"] = engine.url
        self.port = free_port()

    def line(self, *words: str) -> list[str]:
        return self.engine.inside("env", "-C", str(self.root), *words)

    def within(self, app: str, *words: str) -> str:
        """What a command in an app's container says; "" where it fails."""
        (id,) = self.engine.ask("ps", "--quiet", f"--filter=label=kato.app={app}").split()
        command = self.engine.docker("exec", id, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        return done.stdout if done.returncode == 0 else ""

    def found(self, name: str, kind: str = "A") -> str:
        """What the shop's container is told of a name."""
        return self.within("/shop/web", "nslookup", f"-type={kind}", name)


@pytest.fixture(scope="module")
def machine(engine: Dockerd) -> Iterator[Shared]:
    with engine.network():
        machine = Shared(engine)
        try:
            machine.up(PROJECT.format(name="voting", service="redis", port=machine.port))
            shop = PROJECT.format(name="shop", service="web", port=free_port())
            machine.up(shop + "    depends_on: [api]" + ANOTHER.format(image=IMAGE))
            machine.until(lambda: machine.healthy("/voting/redis") == machine.healthy("/shop/web") == 1)
            yield machine
        finally:
            machine.close()


def gateway(engine: Dockerd, project: str) -> str:
    (id,) = engine.ask("network", "ls", f"--filter=name=-{project}$", "--quiet").split()
    return engine.ask("network", "inspect", id, "--format={{(index .IPAM.Config 0).Gateway}}")


def test_a_container_finds_and_reaches_an_app_of_another_project(machine: Shared, engine: Dockerd) -> None:
    machine.until(lambda: gateway(engine, "shop") in machine.found("redis.voting.kato"))
    url = f"http://redis.voting.kato:{machine.port}/"
    machine.until(lambda: machine.within("/shop/web", "wget", "-qO-", url) == "voting\n")
    assert f" {machine.port} redis.voting.kato" in machine.found("_redis._tcp.voting.kato", "SRV")
    assert machine.found("nobody.voting.kato") == ""


def test_a_service_without_a_network_in_common_is_where_its_variables_say(machine: Shared) -> None:
    asked = "wget -qO- http://$API_HOST:$API_PORT/"
    machine.until(lambda: machine.within("/shop/web", "sh", "-c", asked) == "apart\n")


def test_other_names_are_asked_of_whom_the_machine_asks(machine: Shared) -> None:
    name, address = ELSEWHERE
    machine.until(lambda: address in machine.found(name))


def test_only_containers_on_the_network_come_to_its_door(machine: Shared, engine: Dockerd) -> None:
    """Not a neighbour of the machine's, whose packets to that address the kernel would take otherwise."""
    door = gateway(engine, "shop")
    outside = Room()
    try:
        for words in (
            f"link add lan0 type veth peer name lan1 netns {outside.pid}",
            "address add 198.51.100.1/24 dev lan0",
            "link set lan0 up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        for words in (
            "address add 198.51.100.2/24 dev lan1",
            "link set lan1 up",
            f"route add {door} via 198.51.100.1",
        ):
            subprocess.run(outside.inside("ip", *words.split()), check=True)
        with socket.create_server((door, 0)) as open, outside.network():
            socket.create_connection((door, open.getsockname()[1]), 20).close()
            for port in (machine.port, 53):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((door, port), 20)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
                asker.connect((door, 53))
                asker.settimeout(20)
                asker.send(b"x" * 12)
                with pytest.raises(ConnectionRefusedError):
                    asker.recv(512)
    finally:
        outside.end()
    api = machine.api.rpartition(":")[2]
    assert machine.within("/shop/web", "wget", "-qO-", f"http://{door}:{api}/ping") == ""


def test_a_killed_cell_leaves_other_names_and_open_doors_and_the_next_one_answers_again(
    machine: Shared, engine: Dockerd
) -> None:
    before = engine.ask("ps", "--all", "--quiet")
    cell = machine.get("/v1/cell")["pid"]
    os.kill(cell, signal.SIGKILL)
    machine.until(lambda: not alive(cell))
    machine.until(lambda: ELSEWHERE[1] in machine.found(ELSEWHERE[0]))
    told = machine.within("/shop/web", "sh", "-c", "nslookup -type=A redis.voting.kato 2>&1; true")
    assert "can't find" in told and "timed out" not in told
    url = f"http://{gateway(engine, 'shop')}:{machine.port}/"
    assert machine.within("/shop/web", "wget", "-qO-", url) == "voting\n"
    machine.start()
    machine.until(lambda: gateway(engine, "shop") in machine.found("redis.voting.kato"))
    url = f"http://redis.voting.kato:{machine.port}/"
    machine.until(lambda: machine.within("/shop/web", "wget", "-qO-", url) == "voting\n")
    assert engine.ask("ps", "--all", "--quiet") == before


def test_the_doctor_says_what_a_cell_without_root_leaves_out(engine: Dockerd) -> None:
    found = [asyncio.run(doctor.engine(engine.url, root)).found for root in (True, False)]
    assert "names of other projects" not in found[0] and "a cell of root's would tell" in found[1]


def test_a_network_that_goes_takes_its_door_along(machine: Shared, engine: Dockerd) -> None:
    door = gateway(engine, "voting")
    kept = [machine.data / "doors.json", machine.data / "balancer" / "haproxy.cfg"]
    assert all(door in each.read_text() for each in kept)
    machine.kato("rm", "voting/redis")
    machine.until(lambda: not any(door in each.read_text() for each in kept))
    assert machine.found("redis.voting.kato") == ""


def test_where_a_firewall_keeps_containers_from_the_cell_they_ask_whom_the_engine_says(engine: Dockerd) -> None:
    with engine.network():
        machine = Shared(engine)
        rule = ["INPUT", "!", "-i", "lo", "-p", "udp", "--dport", "53", "!", "-d", "192.0.2.53", "-j", "DROP"]
        subprocess.run(["iptables", "-w", "5", "-A", *rule], check=True)
        try:
            machine.up(PROJECT.format(name="lone", service="web", port=machine.port))
            assert ELSEWHERE[1] in machine.within("/lone/web", "nslookup", "-type=A", ELSEWHERE[0])
            assert "a firewall keeps containers on a network" in (machine.data / "cell.log").read_text()
            (id,) = engine.ask("ps", "--quiet", "--filter=label=kato.app=/lone/web").split()
            assert gateway(engine, "lone") not in engine.ask("inspect", "--format={{json .HostConfig}}", id)
        finally:
            subprocess.run(["iptables", "-w", "5", "-D", *rule], check=True)
            machine.close()


TAKES = """
import contextlib, socket, time
taken = [socket.socket() for _ in range(17, 32)]
for each, place in zip(taken, range(17, 32)):  # where Docker's engine makes networks
    each.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND, ip(7): the address need not be there yet
    with contextlib.suppress(OSError):  # a network of another test is there
        each.bind((f"172.{place}.0.1", 53))
        each.listen()
print(flush=True)
time.sleep(1000)
"""


def test_a_door_that_somebody_held_is_open_to_the_next_container_once_it_is_free(engine: Dockerd) -> None:
    with engine.network():
        machine = Shared(engine)
        line = engine.inside(sys.executable, "-c", TAKES)
        with subprocess.Popen(line, stdout=subprocess.PIPE) as holder:
            try:
                assert holder.stdout is not None and holder.stdout.readline()
                lone = PROJECT.format(name="lone", service="web", port=machine.port)
                machine.up(lone)
                door = gateway(engine, "lone")
                assert machine.within("/lone/web", "nslookup", "-type=A", "web.lone.kato") == ""
                holder.kill()
                holder.wait()
                machine.up(lone + ANOTHER.format(image=IMAGE).replace("[back]", "[default]"))
                machine.until(lambda: door in machine.within("/lone/api", "nslookup", "-type=A", "web.lone.kato"))
            finally:
                holder.kill()
                machine.close()
