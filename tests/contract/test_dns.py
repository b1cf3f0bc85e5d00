"""What every DNS driver must do: views flow in, questions of real clients over real sockets; answers come out."""

import asyncio
import contextlib
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import dns.asyncquery
import dns.asyncresolver
import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from kato.drivers.dns import Dns, Options
from kato.drivers.load import load
from kato.model.errors import InvalidInput
from kato.model.names import AppNames, Names, Target
from load import free_port

HERE = "127.0.0.1"


def app(id: str = "/voting/redis", tasks: int = 2, **hosts: tuple[str, ...]) -> AppNames:
    """An app with so many tasks, each with an address of its own."""
    own = ".".join([*reversed(id.strip("/").split("/")), "kato"])
    alone = {f"{n}.{own}": (f"10.0.{n // 250}.{n % 250 + 1}",) for n in range(1, tasks + 1)}
    head, _, group = own.partition(".")
    targets = tuple(Target(name, 31000 + n) for n, name in enumerate(alone))
    every = tuple(address for each in alone.values() for address in each)
    return AppNames(id, own, {own: every, **alone, **hosts}, {f"_{head}._tcp.{group}": targets} if tasks else {})


def view(*apps: AppNames, seq: int = 1) -> Names:
    return Names(seq, {each.app: each for each in apps})


@pytest.fixture(params=["server"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def opened(name: str, options: Options) -> AsyncIterator[Dns]:
    driver: Dns = await load("dns", name).open(options)
    try:
        yield driver
    finally:
        await driver.close()


class Served:
    """A driver that answers, and how to ask it."""

    def __init__(self, driver: Dns, port: int) -> None:
        self.driver = driver
        self.port = port

    async def udp(self, name: str, kind: str = "A", **more: object) -> dns.message.Message:
        query = dns.message.make_query(name, kind, **more)  # type: ignore[arg-type]
        return await dns.asyncquery.udp(query, HERE, 5, self.port)

    async def tcp(self, name: str, kind: str = "A") -> dns.message.Message:
        return await dns.asyncquery.tcp(dns.message.make_query(name, kind), HERE, 5, self.port)

    async def raw(self, packet: bytes) -> bytes:
        """What is answered to a packet over UDP; nothing where a question asked after it is answered first."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((HERE, self.port))
            after = dns.message.make_query("after.kato", "A", id=0xBEEF).to_wire()
            await loop.sock_sendall(client, packet)
            await loop.sock_sendall(client, after)
            async with asyncio.timeout(60):
                first = await loop.sock_recv(client, 65535)
            return b"" if first[:2] == b"\xbe\xef" and packet[:2] != b"\xbe\xef" else first

    async def dig(self, *words: str) -> str:
        command = ["dig", "+tries=1", "+time=30", "-p", str(self.port), f"@{HERE}", *words]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        return str(done.stdout)


@pytest.fixture
async def served(name: str) -> AsyncIterator[Served]:
    port = free_port()
    async with opened(name, Options(listen=f"{HERE}:{port}")) as driver:
        await driver.apply(view(app()))
        yield Served(driver, port)


def said(answer: dns.message.Message) -> set[str]:
    return {str(record) for each in answer.answer for record in each}


async def test_an_app_has_the_addresses_of_its_tasks_and_each_task_its_own(served: Served) -> None:
    answer = await served.udp("redis.voting.kato")
    assert said(answer) == {"10.0.0.2", "10.0.0.3"} and answer.flags & dns.flags.AA
    assert said(await served.udp("2.redis.voting.kato")) == {"10.0.0.3"}
    assert {each.ttl for each in answer.answer} == {1}


async def test_ports_are_srv_records_with_the_addresses_of_their_targets(served: Served) -> None:
    answer = await served.udp("_redis._tcp.voting.kato", "SRV")
    assert said(answer) == {"0 1 31000 1.redis.voting.kato.", "0 1 31001 2.redis.voting.kato."}
    beside = {str(each.name): str(each[0]) for each in answer.additional}
    assert beside == {"1.redis.voting.kato.": "10.0.0.2", "2.redis.voting.kato.": "10.0.0.3"}


async def test_addresses_of_both_kinds(served: Served) -> None:
    both = AppNames("/both", "both.kato", {"both.kato": ("10.0.0.1", "fd00::1")})
    await served.driver.apply(view(both))
    assert said(await served.udp("both.kato")) == {"10.0.0.1"}
    assert said(await served.udp("both.kato", "AAAA")) == {"fd00::1"}
    assert said(await served.udp("both.kato", "ANY")) == {"10.0.0.1"}


async def test_everybody_gets_another_first(served: Served) -> None:
    firsts = [str(next(iter((await served.udp("redis.voting.kato")).answer[0]))) for _ in range(4)]
    assert firsts[0] != firsts[1] and firsts[:2] == firsts[2:]


@pytest.mark.parametrize(
    ("name_", "kind", "code"),
    [
        ("nobody.kato", "A", dns.rcode.NXDOMAIN),
        ("x.redis.voting.kato", "A", dns.rcode.NXDOMAIN),
        ("redis.voting.kato", "AAAA", dns.rcode.NOERROR),
        ("redis.voting.kato", "MX", dns.rcode.NOERROR),
        ("voting.kato", "A", dns.rcode.NOERROR),
        ("_tcp.voting.kato", "SRV", dns.rcode.NOERROR),
        ("kato", "MX", dns.rcode.NOERROR),
    ],
)
async def test_what_is_not_there_is_told_from_what_has_nothing_of_that_type(
    served: Served, name_: str, kind: str, code: int
) -> None:
    for answer in (await served.udp(name_, kind), await served.tcp(name_, kind)):
        assert answer.rcode() == code and not answer.answer and answer.flags & dns.flags.AA
        (soa,) = answer.authority
        assert (str(soa.name), soa.rdtype, soa.ttl) == ("kato.", dns.rdatatype.SOA, 1)


async def test_the_zone_has_a_server_and_a_serial_that_rises(served: Served) -> None:
    assert said(await served.udp("kato", "NS")) == {"kato."}
    assert said(await served.udp("kato")) == {HERE}
    serials = []
    for seq in (7, 8):
        await served.driver.apply(view(app(), seq=seq))
        serials.append((await served.udp("kato", "SOA")).answer[0][0].serial)
        assert (await served.udp("nobody.kato")).authority[0][0].serial == seq
    assert serials == [7, 8]


async def test_the_case_of_a_question_is_kept(served: Served) -> None:
    for name in ("rEDis.VOTing.KaTO", "NObody.Kato", "vOTING.kato"):
        assert str((await served.udp(name)).question[0].name) == f"{name}."
        assert f";{name}." in await served.dig(name)
    assert "10.0.0.2" in await served.dig("+short", "REDIS.voting.KATO")


async def test_views_follow_each_other(served: Served) -> None:
    web = app("/web", 3)
    for apps in ((app(tasks=3), web), (web,), (app(tasks=0), web), ()):
        await served.driver.apply(view(*apps))
        hosts = {name: each.hosts[name] for each in apps for name in each.hosts}
        for name in ("redis.voting.kato", "1.redis.voting.kato", "3.redis.voting.kato", "web.kato", "3.web.kato"):
            answer = await served.udp(name)
            assert said(answer) == set(hosts.get(name, ())), name
            assert (answer.rcode() == dns.rcode.NXDOMAIN) == (name not in hosts), name
        above = (await served.udp("voting.kato")).rcode()
        assert (above == dns.rcode.NXDOMAIN) == (not any("voting" in name for name in hosts))


async def test_a_name_that_two_apps_ask_for_is_one_s_and_then_the_other_s(served: Served) -> None:
    dotted = AppNames("/a/b.c", "b.c.a.kato", {"b.c.a.kato": ("10.0.0.1",)})
    plain = AppNames("/a/c/b", "b.c.a.kato", {"b.c.a.kato": ("10.0.0.2",)})
    task = AppNames("/0", "c.a.kato", {"b.c.a.kato": ("10.0.0.3",)})
    for apps, whose in (
        ((dotted, plain, task), "10.0.0.2"),
        ((task, dotted), "10.0.0.1"),
        ((task,), "10.0.0.3"),
        ((task, plain), "10.0.0.2"),
    ):
        await served.driver.apply(view(*apps))
        assert said(await served.udp("b.c.a.kato")) == {whose}


async def test_what_does_not_fit_into_a_packet_is_had_whole_over_tcp(served: Served) -> None:
    await served.driver.apply(view(app(tasks=400)))
    for edns, limit in ((False, 512), (0, 1232)):
        query = dns.message.make_query("redis.voting.kato", "A", use_edns=edns, payload=4096)
        cut = await served.raw(query.to_wire())
        assert len(cut) <= limit and dns.message.from_wire(cut).flags & dns.flags.TC
    assert len(said(await served.tcp("redis.voting.kato"))) == 400
    assert len(said(await served.tcp("_redis._tcp.voting.kato", "SRV"))) == 400
    assert (await served.dig("+short", "redis.voting.kato")).count("\n") == 400
    await served.driver.apply(view(app(tasks=40)))
    assert len(said(await served.udp("redis.voting.kato", use_edns=0, payload=4096))) == 40
    cut = await served.raw(dns.message.make_query("redis.voting.kato", "A").to_wire())
    assert dns.message.from_wire(cut).flags & dns.flags.TC


async def test_an_app_of_more_tasks_than_any_answer_holds_is_answered_with_some(served: Served) -> None:
    await served.driver.apply(view(app(tasks=6000)))
    found = await served.tcp("redis.voting.kato"), await served.tcp("_redis._tcp.voting.kato", "SRV")
    assert len(said(found[0])) > 4000 and len(said(found[1])) > 1000


async def test_edns_is_spoken_and_another_version_refused(served: Served) -> None:
    answer = await served.udp("redis.voting.kato", use_edns=0, payload=1400)
    assert answer.edns == 0 and answer.payload == 1232
    assert (await served.udp("redis.voting.kato")).edns == -1
    option = dns.edns.CookieOption(b"12345678", b"")
    assert said(await served.udp("redis.voting.kato", use_edns=0, options=[option])) == {"10.0.0.2", "10.0.0.3"}
    newer = await served.udp("redis.voting.kato", use_edns=1)
    assert newer.rcode() == dns.rcode.BADVERS and newer.edns == 0 and not newer.answer


@pytest.mark.parametrize("kind", ["AXFR", "IXFR=1"])
async def test_nobody_gets_the_whole_zone(served: Served, kind: str) -> None:
    assert "Transfer failed" in await served.dig("kato", kind)
    number = {"AXFR": 252, "IXFR=1": 251}[kind]
    asked = b"\0\1\0\0\0\1\0\0\0\0\0\0\4kato\0" + struct.pack("!HH", number, 1)
    assert (await served.raw(asked))[3] & 15 == dns.rcode.REFUSED


async def test_what_is_not_ours_is_refused_and_nobody_is_asked(served: Served) -> None:
    for answer in (await served.udp("example.com"), await served.tcp("example.com"), await served.udp("xkato")):
        assert answer.rcode() == dns.rcode.REFUSED
        assert not answer.flags & (dns.flags.AA | dns.flags.RA)
    assert (await served.udp("version.bind", "TXT", rdclass="CH")).rcode() == dns.rcode.REFUSED


GOOD = dns.message.make_query("redis.voting.kato", "A", id=1).to_wire()


@pytest.mark.parametrize(
    ("packet", "code"),
    [
        (b"", None),
        (GOOD[:11], None),
        (GOOD[:2] + b"\x81\0" + GOOD[4:], None),  # an answer: to answer those would never end
        (GOOD[:12], dns.rcode.FORMERR),
        (GOOD[:-1], dns.rcode.FORMERR),
        (GOOD + b"x", dns.rcode.FORMERR),
        (GOOD[:4] + b"\0\0" + GOOD[6:], dns.rcode.FORMERR),
        (GOOD[:4] + b"\0\2" + GOOD[6:], dns.rcode.FORMERR),
        (GOOD[:4] + b"\0\1\xff\xff\xff\xff\xff\xff" + GOOD[12:], dns.rcode.FORMERR),
        (GOOD[:12] + b"\xc0\x0c\0\1\0\1", dns.rcode.FORMERR),
        (GOOD[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", dns.rcode.FORMERR),
        (GOOD[:12] + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1", dns.rcode.FORMERR),
        (GOOD[:2] + b"\x29\0" + GOOD[4:], dns.rcode.NOTIMP),  # UPDATE
    ],
)
async def test_what_is_no_question_does_no_harm(served: Served, packet: bytes, code: int | None) -> None:
    reply = await served.raw(packet)
    assert (reply[3] & 15 if reply else None) == code
    if reply:
        assert reply[:2] == packet[:2] and dns.message.from_wire(reply).rcode() == code
    assert said(await served.udp("redis.voting.kato"))


async def test_a_tcp_connection_carries_many_questions_also_in_pieces(served: Served) -> None:
    reader, writer = await asyncio.open_connection(HERE, served.port)
    framed = struct.pack("!H", len(GOOD)) + GOOD
    writer.write(framed * 3)
    for byte in framed:
        writer.write(bytes([byte]))
        await writer.drain()
    for _ in range(4):
        reply = await reader.readexactly(*struct.unpack("!H", await reader.readexactly(2)))
        assert len(said(dns.message.from_wire(reply))) == 2
    writer.close()


async def test_a_tcp_client_that_is_slow_is_left_and_others_are_answered(name: str) -> None:
    port = free_port()
    async with opened(name, Options(listen=f"{HERE}:{port}", patience=1.5)) as driver:
        served = Served(driver, port)
        await driver.apply(view(app(tasks=3000)))
        reader, silent = await asyncio.open_connection(HERE, port)
        silent.write(b"\0")
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        deaf.connect((HERE, port))
        deaf.setblocking(False)
        with contextlib.closing(deaf), contextlib.suppress(BlockingIOError):
            for _ in range(100_000):  # until the server reads no more, since nobody reads what it writes
                deaf.send((struct.pack("!H", len(GOOD)) + GOOD) * 100)
        assert len(said(await served.tcp("redis.voting.kato"))) == 3000
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        silent.close()


async def test_one_tcp_connection_more_than_there_may_be_ends_the_oldest(name: str) -> None:
    port = free_port()
    async with opened(name, Options(listen=f"{HERE}:{port}", connections=3)) as driver:
        await driver.apply(view(app()))
        clients = [await asyncio.open_connection(HERE, port) for _ in range(4)]
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                assert await clients[0][0].read() == b""
        assert said(await Served(driver, port).tcp("redis.voting.kato"))
        for _, writer in clients:
            writer.close()


async def test_of_many_tcp_connections_at_once_no_more_stay_than_there_may_be(name: str) -> None:
    port = free_port()
    async with opened(name, Options(listen=f"{HERE}:{port}", connections=3, patience=60)) as driver:
        await driver.apply(view(app()))
        sockets = [
            socket.create_connection((HERE, port)) for _ in range(30)
        ]  # all of them, before one is accepted
        clients = [await asyncio.open_connection(sock=each) for each in sockets]
        ends = [asyncio.create_task(reader.read()) for reader, _ in clients]
        async with asyncio.timeout(60):
            while sum(each.done() for each in ends) < 27:
                await asyncio.wait([each for each in ends if not each.done()], return_when=asyncio.FIRST_COMPLETED)
        assert said(await Served(driver, port).tcp("redis.voting.kato"))
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for _, writer in clients:
            writer.close()


async def test_who_asks_much_over_tcp_leaves_the_rest_of_the_cell_its_turns(served: Served) -> None:
    turns = 0

    async def rest() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    packet = dns.message.make_query("redis.voting.kato", "A").to_wire()
    reader, writer = await asyncio.open_connection(HERE, served.port)
    writer.write((struct.pack("!H", len(packet)) + packet) * 500)
    other = asyncio.create_task(rest())
    async with asyncio.timeout(60):
        for _ in range(500):
            await reader.readexactly(*struct.unpack("!H", await reader.readexactly(2)))
    other.cancel()
    writer.close()
    assert turns > 250


async def test_a_port_in_use_is_told(served: Served, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"cannot listen on {HERE}:{served.port}.*--dns"):
        await load("dns", name).open(Options(listen=f"{HERE}:{served.port}"))


async def test_a_closed_driver_answers_no_more_and_its_port_is_free(name: str) -> None:
    port = free_port()
    for _ in range(2):
        async with opened(name, Options(listen=f"{HERE}:{port}")) as driver:
            await driver.apply(view(app()))
            assert said(await Served(driver, port).udp("redis.voting.kato"))
            assert said(await Served(driver, port).tcp("redis.voting.kato"))
    with pytest.raises(OSError):
        await asyncio.open_connection(HERE, port)


async def test_a_stub_resolver_finds_services(served: Served) -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [HERE], served.port
    found = await resolver.resolve("_redis._tcp.voting.kato", "SRV")
    assert sorted((each.port, str(each.target)) for each in found) == [
        (31000, "1.redis.voting.kato."),
        (31001, "2.redis.voting.kato."),
    ]


async def test_other_names_are_asked_of_the_machine_s_resolvers_where_that_is_wanted(
    name: str, tmp_path: Path
) -> None:
    port, behind = free_port(), free_port()
    resolvers = tmp_path / "resolv.conf"
    resolvers.write_text("nameserver 127.0.0.9\nnameserver 127.0.0.1\n")
    record = dns.rrset.from_text("example.com.", 60, "IN", "A", "192.0.2.7")
    asked: list[bytes] = []

    class Resolver(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(data)
            self.transport.sendto(b"not an answer", addr)
            self.transport.sendto(b"\0\0" + data[2:], addr)
            self.transport.sendto(answer(data), addr)

    def answer(data: bytes) -> bytes:
        made = dns.message.make_response(dns.message.from_wire(data), recursion_available=True)
        made.answer.append(record)
        return made.to_wire()

    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = answer(await reader.readexactly(*struct.unpack("!H", await reader.readexactly(2))))
        writer.write(struct.pack("!H", len(data)) + data)
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Resolver, local_addr=(HERE, behind))
    tcp = await asyncio.start_server(by_tcp, HERE, behind)
    options = Options(listen=f"{HERE}:{port}", resolvers=resolvers, upstream_port=behind)
    async with opened(name, options) as driver:
        served = Served(driver, port)
        await driver.apply(view(app()))
        for found in (await served.udp("exAMPLE.com"), await served.tcp("exAMPLE.com")):
            assert said(found) == {"192.0.2.7"} and found.flags & dns.flags.RA, found.to_text()
        assert said(await served.udp("redis.voting.kato")) == {"10.0.0.2", "10.0.0.3"}
        assert (await served.udp("nobody.kato")).rcode() == dns.rcode.NXDOMAIN
        assert len(asked) == 1
        assert (await served.udp("example.com", flags=0)).rcode() == dns.rcode.REFUSED
        resolvers.write_text("# nobody any more\n")
        assert (await served.udp("example.com")).rcode() == dns.rcode.SERVFAIL
    transport.close()
    tcp.close()
