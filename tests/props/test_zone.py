"""Any packets and views go in: nothing crashes, and a real decoder reads in the answers what is in the view."""

import ipaddress

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import app, node, status, task, world
from kato.drivers.dns import wire
from kato.drivers.dns.zone import ELSEWHERE, Zone
from kato.model.app import PortDefinition
from kato.model.names import AppNames, Names, Target
from kato.model.task import TaskState
from kato.plan import Recall, names

LABELS = st.sampled_from(["a", "b", "1", "2-3", "_tcp", "x" * 63])
HOSTS = st.lists(LABELS, min_size=1, max_size=3).map(lambda parts: ".".join([*parts, "kato"]))
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"])
KINDS = st.sampled_from([wire.A, wire.AAAA, wire.SRV, wire.SOA, wire.NS, wire.ANY, 15, 252])
VIEWS = st.dictionaries(
    st.sampled_from(["/a", "/b", "/a/b", "/a.b", "/c/d.e"]),
    st.builds(
        lambda hosts, services: (hosts, services),
        st.dictionaries(HOSTS, st.lists(ADDRESSES, max_size=3, unique=True).map(tuple), max_size=4),
        st.dictionaries(HOSTS, st.lists(st.builds(Target, HOSTS, st.integers(0, 65535)), max_size=3, unique=True)),
    ),
    max_size=4,
)


def view(found: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, list[Target]]]], seq: int) -> Names:
    return Names(
        seq,
        {
            id: AppNames(id, None, hosts, {name: tuple(each) for name, each in services.items()})
            for id, (hosts, services) in found.items()
        },
    )


GOOD = dns.message.make_query("a.kato", "A", id=7, use_edns=0).to_wire()


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    """A question with some bytes of it changed, and perhaps cut or longer."""
    asked = dns.message.make_query(
        draw(HOSTS), dns.rdatatype.RdataType.make(draw(KINDS)), use_edns=draw(st.sampled_from([0, -1]))
    )
    packet = bytearray(asked.to_wire())
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(packet) - 1), st.integers(0, 255)), max_size=4)):
        packet[at] = byte
    return bytes(packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet) + draw(
        st.binary(max_size=12)
    )


@settings(deadline=None)
@given(packet=st.binary(max_size=80) | nearly_good(), found=VIEWS, most=st.sampled_from([0, wire.WHOLE]))
@example(packet=GOOD, found={"/a": ({"a.kato": ("10.0.0.1",)}, {})}, most=0)
def test_no_packet_whatever_does_harm(packet: bytes, found: dict, most: int) -> None:  # type: ignore[type-arg]
    zone = Zone("127.0.0.1")
    zone.apply(view(found, 1))
    reply = zone.answer(packet, most)
    if reply == ELSEWHERE and reply is not None:
        reply = zone.refuse(packet)
    if reply is not None:
        assert reply[:2] == packet[:2] and reply[2] & 0x80
        assert len(reply) <= (most or wire.LARGEST)
        dns.message.from_wire(reply)


@settings(deadline=None)
@given(st.lists(VIEWS, min_size=1, max_size=4))
def test_after_any_views_the_answers_are_those_of_the_last(views: list) -> None:  # type: ignore[type-arg]
    zone, fresh = Zone("127.0.0.1"), Zone("127.0.0.1")
    for seq, each in enumerate(views, 1):
        zone.apply(view(each, seq))
    fresh.apply(view(views[-1], len(views)))
    every = {name for each in views for hosts, services in each.values() for name in (*hosts, *services)}
    above = {name.partition(".")[2] for name in every}
    for name in sorted(every | above | {"kato", "nobody.kato"}):
        for kind in (wire.A, wire.AAAA, wire.SRV, wire.SOA, wire.ANY):
            asked = asked_for(name, kind)
            assert said(zone, asked) == said(fresh, asked), name
        right(zone, name, views[-1])


def asked_for(name: str, kind: int | str) -> bytes:
    return dns.message.make_query(name, dns.rdatatype.RdataType.make(kind), id=1).to_wire()


def said(zone: Zone, asked: bytes) -> tuple[int, set[str]]:
    reply = zone.answer(asked, wire.WHOLE)
    assert reply
    answer = dns.message.from_wire(reply)
    return answer.rcode(), {record.to_text() for each in answer.answer for record in each}


def right(zone: Zone, name: str, found: dict) -> None:  # type: ignore[type-arg]
    """Whether a name that one app has stands for just what it has, and whether it is there if it is."""
    owners = [(hosts, services) for hosts, services in found.values() if name in hosts or name in services]
    below = [
        each for hosts, services in found.values() for each in (*hosts, *services) if each.endswith(f".{name}")
    ]
    exists = bool(owners or below or name == "kato")
    code, _ = said(zone, asked_for(name, "TXT"))
    assert (code == dns.rcode.NXDOMAIN) == (not exists), name
    if len(owners) == 1:
        hosts, services = owners[0]
        assert said(zone, asked_for(name, "A"))[1] == {
            each for each in hosts.get(name, ()) if ipaddress.ip_address(each).version == 4
        }
        ports = {int(text.split()[2]) for text in said(zone, asked_for(name, "SRV"))[1]}
        assert ports == {target.port for target in services.get(name, ())}


IDS = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,70}[a-z0-9])?", fullmatch=True), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
PORTS = st.lists(
    st.builds(
        PortDefinition,
        port=st.integers(10000, 20000),
        protocol=st.sampled_from(["tcp", "udp", "udp,tcp"]),
        name=st.none() | st.from_regex(r"[a-zA-Z0-9_.-]{1,70}", fullmatch=True),
    ),
    max_size=3,
).map(tuple)


@settings(deadline=None)
@given(IDS, PORTS, st.lists(st.sampled_from([True, False, None]), max_size=4), st.booleans())
def test_every_name_is_one_and_only_of_what_serves(id: str, ports: tuple, alive: list, wished: bool) -> None:  # type: ignore[type-arg]
    wish = app(id, port_definitions=ports)
    tasks = [task(wish, n) for n in range(1, len(alive) + 1)]
    statuses = [
        status(each, TaskState.STARTING if up is None else TaskState.RUNNING, alive=bool(up))
        for each, up in zip(tasks, alive, strict=True)
    ]
    made = world(
        apps=[wish] if wished else [], old=[wish], nodes=[node()], tasks=tasks, statuses=statuses, revision=3
    )
    recall = Recall()
    found = names(made, recall)
    assert found == names(made) and names(made, recall).apps.get(id) is found.apps.get(id)
    for each in found.apps.values():
        for name in (*each.hosts, *each.services):
            assert name == name.lower() and name.endswith(".kato")
            dns.name.from_text(name)
        serving = {tuple(one.ports) for one, up in zip(tasks, alive, strict=True) if up}
        assert {target.port for targets in each.services.values() for target in targets} <= {
            port for one in serving for port in one
        }
        assert all(target.host in each.hosts for targets in each.services.values() for target in targets)
        if each.own:
            assert (each.own in each.hosts) == (wished or bool(serving))
    Zone("127.0.0.1").apply(found)
