"""Network namespaces of the kernel: what is to be done in one flows in, and what came of it flows out.

A namespace lives for as long as a process, a descriptor or a socket is in it or holds it. So nothing has to be
removed when it goes, and nothing of it outlives who needed it.
"""

import ctypes
import functools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from kato.model.errors import DriverError, DriverMissing

CLONE_NEWNET = 0x40000000
PACKAGES = {"ip": "iproute2", "nsenter": "util-linux"}
"""Debian's, for the programs that networks need."""
_T = TypeVar("_T")


def check(path: str) -> None:
    """DriverMissing where a program is not on the PATH that a network needs."""
    if missing := [name for name in PACKAGES if shutil.which(name, path=path) is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise DriverMissing(
            f"{', '.join(missing)}, which a network of its own needs, is not on the PATH. Run: "
            f"apt-get install {packages}"
        )


def made() -> int:
    """A new namespace, as a descriptor. OSError."""

    def make() -> int:
        _call("unshare", CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _aside(make)


def within(namespace: int, act: Callable[[], _T]) -> _T:
    """What comes of acting in a namespace; programs that are run meanwhile are in it too. Blocks. OSError."""

    def enter() -> _T:
        _call("setns", namespace, CLONE_NEWNET)
        return act()

    return _aside(enter)


def path_of(namespace: int) -> str:
    """By which other programs find a namespace that we hold."""
    return f"/proc/{os.getpid()}/fd/{namespace}"


def run(words: Sequence[str], path: str, said: str = "") -> str:
    """What a program writes that has to succeed. said: to its input. DriverError has its last line."""
    done = subprocess.run(
        words, input=said, capture_output=True, text=True, env={"PATH": path, "LC_ALL": "C"}, check=False
    )
    if done.returncode:
        last = next((line for line in reversed(done.stderr.strip().splitlines()) if line.strip()), "")
        raise DriverError(f"{' '.join(words)}: {last or f'exit status {done.returncode}'}")
    return done.stdout


def listening(namespace: int, host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Two sockets in a namespace, for UDP and for TCP. OSError."""

    def bind() -> tuple[socket.socket, socket.socket]:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((host, port))
            tcp.bind((host, port))
        except OSError:
            udp.close()
            tcp.close()
            raise
        return udp, tcp

    return within(namespace, bind)


def _aside(act: Callable[[], _T]) -> _T:
    """Acts in a thread that ends with it: no other work is ever done in another namespace by mistake."""
    found: list[_T] = []
    failed: list[BaseException] = []

    def perform() -> None:
        try:
            found.append(act())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=perform, name="namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc(), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
