"""The owner of a loopback connection is told by its whole address, not by its ports alone."""

import os
import socket

import pytest

from kato.api.peer import owner


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_other_end_of_a_connection_is_this_user(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this kernel has no IPv6")
    with listener, socket.create_connection(listener.getsockname()[:2]) as client:
        near, far = client.getsockname()[:2], listener.getsockname()[:2]
        assert owner(near, far) == os.geteuid()
        assert owner((near[0], near[1] ^ 1), far) is None


def test_the_same_ports_at_another_address_are_another_connection() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        port = client.getsockname()[1]
        assert owner(("127.0.0.5", port), listener.getsockname()) is None
