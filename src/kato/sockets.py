"""Two ends of a TCP connection over loopback come in, or an address; the user whose socket is there goes out.

Loopback is open to every user and every task of a machine, so that both sides ask: a cell who it is that asks it,
and a client whose program it is that listens.
"""

import os
import socket
import struct
from asyncio.trsock import TransportSocket

from kato.model.errors import DriverMissing

_DIAG_BY_FAMILY, _REQUEST, _TCP, _ANY_STATE = 20, 1, 6, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBxI")
_ENDS = struct.Struct("!HH16s16s")
_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_TOLD = struct.Struct("=BBBB48sIIIII")
_LIVING = frozenset({1, 4, 5, 8, 9, 11})
"""States of a connection that still has its two ends (include/net/tcp_states.h): established, or half closed."""
_LISTENS = frozenset({10})

End = tuple[str, int]


class Sockets:
    """Asks the kernel whose a socket is (sock_diag(7)): the very one, without reading a table of all."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4)
        self._netlink.setblocking(False)

    def close(self) -> None:
        self._netlink.close()

    def owner(self, near: End, far: End) -> int | None:
        """The user id of the local socket that is connected from `near` to `far`.

        None where it is closed: the kernel calls it root's then, whoever had opened it. And None where it only
        tries to connect, or where another listens at that port.
        """
        return self._user(near, far, _LIVING, _ENDS.size)

    def peer(self, near: End, far: End, ours: socket.socket | TransportSocket) -> int | None:
        """The same, by who has the socket at `far`: the ports of a connection that was cut off may be another's by
        the time that the kernel is asked, so the very socket is asked afterwards whether it is still connected.
        """
        user = self.owner(near, far)
        try:
            ours.getpeername()
        except OSError:
            return None
        return user

    def listener(self, near: End) -> int | None:
        """The user id of who listens for connections to `near`; None where nobody does."""
        nobody = ("::" if ":" in near[0] else "0.0.0.0", 0)
        return self._user(near, nobody, _LISTENS, 2)

    def _user(self, near: End, far: End, states: frozenset[int], certain: int) -> int | None:
        """certain: bytes of the ends that must be those that were asked for."""
        family = socket.AF_INET6 if ":" in near[0] else socket.AF_INET
        ends = _ENDS.pack(near[1], far[1], socket.inet_pton(family, near[0]), socket.inet_pton(family, far[0]))
        asked = _ASKED.pack(family, _TCP, 0, _ANY_STATE) + ends + _COOKIE
        self._netlink.send(_HEADER.pack(_HEADER.size + len(asked), _DIAG_BY_FAMILY, _REQUEST, 0, 0) + asked)
        answer = self._netlink.recv(4096)
        if _HEADER.unpack_from(answer)[1] != _DIAG_BY_FAMILY:
            return None
        _, state, _, _, its_ends, *_, user, inode = _TOLD.unpack_from(answer, _HEADER.size)
        return user if inode and state in states and its_ends[:certain] == ends[:certain] else None

    def check(self, listener: socket.socket) -> None:
        """DriverMissing where the kernel does not tell whose a connection is."""
        with socket.create_connection(listener.getsockname()[:2]) as client:
            # Its peer, since who listens everywhere is reached at one address of many.
            if self.owner(client.getsockname()[:2], client.getpeername()[:2]) != os.geteuid():
                raise DriverMissing(
                    "This kernel does not tell whose a connection is (sock_diag), so that the API cannot know who "
                    "asks. Load the module tcp_diag (modprobe tcp_diag)."
                )


def here(host: str) -> bool:
    """Whether an address, or a name, is one of this machine's own: then it can be listened on.

    >>> here("127.0.0.1"), here("0.0.0.0"), here("192.0.2.1")
    (True, True, False)
    """
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(_can_bind(family, end) for family, _, _, _, end in found)


def _can_bind(family: int, end: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        try:
            trial.bind(end)
        except OSError:
            return False
    return True
