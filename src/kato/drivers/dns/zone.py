"""Views of names go in; answers come out, bytes for bytes: prepared when a view changes, not when one is asked."""

import struct
from collections import Counter
from collections.abc import Sequence

from kato.drivers.dns import wire
from kato.drivers.dns.wire import Query
from kato.model.names import ZONE, AppNames, Names

ELSEWHERE = b""
"""What stands for the answer to a question that is not the zone's."""
TURNS = 8
"""Orders in which the records of one name are given, in turn."""
ROOM = wire.WHOLE - 12 - 255 - 4 - len(wire.EDNS)
"""Bytes of records that fit into any answer."""
_ONE = b"\0\1\0\0\0\0\0\0"
_ONE_EDNS = b"\0\1\0\0\0\0\0\1"
_EDNS = b"\0\0\x29"


class Prepared:
    """The answer to one question, but for its head. extra: records that are given where there is room."""

    __slots__ = ("count", "edns", "extra", "extras", "plain", "turn", "turns")

    def __init__(self, records: Sequence[bytes], extra: Sequence[bytes] = (), *, authority: bool = False) -> None:
        kept, size = [], 0
        for each in records:
            size += len(each)
            if size > ROOM:
                break
            kept.append(each)
        number = max(1, min(len(kept), TURNS))
        starts = [n * len(kept) // number for n in range(number)]
        self.turns = tuple(b"".join((*kept[n:], *kept[:n])) for n in starts)
        self.turn = 0
        self.count = (0, len(kept)) if authority else (len(kept), 0)
        self.extra = b"".join(extra)
        self.extras = len(extra)
        self.plain = struct.pack("!4H", 1, *self.count, 0)
        self.edns = struct.pack("!4H", 1, *self.count, 1)


class Zone:
    """Authority for all below `kato`. address: the server's own, for the zone's own name.

    Where two apps ask for one name (`/a/b.c` and `/a/c/b`), it is whose own name it is rather than a task's; then
    whose id has fewer dots; then whose comes first.
    """

    def __init__(self, address: str, *, forwards: bool = False) -> None:
        self._origin = wire.wire_name(ZONE)
        self._address = address
        self._more = 0x80 if forwards else 0
        self._flags = tuple(bytes([0x84 | asked, self._more]) for asked in (0, 1))
        self._apps: dict[str, AppNames] = {}
        self._claims: dict[str, dict[str, AppNames]] = {}
        self._answers: dict[bytes, Prepared] = {}
        self._exist = Counter([self._origin])
        self._nothing = Prepared(())
        self.apply(Names())

    def apply(self, view: Names) -> None:
        """Answers by this view from now on; only what changed is prepared anew."""
        self._set_authority(view.seq)
        was, now = self._apps, dict(view.apps)
        self._apps = now
        for id in was.keys() - now.keys():
            self._change(was[id], None)
        for id, names in now.items():
            if (known := was.get(id)) is not names:
                self._change(known, names)

    def answer(self, query: bytes, most: int = 0, _peer: str = "") -> bytes | None:
        """The answer to a query; ELSEWHERE, where others are to be asked; None where there is none to give.

        most: bytes that it may have, over TCP; 0: over UDP, as the query says.
        """
        end = query.find(0, 12) + 5
        found = self._answers.get(query[12 : end - 4].lower() + query[end - 4 : end])
        if found is not None and not query[2] & 0xFE:
            counts = query[4:12]
            if counts == _ONE and len(query) == end:
                return self._reply(found, query, end, False, most or wire.PLAIN)
            if counts == _ONE_EDNS and query[end : end + 3] == _EDNS and len(query) >= end + 11:
                size, version, options = struct.unpack_from("!HxBxxH", query, end + 3)
                if not version and len(query) == end + 11 + options:
                    limit = most or max(wire.PLAIN, min(size, wire.LARGEST))
                    return self._reply(found, query, end, True, limit)
        return self._rare(query, most)

    def _reply(self, found: Prepared, query: bytes, end: int, edns: bool, limit: int) -> bytes:
        turn = found.turn
        records = found.turns[turn]
        found.turn = turn + 1 if turn + 1 < len(found.turns) else 0
        head = query[:2] + self._flags[query[2] & 1]
        tail = wire.EDNS if edns else b""
        size = end + len(records) + len(tail)
        if size > limit:
            cut = bytes([head[2] | 2, head[3]])
            return head[:2] + cut + struct.pack("!4H", 1, 0, 0, edns) + query[12:end] + tail
        if found.extras and size + len(found.extra) <= limit:
            counts = struct.pack("!4H", 1, *found.count, found.extras + edns)
            return b"".join((head, counts, query[12:end], records, found.extra, tail))
        return head + (found.edns if edns else found.plain) + query[12:end] + records + tail

    def _rare(self, query: bytes, most: int) -> bytes | None:
        """What is not asked often: mistakes, other types, names that are not there."""
        asked = wire.question(query, more=self._more)
        if not isinstance(asked, Query):
            return asked
        if asked.type in wire.TRANSFERS or asked.klass not in (wire.IN, wire.ANY):
            return self.fail(query, wire.REFUSED, asked)
        if not asked.name.endswith(self._origin) or self._origin not in wire.ancestors(asked.name):
            return ELSEWHERE
        found = self._found(asked)
        if found is not None:
            return self._reply(found, query, asked.end, asked.edns, most or asked.limit)
        reply = self._reply(self._nothing, query, asked.end, asked.edns, most or asked.limit)
        return reply[:3] + bytes([reply[3] | wire.NXDOMAIN]) + reply[4:]

    def _found(self, asked: Query) -> Prepared | None:
        """What there is of a type; nothing of that type; or None where there is no such name.

        Of any type it is some type that there is (RFC 8482, 4.1).
        """
        types = (wire.A, wire.AAAA, wire.SRV, wire.SOA) if asked.type == wire.ANY else (asked.type,)
        for type in types:
            found = self._answers.get(_key(asked.name, type))
            if found is not None and found is not self._nothing:
                return found
        return self._nothing if asked.name in self._exist else None

    def fail(self, query: bytes, code: int, asked: Query | None = None) -> bytes:
        """An answer that is only a code."""
        return wire.failure(query, code, asked, more=self._more)

    def refuse(self, query: bytes, code: int = wire.REFUSED) -> bytes:
        """The answer to a question that is not ours, and that nobody else is asked."""
        return self.fail(query, code, wire.parse(query))

    def _set_authority(self, serial: int) -> None:
        """The zone's own records. One object stands for every absence, so that a new serial is one change."""
        origin = self._origin
        data = wire.authority(origin, serial)
        absent = Prepared([wire.record(origin, wire.SOA, data)], authority=True)
        for slot in Prepared.__slots__:
            setattr(self._nothing, slot, getattr(absent, slot))
        type, own = wire.address(self._address)
        glue = wire.address(self._address, origin)[1]
        for each in (wire.A, wire.AAAA):
            self._answers[_key(origin, each)] = self._nothing
        self._answers[_key(origin, type)] = Prepared([own])
        self._answers[_key(origin, wire.SOA)] = Prepared([wire.record(wire.HERE, wire.SOA, data)])
        self._answers[_key(origin, wire.NS)] = Prepared([wire.record(wire.HERE, wire.NS, origin)], [glue])

    def _change(self, was: AppNames | None, now: AppNames | None) -> None:
        """Takes back what an app had, and prepares what it has. Other names of it stay as they are."""
        before = _all(was)
        after = _all(now)
        for name in before | after:
            claims = self._claims.setdefault(name, {})
            if name in after:
                assert now is not None
                claims[now.app] = now
            else:
                assert was is not None
                del claims[was.app]
            if not (was and now and _same(name, was, now)):
                self._prepare(name, claims)
            if not claims:
                del self._claims[name]

    def _prepare(self, name: str, claims: dict[str, AppNames]) -> None:
        owner = wire.wire_name(name)
        had = [self._answers.pop(_key(owner, type), None) for type in (wire.A, wire.AAAA, wire.SRV)] != [None] * 3
        if claims and not had:
            self._exist.update(wire.ancestors(owner))
        elif had and not claims:
            for above in wire.ancestors(owner):
                self._exist[above] -= 1
                if not self._exist[above]:
                    del self._exist[above]
        if not claims:
            return
        winner = min(claims.values(), key=lambda each: (each.own != name, each.app.count("."), each.app))
        for type in (wire.A, wire.AAAA):
            self._answers[_key(owner, type)] = self._nothing
        records: dict[int, list[bytes]] = {}
        for address in winner.hosts.get(name, ()):
            type, made = wire.address(address)
            records.setdefault(type, []).append(made)
        for type, made_of in records.items():
            self._answers[_key(owner, type)] = Prepared(made_of)
        if targets := winner.services.get(name):
            hosts = dict.fromkeys(target.host for target in targets)
            extra = [
                wire.address(address, wire.wire_name(host))[1]
                for host in hosts
                for address in winner.hosts.get(host, ())
            ]
            self._answers[_key(owner, wire.SRV)] = Prepared([wire.service(each) for each in targets], extra)


def _all(names: AppNames | None) -> set[str]:
    return set() if names is None else names.hosts.keys() | names.services.keys()


def _same(name: str, was: AppNames, now: AppNames) -> bool:
    """Whether a name surely stands for the same; one with ports has the addresses of other names with it."""
    services = name in was.services or name in now.services
    return not services and name in was.hosts and was.hosts[name] == now.hosts.get(name)


def _key(name: bytes, type: int) -> bytes:
    return name + struct.pack("!HH", type, wire.IN)
