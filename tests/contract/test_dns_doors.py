"""Doors on a network of the test's own: what a guest there is told, and what becomes of doors, comes out."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import msgspec
import pytest

from engine import Room, own_room
from kato.drivers.dns.doors import Doors
from kato.drivers.runtime.docker.reach import walled
from kato.model.frontend import Door
from kato.model.names import AppNames, Names, Target

DOOR = Door("172.30.0.1", "br-kato0")
BRIDGE = ("link add br-kato0 type bridge", "address add 172.30.0.1/24 dev br-kato0", "link set br-kato0 up")
REDIS = AppNames(
    "/voting/redis",
    "redis.voting.kato",
    {"redis.voting.kato": ("127.0.0.1",), "1.redis.voting.kato": ("127.0.0.1",)},
    {"_redis._tcp.voting.kato": (Target("1.redis.voting.kato", 31010),)},
    {"_redis._tcp.voting.kato": (6379,)},
)
IDLE = AppNames("/voting/idle", "idle.voting.kato", {"idle.voting.kato": ("127.0.0.1",)})


class Guest(Room):
    """Somebody on the network."""

    async def asks(self, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
        def ask() -> dns.message.Message:
            query = dns.message.make_query(name, kind)
            with self.network():
                return (dns.query.tcp if tcp else dns.query.udp)(query, DOOR.address, 20)

        return await asyncio.to_thread(ask)

    async def hears(self, name: str, kind: str = "A", *, tcp: bool = False) -> Sequence[str]:
        return [str(record) for each in (await self.asks(name, kind, tcp=tcp)).answer for record in each]


def ip(*lines: str) -> None:
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


def wall() -> None:
    """Drops what comes from the network, until the room ends."""
    subprocess.run(["iptables", "-w", "5", "-A", "INPUT", "-i", "br-kato0", "-j", "DROP"], check=True)


def linked(guest: Room) -> None:
    """Gives the guest its place on the network."""
    ip(f"link add guest type veth peer name home netns {guest.pid}", "link set guest master br-kato0 up")
    for line in ("address add 172.30.0.2/24 dev home", "link set home up"):
        subprocess.run(guest.inside("ip", *line.split()), check=True)


@pytest.fixture
def guest() -> Iterator[Guest]:
    with own_room():
        guest = Guest()
        try:
            ip(*BRIDGE)
            linked(guest)
            yield guest
        finally:
            guest.end()


async def opened(folder: Path) -> Doors:
    (folder / "resolv.conf").write_text("nameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver fd00::1\n")
    return await Doors.at(folder / "doors.json", folder / "resolv.conf")


@pytest.fixture
async def doors(guest: Guest, tmp_path: Path) -> AsyncIterator[Doors]:
    doors = await opened(tmp_path)
    await doors.apply(Names(1, {each.app: each for each in (REDIS, IDLE)}))
    yield doors
    await doors.close()


async def test_an_app_is_where_whoever_asks_can_reach_it(doors: Doors, guest: Guest) -> None:
    assert await doors.open(DOOR) == (DOOR.address, "192.0.2.53")
    assert await guest.hears("redis.voting.kato") == [DOOR.address]
    assert await guest.hears("redis.voting.kato", tcp=True) == [DOOR.address]
    assert await guest.hears("_redis._tcp.voting.kato", "SRV") == ["0 1 6379 redis.voting.kato."]
    assert await guest.hears("kato") == [DOOR.address]
    for name, code in (
        ("idle.voting.kato", dns.rcode.NOERROR),
        ("1.redis.voting.kato", dns.rcode.NXDOMAIN),
        ("nobody.kato", dns.rcode.NXDOMAIN),
    ):
        answer = await guest.asks(name)
        assert (answer.rcode(), answer.answer) == (code, [])
    await doors.apply(Names(2, {"/voting/redis": msgspec.structs.replace(REDIS, fronts={})}))
    assert await guest.hears("redis.voting.kato") == []
    for transfer in ("AXFR", "IXFR"):
        assert (await guest.asks("kato", transfer, tcp=True)).rcode() is dns.rcode.REFUSED


async def test_the_balancer_hears_of_doors_and_they_are_there_again_in_the_next_life(
    doors: Doors, guest: Guest, tmp_path: Path
) -> None:
    heard: list[Sequence[Door]] = []
    doors.hear(heard.append)
    await doors.open(DOOR)
    await doors.open(DOOR)
    assert heard == [(), (DOOR,)] and doors.wanted.is_set()
    await doors.close()
    after = await opened(tmp_path)
    await after.apply(Names(1, {REDIS.app: REDIS}))
    assert await guest.hears("redis.voting.kato") == [DOOR.address]
    after.hear(heard.append)
    await after.shut(DOOR.interface)
    assert heard[2:] == [(DOOR,), ()]
    await after.close()
    last = await opened(tmp_path)
    last.hear(heard.append)
    assert heard[4:] == [()]


@pytest.mark.parametrize(
    "text",
    [
        b'[{"address":"127.0.0.1","interface":"l\\u0000o"}]',
        b'[{"address":"\\u0000","interface":"lo"}]',
        b'[{"address":"\xff\xfe","interface":"lo"}]',
        b'[{"address":"","interface":"lo"}]',
        b'[{"address":"0.0.0.0","interface":"lo"}]',
        b'[{"address":"localhost","interface":"lo"}]',
        b'[{"address":"127.0.0.1","more":' + b"[" * 100_000,
        b"\0" * 64,
    ],
)
async def test_a_damaged_file_of_doors_opens_none_and_keeps_no_cell_from_its_start(
    text: bytes, tmp_path: Path
) -> None:
    (tmp_path / "doors.json").write_bytes(text)
    doors, heard = await opened(tmp_path), list[Sequence[Door]]()
    doors.hear(heard.append)
    assert heard == [()]


async def test_a_network_of_the_same_name_has_a_door_of_its_own(doors: Doors, guest: Guest) -> None:
    await doors.open(DOOR)
    ip("link delete guest", "link delete br-kato0")
    assert await doors.open(Door("172.30.9.1", "br-kato9")) == ()
    ip(*BRIDGE)
    linked(guest)
    await doors.open(DOOR)
    assert await guest.hears("redis.voting.kato") == [DOOR.address]


async def test_a_wall_before_a_door_is_seen(doors: Doors, guest: Guest) -> None:
    await doors.open(DOOR)
    assert not await asyncio.to_thread(walled, DOOR, "172.30.0.0/24")
    wall()
    assert await asyncio.to_thread(walled, DOOR, "172.30.0.0/24")
    assert sorted(name for _, name in socket.if_nameindex()) == ["br-kato0", "guest", "lo"]


UNPRIVILEGED = """
import asyncio, sys
from pathlib import Path
from kato.drivers.dns.doors import Doors
from kato.model.frontend import Door

async def main():
    doors = await Doors.at(Path(sys.argv[1], "doors.json"), Path("/etc/resolv.conf"))
    print(await doors.open(Door("172.30.0.1", "br-kato0")))

asyncio.run(main())
"""


def test_without_the_right_to_port_53_there_is_no_door_and_it_is_said(guest: Guest, tmp_path: Path) -> None:
    """As where a user of the group `docker` runs the cell: containers ask whom the engine says."""
    words = ["setpriv", "--bounding-set=-net_bind_service", sys.executable, "-c", UNPRIVILEGED, str(tmp_path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "()"
    assert "Permission denied; port 53 is root's" in said.stdout + said.stderr
