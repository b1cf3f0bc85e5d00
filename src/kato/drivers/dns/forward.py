"""Questions about names that are not ours go in; the answers of the machine's resolvers come out, as they are."""

import asyncio
import contextlib
import os
import secrets
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from kato.drivers.dns import wire

Address = tuple[str, int]

PATIENCE = 2.0
"""Seconds that each resolver has, before the next one is asked."""
SERVERS = 3
"""Resolvers that are asked at most, as by libc (resolv.conf(5), MAXNS)."""
OUTSTANDING = 512
"""Questions under way at once, of all name servers of a cell; each has a socket of its own, and so a port that is
hard to guess. One server has no more than EACH of them, and FAIR in any case: who floods one takes no other's."""
EACH = 128
FAIR = 8


class Forwarder:
    """Asks the servers of a resolv.conf, which is read again when it has changed. own: who is never asked."""

    _of_all = 0

    def __init__(self, path: Path, port: int, *, own: Address) -> None:
        self._path = path
        self._port = port
        self._own = own
        self._stamp: object = None
        self._servers: Sequence[Address] = ()
        self._under_way = 0

    async def ask(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The first answer; None where there is none in time, or too much is asked at once."""
        if self._under_way >= (EACH if Forwarder._of_all < OUTSTANDING else FAIR):
            return None
        self._under_way += 1
        Forwarder._of_all += 1
        try:
            for server in self._now():
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(PATIENCE):
                        return await (_by_tcp if tcp else _by_udp)(server, query)
        finally:
            self._under_way -= 1
            Forwarder._of_all -= 1
        return None

    def _now(self) -> Sequence[Address]:
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                hosts = nameservers(self._path.read_text("utf-8", "replace"))
                own, port = self._own
                servers = [(host, self._port) for host in hosts if self._port != port or place(host) != place(own)]
                self._servers, self._stamp = servers[:SERVERS], stamp
        except OSError:
            self._servers, self._stamp = (), None
        return self._servers


def place(host: str) -> str:
    """An address, written in one way; that of everywhere reaches the machine itself.

    >>> {place(host) for host in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1")}
    {'127.0.0.1'}
    >>> place("0:0:0:0:0:0:0:1"), place("::")
    ('::1', '::1')
    """
    address = ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return place(str(mapped))
    return str(address) if not address.is_unspecified else "127.0.0.1" if address.version == 4 else "::1"


def nameservers(text: str) -> list[str]:
    """The addresses of a resolv.conf, in their order.

    >>> nameservers("search x\\nnameserver 192.0.2.1 # first\\nnameserver fe80::1%eth0\\nnameserver nobody\\n")
    ['192.0.2.1', 'fe80::1%eth0']
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            with contextlib.suppress(ValueError):
                ip_address(words[1])
                found.append(words[1])
    return found


class _Once(asyncio.DatagramProtocol):
    """Waits for the answer to one query, and hears nothing else."""

    def __init__(self, query: bytes) -> None:
        self._query = query
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.reply.done() and answers(data, self._query):
            self.reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(exc)


async def _by_udp(server: Address, query: bytes) -> bytes:
    asked = secrets.token_bytes(2) + query[2:]
    loop = asyncio.get_running_loop()
    transport, once = await loop.create_datagram_endpoint(lambda: _Once(asked), remote_addr=server)
    try:
        transport.sendto(asked)
        return query[:2] + (await once.reply)[2:]
    finally:
        transport.close()


async def _by_tcp(server: Address, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        reply = await reader.readexactly(*struct.unpack("!H", await reader.readexactly(2)))
        if not answers(reply, query):
            raise ConnectionError("that answers something else")
        return reply
    finally:
        writer.close()


def answers(reply: bytes, query: bytes) -> bool:
    """Whether a message answers a query: same id, same question, letter by letter as it was asked."""
    if len(reply) < 12 or reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    end = wire.parse(query).end
    return reply[4:6] == b"\0\1" and reply[12:end].lower() == query[12:end].lower()
