"""DNS messages as bytes (RFC 1035, 2782, 6891): a query goes in, its parts come out; records become bytes."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from kato.model.names import Target

A, NS, SOA, AAAA, SRV, OPT, ANY = 1, 2, 6, 28, 33, 41, 255
TRANSFERS = frozenset({251, 252})
"""IXFR and AXFR."""
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
TTL = 1
"""Seconds that anybody may keep an answer: names change when tasks do."""
PLAIN = 512
"""Bytes of an answer over UDP where nobody says how much may be."""
LARGEST = 1232
"""Bytes over UDP that no path breaks into pieces (dnsflagday.net/2020)."""
WHOLE = 65535
"""Bytes of an answer over TCP."""
HERE = b"\xc0\x0c"
"""The name that was asked for (RFC 1035, 4.1.4)."""
EDNS = b"\0" + struct.pack("!HHIH", OPT, LARGEST, 0, 0)


class Malformed(Exception):
    """It is no message, or not all of it."""


class Query(msgspec.Struct, frozen=True):
    """One question. name: on the wire, in lower case. end: where the question ends.

    limit: bytes of an answer over UDP, by EDNS where `edns`. version: of EDNS.
    """

    name: bytes
    type: int
    klass: int
    end: int
    edns: bool = False
    limit: int = PLAIN
    version: int = 0


def parse(message: bytes) -> Query:
    """The question of a query, the rest of it read too. Malformed."""
    try:
        _, _, questions, *others = struct.unpack_from("!6H", message)
        if questions != 1:
            raise Malformed("there is not one question")
        end = _after_name(message, 12, pointers=False)
        name = message[12:end].lower()
        type, klass = struct.unpack_from("!HH", message, end)
        end += 4
        query = Query(name, type, klass, end)
        at = end
        for number in range(sum(others)):
            at, query = _record(message, at, query, extra=number >= others[0] + others[1])
    except struct.error as error:
        raise Malformed("it is cut off") from error
    if at != len(message):
        raise Malformed("something follows its end")
    return query


def _record(message: bytes, at: int, query: Query, *, extra: bool) -> tuple[int, Query]:
    """Where a record ends, and the query with what it says, if it is EDNS' own."""
    end = _after_name(message, at, pointers=True)
    type, size, ttl, length = struct.unpack_from("!HHIH", message, end)
    past = end + 10 + length
    if past > len(message):
        raise Malformed("it is cut off")
    if type != OPT:
        return past, query
    if query.edns or not extra or message[at]:
        raise Malformed("EDNS is said twice, or in the wrong place")  # RFC 6891, 6.1.1
    limit = max(PLAIN, min(size, LARGEST))
    return past, msgspec.structs.replace(query, edns=True, limit=limit, version=ttl >> 16 & 0xFF)


def _after_name(message: bytes, at: int, *, pointers: bool) -> int:
    """Where a name ends. Nobody needs to follow the pointers of one that is skipped."""
    begin = at
    while at < len(message):
        length = message[at]
        if length >= 0xC0 and pointers:
            return at + 2
        if length > 63:
            raise Malformed("a label is too long")
        at += 1 + length
        if at - begin > 255:
            raise Malformed("a name is too long")
        if not length:
            return at
    raise Malformed("it is cut off")


def wire_name(name: str) -> bytes:
    """A valid name in lower case, as it is asked for."""
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


def ancestors(name: bytes) -> Iterator[bytes]:
    """A wire name and those above it, the root too."""
    at = 0
    while name[at]:
        yield name[at:]
        at += 1 + name[at]
    yield b"\0"


def record(owner: bytes, type: int, data: bytes, ttl: int = TTL) -> bytes:
    """A record. owner: a wire name, or HERE."""
    return owner + struct.pack("!HHIH", type, IN, ttl, len(data)) + data


def address(text: str, owner: bytes = HERE) -> tuple[int, bytes]:
    """The record of an IP address, and its type."""
    ip = ip_address(text)
    type = A if ip.version == 4 else AAAA
    return type, record(owner, type, ip.packed)


def service(target: Target) -> bytes:
    """An SRV record: all alike in priority and weight, the target's name whole (RFC 2782)."""
    return record(HERE, SRV, struct.pack("!HHH", 0, 1, target.port) + wire_name(target.host))


def authority(zone: bytes, serial: int) -> bytes:
    """The data of the zone's SOA record. Its last number is how long an absence may be kept (RFC 2308)."""
    return zone + b"\x0ahostmaster" + zone + struct.pack("!5I", serial & 0xFFFFFFFF, 60, 60, 60, TTL)


def question(packet: bytes, *, more: int = 0) -> Query | bytes | None:
    """What a packet asks; where it asks nothing that could be answered, the answer that says so, or None for none.
    more: flags of that answer.
    """
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    if packet[2] & 0x78:
        return failure(packet, NOTIMP, more=more)
    try:
        asked = parse(packet)
    except Malformed:
        return failure(packet, FORMERR, more=more)
    return failure(packet, BADVERS, asked, more=more) if asked.version else asked


def failure(query: bytes, code: int, parsed: Query | None = None, *, more: int = 0) -> bytes:
    """An answer that is only a code; of what could not be read the question is not repeated. more: flags."""
    head = query[:2] + bytes([0x80 | query[2] & 0x79, more | code & 0xF])
    question = query[12 : parsed.end] if parsed else b""
    edns = b"\0" + struct.pack("!HHBBHH", OPT, LARGEST, code >> 4, 0, 0, 0) if parsed and parsed.edns else b""
    return head + struct.pack("!4H", bool(question), 0, 0, bool(edns)) + question + edns
