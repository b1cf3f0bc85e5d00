"""The owner of a loopback connection is told by its whole address, and only while the connection lives."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from kato.sockets import End, Sockets


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with closing(Sockets()) as sockets:
        yield sockets


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((request.param, 0))
        listener.listen()
        yield listener


def test_the_owner_of_a_connection_is_told(sockets: Sockets, listener: socket.socket) -> None:
    far = listener.getsockname()[:2]
    with socket.create_connection(far) as client:
        near = client.getsockname()[:2]
        assert sockets.owner(near, far) == os.geteuid()
        assert sockets.owner((near[0], near[1] ^ 1), far) is None
        client.shutdown(socket.SHUT_WR)
        assert sockets.owner(near, far) == os.geteuid(), "half closed it still hears the answer"


def test_a_connection_that_is_closed_is_nobodys(sockets: Sockets, listener: socket.socket) -> None:
    """The kernel says that it is root's, whoever had opened it."""
    far = listener.getsockname()[:2]
    client = socket.create_connection(far)
    near = client.getsockname()[:2]
    accepted, _ = listener.accept()
    client.close()
    assert sockets.owner(near, far) is None
    accepted.close()
    assert sockets.owner(near, far) is None


def test_who_listens_at_the_clients_port_owns_nothing(sockets: Sockets, listener: socket.socket) -> None:
    far = listener.getsockname()[:2]
    with socket.socket(listener.family) as other:
        other.bind((far[0], 0))
        other.listen()
        assert sockets.owner(other.getsockname()[:2], far) is None


def test_another_address_is_another_client(sockets: Sockets) -> None:
    """Loopback has many addresses: a port alone tells no client."""
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.bind(("127.0.0.2", 0))
        client.connect(listener.getsockname())
        port = client.getsockname()[1]
        assert sockets.owner(("127.0.0.2", port), listener.getsockname()) == os.geteuid()
        assert sockets.owner(("127.0.0.5", port), listener.getsockname()) is None


def test_the_kernel_is_asked_before_anybody_is_served(sockets: Sockets, listener: socket.socket) -> None:
    sockets.check(listener)


def test_who_listens_is_told_and_nobody_where_nobody_does(sockets: Sockets, listener: socket.socket) -> None:
    end = listener.getsockname()[:2]
    assert sockets.listener(end) == os.geteuid()
    listener.close()
    assert sockets.listener(end) is None


def test_a_port_that_is_another_s_by_now_is_not_taken_for_its_former_owner_s(listener: socket.socket) -> None:
    """Between a connection and the question whose it is, it may be cut off, and its port become another's."""
    far = listener.getsockname()[:2]
    first = socket.socket(listener.family)
    first.bind((far[0], 0))  # else the kernel may give the same port to another program's connection, too
    first.connect(far)
    near = first.getsockname()[:2]
    accepted, _ = listener.accept()
    second = socket.socket(listener.family)
    told: list[int | None] = []

    class Late(Sockets):
        def owner(self, near: End, far: End) -> int | None:
            if not told:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                first.close()  # cut off, not ended
                second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                second.bind(near)
                second.connect(far)
            told.append(super().owner(near, far))
            return told[-1]

    with accepted, second, closing(Late()) as late:
        assert late.peer(near, far, accepted) is None
        assert told == [os.geteuid()] and second.getsockname()[:2] == near
        anew, _ = listener.accept()
        with anew:
            assert late.peer(near, far, anew) == os.geteuid()
