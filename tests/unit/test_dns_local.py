"""The names of one network of containers: what is answered to whom, and what nobody else is asked."""

from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import pytest

from kato.drivers.dns.local import Hosts
from kato.drivers.dns.zone import ELSEWHERE

DB, WEB = "10.208.0.2", "10.208.0.3"
MANY = tuple(f"10.208.1.{n}" for n in range(100))


def look(name: str, peer: str) -> Sequence[str] | None:
    """Who is on the front alone is told of no database."""
    known: dict[str, Sequence[str]] = {"web": (WEB,), "crowd": MANY, "six": ("fd00::1", DB)}
    return known.get(name, (DB,) if name == "db" and peer != "front" else None)


def ask(name: str, type: str = "A", *, peer: str = "back", most: int = 0, **more: object) -> dns.message.Message:
    query = dns.message.make_query(name, type, **more)  # type: ignore[arg-type]
    said = Hosts(look).answer(query.to_wire(), most, peer)
    assert said
    reply = dns.message.from_wire(said)
    assert query.is_response(reply)
    return reply


def addresses(reply: dns.message.Message) -> list[str]:
    return sorted(str(each) for answer in reply.answer for each in answer)


def test_a_name_is_its_addresses_and_nothing_of_another_type() -> None:
    assert addresses(ask("DB.")) == [DB]
    assert addresses(ask("six.", "AAAA")) == ["fd00::1"]
    for type in ("AAAA", "MX", "SRV"):
        none = ask("db.", type)
        assert (none.rcode(), none.answer) == (dns.rcode.NOERROR, [])


def test_who_asks_is_told_of_its_own_networks() -> None:
    assert ask("db.", peer="front").rcode() == dns.rcode.NXDOMAIN
    assert addresses(ask("web.", peer="front")) == [WEB]


@pytest.mark.parametrize("name", ["nobody.", "redis.voting.kato.", "kato."])
def test_a_word_alone_and_what_is_below_kato_is_asked_of_nobody_else(name: str) -> None:
    assert ask(name).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("name", ["example.org.", "db.example.org.", "kato.example.org.", "."])
def test_other_names_are_others_to_answer(name: str) -> None:
    assert Hosts(look).answer(dns.message.make_query(name, "A").to_wire()) == ELSEWHERE


def test_what_does_not_fit_is_had_whole_by_tcp() -> None:
    cut = ask("crowd.")
    assert cut.flags & dns.flags.TC and not cut.answer
    assert len(addresses(ask("crowd.", most=65535))) == 100
    large = ask("crowd.", use_edns=0, payload=4096)
    assert large.flags & dns.flags.TC and large.edns == 0, "no path breaks 1,232 bytes into pieces"


def test_the_addresses_of_a_name_come_in_turn() -> None:
    hosts, query = Hosts(look), dns.message.make_query("crowd.", "A").to_wire()
    first = {str(dns.message.from_wire(hosts.answer(query, 65535) or b"").answer[0][0]) for _ in range(20)}
    assert len(first) == 20


def test_what_is_no_question_gets_no_answer_or_that_it_is_none() -> None:
    assert Hosts(look).answer(b"\0" * 11) is None
    said = Hosts(look).answer(dns.message.make_query("a.", "A").to_wire()[:-1])
    assert said is not None and dns.message.from_wire(said).rcode() == dns.rcode.FORMERR
