"""Whether containers on a network reach the machine's own address there: a door goes in, and what came of a packet
from behind it comes out. A firewall of the machine's may drop what comes from there, as ufw's does.
"""

import contextlib
import os
import shutil
import socket
import time
from ipaddress import IPv4Network

from kato.drivers.runtime import namespaces
from kato.model.errors import DriverError
from kato.model.frontend import Door

WAIT = 5.0
"""Seconds in which a question is answered, or is taken to be dropped."""
AGAIN = 0.5
QUESTION = b"\0\0\1\0\0\1\0\0\0\0\0\0\4kato\0\0\1\0\1"
"""The address of `kato`, which every cell answers."""


def walled(door: Door, subnet: str, path: str = os.defpath) -> bool:
    """Whether a question from behind a door is dropped. No where that cannot be tried. Blocks.

    It is asked as a container would: from a namespace on the bridge, with the last address of its network, which
    an engine gives away last.
    """
    if shutil.which("ip", path=path) is None:
        return False
    network = IPv4Network(subnet)
    address = f"{network[-2]}/{network.prefixlen}"
    outer = f"kt{os.getpid() % 100_000:x}{time.monotonic_ns() % 100_000_000:x}"
    try:
        namespace = namespaces.made()
    except OSError:
        return False
    try:
        words = f"link add {outer} type veth peer name asks netns {namespaces.path_of(namespace)}"
        namespaces.run(["ip", *words.split()], path)
        namespaces.run(["ip", *f"link set {outer} master {door.interface} up".split()], path)
        lines = f"link set asks addrgenmode none\naddress add {address} dev asks\nlink set asks up\n"

        def ask() -> bool:
            namespaces.run(["ip", "-batch", "-"], path, lines)
            return not _answered(door.address)

        return namespaces.within(namespace, ask)
    except (OSError, DriverError):
        return False
    finally:
        os.close(namespace)
        with contextlib.suppress(OSError, DriverError):  # it goes with the namespace, but later
            namespaces.run(["ip", "link", "delete", outer], path)


def _answered(address: str) -> bool:
    deadline = time.monotonic() + WAIT
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(AGAIN)
        asker.connect((address, 53))
        while time.monotonic() < deadline:
            try:
                asker.send(QUESTION)
                return bool(asker.recv(512))
            except TimeoutError:
                continue
            except OSError:  # refused: nobody listens, and whoever asks is told so at once
                return True
    return False
