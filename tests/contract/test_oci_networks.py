"""What only the oci runtime promises of networks: who answers at a port and when, the way out, and that nothing of
a network is left, whatever was killed."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from network_suite import BRIDGE, SERVE, SHARED, NetworkContract, asked

from engine import Room
from kato.drivers.dns.local import answer
from kato.drivers.runtime import Options, namespaces
from kato.drivers.runtime.oci import Driver
from kato.model.app import App, Container, Docker, Network, Parameter, PortMapping
from kato.model.errors import DriverError
from oci import IMAGE, linked, roomed
from runtimes import PATIENCE, TASK, command, ended, ending_all, hears, said, until

HTTP = (PortMapping(container_port=80),)
USER = 77


@pytest.fixture
def options(own_network: Room) -> Iterator[Options]:
    with roomed() as options:
        yield options


@pytest.fixture
async def driver(options: Options, own_network: Room) -> AsyncIterator[Driver]:
    """Nothing of a network is left after any test."""
    driver = await Driver.open(options)
    async with ending_all(driver):
        yield driver
    await until(lambda: linked(own_network) == [])


class Contained(NetworkContract):
    container = Container(type="MESOS", docker=Docker(image=IMAGE))


contained = Contained()


async def start(driver: Driver, cmd: str, task: str = TASK, **more: Any) -> None:
    await driver.start(contained.launch(cmd, task, **more))


async def test_a_port_is_refused_until_somebody_listens_inside(driver: Driver, own_network: Room) -> None:
    serve = SERVE.format(word="late", port=80).replace("httpd", "until test -f /go; do sleep 0.01; done; httpd")
    await start(driver, f"echo up; {serve}", networks=BRIDGE, mappings=HTTP, ports=(31501,))
    await hears(driver, "up")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 31501), 5)
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 31501))
    await driver.execute(TASK, ("touch", "/go"), 10)
    assert await asked(own_network, 31501) == "late\n"


async def test_much_is_carried_both_ways_and_each_side_may_end_first(driver: Driver, options: Options) -> None:
    await start(driver, "sleep 1000", networks=BRIDGE, mappings=HTTP, ports=(31501,))
    tcp, udp = inside(options, 80)
    udp.close()
    tcp.listen()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.read(-1)
        writer.write(heard[::-1])
        writer.close()

    sent = b"".join(b"%d\n" % n for n in range(500_000))
    async with await asyncio.start_server(answer, sock=tcp), asyncio.timeout(PATIENCE):
        for _ in range(2):
            reader, writer = await connected(31501)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read(-1) == sent[::-1]
            writer.close()


def inside(options: Options, port: int) -> tuple[socket.socket, socket.socket]:
    """Sockets in the network of the task, bound to a port, for TCP and UDP."""
    namespace = os.open(f"/proc/{(options.folder / TASK / 'oci/init').read_text()}/ns/net", os.O_RDONLY)
    try:
        udp, tcp = namespaces.listening(namespace, "0.0.0.0", port)
        return tcp, udp
    finally:
        os.close(namespace)


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.005)


async def test_datagrams_are_answered(driver: Driver, options: Options) -> None:
    udp = (PortMapping(container_port=53, protocol="udp"),)
    await start(driver, "sleep 1000", networks=BRIDGE, mappings=udp, ports=(31502,))
    tcp, server = inside(options, 53)
    loop = asyncio.get_running_loop()
    with tcp, server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", 31502))
        async with asyncio.timeout(PATIENCE):
            for word in (b"one", b"two"):
                client.send(word)
                heard, peer = await loop.sock_recvfrom(server, 100)
                server.sendto(heard.upper(), peer)
                assert await loop.sock_recv(client, 100) == word.upper()


async def test_what_is_outside_is_reached_and_who_is_there_reaches_no_container(
    driver: Driver, own_network: Room
) -> None:
    beyond = Room()
    try:
        cable(own_network, beyond)
        with beyond.network():
            server = socket.create_server(("192.0.2.2", 8000))
        with server:
            server.settimeout(PATIENCE)
            asking = asyncio.create_task(contained.say(driver, "nc 192.0.2.2 8000", TASK, networks=SHARED))
            client, (who, _) = await asyncio.to_thread(server.accept)
            with client:
                client.sendall(b"hello from outside\n")
            assert await asking == "hello from outside\n"
        assert who == "192.0.2.1", "it went out as the machine itself"
        await start(driver, SERVE.format(word="x", port=80), "web.2", networks=SHARED, id="/shop/web")
        (link,) = driver._way.networks._endpoints["web.2"]
        command(*beyond.inside(*f"ip route add {link.address}/32 via 192.0.2.1".split()))
        try_it = beyond.inside("curl", "--silent", "--max-time", "1", f"http://{link.address}/")
        assert (await asyncio.to_thread(subprocess.run, try_it, capture_output=True)).returncode
    finally:
        beyond.end()


async def test_names_of_elsewhere_are_asked_of_the_machine_s_resolvers(
    options: Options, own_network: Room, tmp_path: Path
) -> None:
    """By the cell itself, from the machine's own network: also where containers reach nothing outside."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    tcp, udp = (socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK) for kind in (1, 2))
    for each in (tcp, udp):
        each.bind(("127.0.0.1", 53))
    there = await answer(udp, tcp, lambda name, peer: ["192.0.2.9"] if name == "a.example" else None, None)
    told = msgspec.structs.replace(options, answer=partial(answer, resolvers=tmp_path / "resolv.conf"))
    driver = await Driver.open(told)
    async with ending_all(driver):
        heard = await contained.say(driver, "nslookup a.example", TASK, networks=SHARED)
    await there.close()
    assert "Address: 192.0.2.9" in heard, heard


def cable(one: Room, other: Room) -> None:
    """Joins two rooms as 192.0.2.1 and 192.0.2.2."""
    command(*one.inside(*f"ip link add to type veth peer name to netns /proc/{other.pid}/ns/net".split()))
    for room, address in ((one, "192.0.2.1/24"), (other, "192.0.2.2/24")):
        command(*room.inside("ip", "address", "add", address, "dev", "to"))
        command(*room.inside("ip", "link", "set", "to", "up"))


async def test_groups_do_not_reach_each_other_s_containers(driver: Driver, options: Options) -> None:
    await start(driver, SERVE.format(word="x", port=80), id="/shop/web", networks=SHARED)
    await hears(driver, "ready")
    (link,) = msgspec.json.decode((options.folder / TASK / "oci/network.json").read_bytes())
    ask = f"wget -qO- http://{link['address']}/ || echo none"
    for group, heard in (("other", "none\n"), ("shop", "x\n")):
        assert await contained.say(driver, ask, f"{group}.1", id=f"/{group}/ask", networks=SHARED) == heard


async def test_tasks_that_start_at_once_are_on_one_network(driver: Driver, own_network: Room) -> None:
    tasks = [f"shop_web.{n}" for n in range(6)]
    serve = SERVE.format(word="found", port=80)
    await asyncio.gather(*(start(driver, serve, task, id="/shop/web", networks=SHARED) for task in tasks))
    assert len(linked(own_network)) == 1
    heard = await contained.say(driver, "nslookup web.shop", "shop_ask.1", id="/shop/ask", networks=SHARED)
    assert heard.count("Address: 10.") == 6


async def test_a_start_that_fails_leaves_no_network(driver: Driver, own_network: Room) -> None:
    with socket.create_server(("127.0.0.1", 31501)):
        words = "could not publish port 31501 of 127.0.0.1: Address already in use"
        with pytest.raises(DriverError, match=words):
            await start(driver, "sleep 1000", networks=BRIDGE, mappings=HTTP, ports=(31501,))
    with pytest.raises(DriverError, match="/no/such/program"):
        await driver.start(contained.launch(None, TASK, networks=SHARED, args=("/no/such/program",)))
    assert await driver.found() == {}
    await until(lambda: linked(own_network) == [])


async def test_what_is_killed_while_no_cell_runs_leaves_nothing(options: Options, own_network: Room) -> None:
    """The link goes with the last process, by the kernel; the rules by the next cell."""
    first = await Driver.open(options)
    for n in (1, 2):
        await start(first, "echo ready; sleep 1000", f"web.{n}", networks=SHARED)
        await hears(first, "ready", f"web.{n}")
    await first.close()
    for folder in options.folder.glob("web.*"):
        for pid in (int((folder / f"oci/{name}").read_text()) for name in ("network.0", "init")):
            os.kill(pid, signal.SIGKILL)
    await until(lambda: not interfaces(own_network))
    async with ending_all(await Driver.open(options)) as second:
        assert linked(own_network) == []
        assert all(each.exit is not None for each in (await second.found()).values())


async def test_a_cell_killed_while_it_makes_a_network_leaves_nothing(options: Options, own_network: Room) -> None:
    """What it holds goes with it, which is all that there is of the network, but for rules."""
    first = await Driver.open(options)
    app = App(id="/shop/web", networks=SHARED)
    (link,) = await asyncio.to_thread(first._way.networks.join, "web.1", app)
    assert interfaces(own_network) == [f"kato{link.number}"] and linked(own_network)
    await first.close()
    await until(lambda: not interfaces(own_network))
    async with ending_all(await Driver.open(options)):
        assert linked(own_network) == []


def interfaces(room: Room) -> list[str]:
    said = subprocess.check_output(room.inside("ip", "-br", "link"), text=True)
    return [line.split("@")[0] for line in said.splitlines() if line.startswith("kato")]


async def test_a_task_ends_with_what_carries_its_ports_and_costs_nobody_else(
    driver: Driver, options: Options, own_network: Room
) -> None:
    for n in (1, 2):
        serve = SERVE.format(word=f"web{n}", port=80)
        await start(
            driver, serve, f"web.{n}", id=f"/shop/web{n}", networks=SHARED, mappings=HTTP, ports=(31500 + n,)
        )
        await hears(driver, "ready", f"web.{n}")
    os.kill(int((options.folder / "web.1/oci/network.0").read_text()), signal.SIGKILL)
    end = await ended(driver, "web.1")
    assert end.signal == signal.SIGKILL and "What carried its ports was killed" in await said(
        driver, "web.1", "stderr"
    )
    assert await asked(own_network, 31502) == "web2\n"
    heard = await contained.say(driver, "wget -qO- http://web2/", "ask.1", id="/shop/ask", networks=SHARED)
    assert heard == "web2\n"


async def test_the_end_of_a_task_is_its_own_and_no_remark_is_made_of_its_ports(driver: Driver) -> None:
    await start(driver, "exit 3", networks=BRIDGE, mappings=HTTP, ports=(31501,))
    assert (await ended(driver)).code == 3
    assert await said(driver, TASK, "stderr") == ""


async def test_it_knows_itself_and_who_it_was_told_of(driver: Driver, options: Options) -> None:
    flags = [("add-host", "db:192.0.2.7"), ("add-host", "me:host-gateway"), ("dns-search", "a.example")]
    told = Contained()
    told.flags = tuple(Parameter(key=key, value=value) for key, value in flags)
    look = "cat /etc/hosts /etc/resolv.conf; test $(hostname) = $(cat /etc/hostname) && hostname"
    await told.say(driver, look, TASK, networks=SHARED)
    name = (await said(driver)).splitlines()[-1]
    (link,) = msgspec.json.decode((options.folder / TASK / "oci/network.json").read_bytes())
    assert (await said(driver)) == (
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.7\tdb\n10.212.0.1\tme\n"
        f"{link['address']}\t{name}\nnameserver {link['gateway']}\nsearch a.example\noptions ndots:0\n{name}\n"
    )


async def test_any_user_may_listen_at_any_port(driver: Driver, own_network: Room) -> None:
    serve = SERVE.format(word="mine", port=80).replace("/w", "$MESOS_SANDBOX/w")
    await start(driver, serve, networks=BRIDGE, mappings=HTTP, ports=(31501,), user=str(USER))
    assert await asked(own_network, 31501) == "mine\n"


async def test_what_networks_need_is_named(options: Options, tmp_path: Path) -> None:
    for name in ("crun", "skopeo", "umoci", "unshare", "mount"):
        (tmp_path / name).symlink_to("/bin/true")
    without = msgspec.structs.replace(options, environ={"PATH": str(tmp_path)})
    driver = await Driver.open(without)
    assert any("apt-get install iptables" in note for note in driver.notes)
    with pytest.raises(DriverError, match="Run: apt-get install iproute2 util-linux"):
        await start(driver, "true", networks=(Network(mode="container", name="default"),))
    await driver.close()
