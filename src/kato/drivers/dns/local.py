"""The names of one network of containers: two sockets and who is called what flow in; answers flow out, and what
nobody there is called is asked of the machine's own resolvers.

Who asks counts: a container is told of those that share a network with it.
"""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from kato.drivers.dns import Options, wire
from kato.drivers.dns.forward import Forwarder
from kato.drivers.dns.server import Server
from kato.drivers.dns.wire import Malformed
from kato.drivers.dns.zone import ELSEWHERE
from kato.model.names import ZONE

Look = Callable[[str, str], Sequence[str] | None]
"""The addresses of a name in lower case, as the container at an address is told of them; None for no such name."""

MORE = 0x80
"""The flag of answers by which a server says that it asks others, too (RFC 1035, 4.1.1: RA)."""


class Hosts:
    """Names without a zone. A word alone, and what is below `kato`, is nobody's else: no other server is asked."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._turn = 0

    def answer(self, query: bytes, most: int = 0, peer: str = "") -> bytes | None:
        """As of a zone. peer: the address of who asks."""
        asked = wire.question(query, more=MORE)
        if not isinstance(asked, wire.Query):
            return asked
        try:
            name = _text(asked.name)
        except Malformed:
            return self.fail(query, wire.FORMERR)
        addresses = self._look(name, peer)
        if addresses is None:
            ours = "." not in name or name == ZONE or name.endswith(f".{ZONE}")
            return self.fail(query, wire.NXDOMAIN, asked) if ours and name else ELSEWHERE
        self._turn += 1
        first = self._turn % len(addresses) if addresses else 0
        made = [wire.address(each) for each in (*addresses[first:], *addresses[:first])]
        wanted = [data for type, data in made if asked.type in (type, wire.ANY) and asked.klass == wire.IN]
        return _reply(query, asked, wanted, most or asked.limit)

    def fail(self, query: bytes, code: int, asked: wire.Query | None = None) -> bytes:
        """An answer that is only a code."""
        return wire.failure(query, code, asked, more=MORE)

    def refuse(self, query: bytes, code: int = wire.REFUSED) -> bytes:
        """The answer to a question that nobody else is asked, or could answer."""
        return self.fail(query, code, wire.parse(query))


def _text(name: bytes) -> str:
    """A name on the wire, written with dots. Malformed where no host is called so."""
    labels, at = [], 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    try:
        return b".".join(labels).decode("ascii")
    except UnicodeDecodeError as error:
        raise Malformed("a name has other letters than ASCII") from error


def _reply(query: bytes, asked: wire.Query, records: Sequence[bytes], limit: int) -> bytes:
    """What fits; where not all does, none, and the mark that there is more."""
    tail = wire.EDNS if asked.edns else b""
    cut = len(query[: asked.end]) + sum(map(len, records)) + len(tail) > limit
    kept = () if cut else records
    head = query[:2] + bytes([0x84 | query[2] & 1 | cut << 1, 0x80])
    counts = b"".join(n.to_bytes(2) for n in (1, len(kept), 0, asked.edns))
    return b"".join((head, counts, query[12 : asked.end], *kept, tail))


async def answer(udp: socket.socket, tcp: socket.socket, look: Look, resolvers: Path | None) -> Server:
    """A name server on two sockets that are bound, until it is closed. resolvers: as of Options."""
    address, port = udp.getsockname()[:2]
    forwarder = None if resolvers is None else Forwarder(resolvers, 53, own=(address, port))
    options = Options(listen=f"{address}:{port}", resolvers=resolvers)
    server = Server(udp, tcp, Hosts(look), forwarder, options)
    await server.begin()
    return server
