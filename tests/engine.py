"""A Docker engine of our own for tests: a network and a mount namespace that end with it, one image of busybox.

Nothing of the machine's own engine, networks or rules is touched. It needs root, docker.io and busybox-static.
"""

import base64
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

IMAGE = "kato-test:1"
PATIENCE = 60.0
PACE = 0.004
"""Seconds between two pieces that a Relay lets pass: an engine tells its progress ten times a second at most."""
CLONE_NEWNET = 0x40000000


class Room:
    """A network and a mount namespace, with a loopback of its own."""

    def __init__(self) -> None:
        words = [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-c",
            "ip link set lo up && echo ready && exec sleep infinity",
        ]
        self._room = subprocess.Popen(_with_us(words), stdout=subprocess.PIPE)
        assert self._room.stdout is not None
        with self._room.stdout as said:
            assert said.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        """A process in these namespaces, for as long as they last."""
        return self._room.pid

    def inside(self, *words: str) -> list[str]:
        """A command line that runs in these namespaces."""
        return ["nsenter", f"--target={self._room.pid}", "--net", "--mount", "--", *words]

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """What this thread does meanwhile, and what it starts, is in this network, its loopback too."""
        libc = ctypes.CDLL(None, use_errno=True)
        here, there = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in ("thread-self", self._room.pid))
        try:
            assert libc.setns(there, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            assert libc.setns(here, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            os.close(here)
            os.close(there)

    def end(self) -> None:
        """Ends the namespaces."""
        self._room.kill()
        self._room.wait()


class Dockerd(Room):
    """An engine in its own namespaces. url: as DOCKER_HOST."""

    def __init__(self, folder: Path, *, live_restore: bool = True) -> None:
        super().__init__()
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._options = ("--live-restore",) if live_restore else ()
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the daemon, again too, and waits until it answers."""
        log = open(self.folder / "dockerd.log", "ab")  # noqa: SIM115
        words = ["dockerd", f"--host={self.url}", *self._options]
        words += [f"--{name}={self.folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        self._daemon = subprocess.Popen(_with_us(self.inside(*words)), stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(self.docker("version"), capture_output=True).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "dockerd.log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the daemon; with live-restore its containers go on."""
        assert self._daemon is not None
        self._daemon.terminate()
        self._daemon.wait(PATIENCE)

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """The daemon is there, and does nothing, while the block runs."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._daemon.send_signal(signal.SIGCONT)

    def docker(self, *words: str) -> list[str]:
        """A command line of Docker's own client."""
        return ["docker", f"--host={self.url}", *words]

    def ask(self, *words: str) -> str:
        """What Docker's own client says."""
        return subprocess.run(self.docker(*words), capture_output=True, text=True, check=True).stdout.strip()

    def import_busybox(self) -> None:
        """Makes IMAGE: busybox and the names of its commands."""
        with tempfile.TemporaryDirectory() as root:
            (bin := Path(root, "bin")).mkdir()
            for name in ("tmp", "etc", "proc"):
                Path(root, name).mkdir()
            shutil.copy("/bin/busybox", bin)
            for name in subprocess.check_output([bin / "busybox", "--list"], text=True).split():
                if name != "busybox":
                    (bin / name).symlink_to("busybox")
            tar = subprocess.run(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE, check=True)
            subprocess.run(
                self.docker("import", "-", IMAGE), input=tar.stdout, check=True, stdout=subprocess.DEVNULL
            )

    def end(self) -> None:
        """Ends its containers, the daemon and the namespaces."""
        if self._daemon is not None:
            if containers := self.ask("ps", "--all", "--quiet").split():
                self.ask("rm", "--force", *containers)
            self.stop()
        super().end()


def needs_root() -> None:
    """As root, and in CI, what is missing is a failure."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("an engine of our own needs root: run the tests as root to see containers")


@contextlib.contextmanager
def own_room() -> Iterator[Room]:
    """A room, in whose network the test and all that it starts are meanwhile; it needs root."""
    needs_root()
    room = Room()
    try:
        with room.network():
            yield room
    finally:
        room.end()


@contextlib.contextmanager
def dockerd(*, begun: bool = True, live_restore: bool = True) -> Iterator[Dockerd]:
    """An engine with IMAGE, ended afterwards. begun: whether it is started here, or later by the test."""
    missing = [name for name in ("dockerd", "docker", "/bin/busybox") if shutil.which(name) is None]
    assert not missing, f"{missing} are missing: apt-get install docker.io busybox-static"
    assert os.geteuid() == 0, "an engine of our own needs root"
    with tempfile.TemporaryDirectory(prefix="kato-engine-") as folder:
        engine = Dockerd(Path(folder), live_restore=live_restore)
        try:
            if begun:
                engine.start()
                engine.import_busybox()
            yield engine
        finally:
            engine.end()


def _with_us(words: Sequence[str]) -> list[str]:
    """It ends when we do, however that may be."""
    return ["setpriv", "--pdeathsig=TERM", *words]


REGISTRY = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: kato, path: {folder}/htpasswd}}}}
"""
SECRET = "kato:$2b$04$uBXG9zVCmST7FOYvwumHuuvpKkE1uKw7hSHONzgzm8O83OPpotrmO"
"""The user `kato` with the password `secret`."""


@contextlib.contextmanager
def shelves(room: Room, folder: Path, port: int = 5000) -> Iterator[str]:
    """A private registry on the room's loopback, which has nothing yet; its address."""
    (folder / "htpasswd").write_text(SECRET + "\n")
    (folder / "registry.yml").write_text(REGISTRY.format(folder=folder, port=port))
    words = _with_us(room.inside("docker-registry", "serve", str(folder / "registry.yml")))
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(PATIENCE)


@contextlib.contextmanager
def registry(engine: Dockerd, folder: Path, port: int = 5000) -> Iterator[str]:
    """A private registry on the engine's loopback, with IMAGE as `<address>/test:1`; its address."""
    with shelves(engine, folder, port) as address:
        login = engine.docker(f"--config={folder}", "login", "--username=kato", "--password=secret", address)
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(login, capture_output=True).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        engine.ask("tag", IMAGE, f"{address}/test:1")
        engine.ask(f"--config={folder}", "push", f"{address}/test:1")
        engine.ask("rmi", f"{address}/test:1")
        yield address


class Relay(socketserver.ThreadingTCPServer):
    """Stands before a registry and lets no more than `most` bytes of it pass until it is released.

    It listens in the network in which it is made. address: to pull from.
    """

    daemon_threads = True

    def __init__(self, registry: str, most: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.registry = registry
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.left = most
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class _Relayed(socketserver.BaseRequestHandler):
    """One connection."""

    server: Relay

    def handle(self) -> None:
        host, _, port = self.server.registry.rpartition(":")
        with socket.create_connection((host, int(port))) as there, contextlib.suppress(OSError):
            up = threading.Thread(target=self._send, args=(self.request, there), daemon=True)
            up.start()
            while data := there.recv(1 << 14):
                self.server.left -= len(data)
                self.server.released.wait(PACE if self.server.left > 0 else PATIENCE)
                self.request.sendall(data)
            self.request.shutdown(socket.SHUT_WR)

    def _send(self, from_: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := from_.recv(1 << 14):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)


def logins(*addresses: str) -> bytes:
    """What `docker login` would have written for a registry's user."""
    return json.dumps(
        {"auths": {each: {"auth": base64.b64encode(b"kato:secret").decode()} for each in addresses}}
    ).encode()


def big(engine: Dockerd, name: str, megabytes: int = 6) -> None:
    """Makes an image that no compression makes smaller: busybox and chance."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "chance").write_bytes(os.urandom(megabytes * 1_000_000))
        Path(folder, "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY chance /\nCMD sleep 1000\n")
        engine.ask("build", "--quiet", f"--tag={name}", folder)
