"""A machine that asks its cell for names: libc finds them on port 53, and everything else by who was asked before.
In a network and a mount namespace of the test's own, with an /etc of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Room, needs_root
from load import free_ports
from machine import Machine

FORMER = "nameserver 127.0.0.2\noptions timeout:2\n"
LOOK_UP = """
import socket, sys
for name in sys.argv[1:]:
    try:
        print(*sorted({each[4][0] for each in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}))
    except socket.gaierror as error:
        print(socket.gaierror.__name__, error.errno)
"""
CHECK = {"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "delaySeconds": 0, "timeoutSeconds": 1}
VOTING = {
    "id": "/voting/redis",
    "cmd": "exec python3 -m http.server --bind 127.0.0.1 $PORT0",
    "cpus": 0.1,
    "mem": 32,
    "healthChecks": [CHECK],
}


class Asking(Machine):
    """A machine with a network, an /etc and a resolver of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room()
        self.etc = self.root / "etc"
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        (self.etc / "nsswitch.conf").write_text("hosts: files dns\n")
        self.conf = self.etc / "resolv.conf"
        self.fresh()
        for line in ("mount --make-rprivate /", f"mount --bind {self.etc} /etc"):
            subprocess.run(self.room.inside(*line.split()), check=True)
        words = "dnsmasq --keep-in-foreground --conf-file=/dev/null --listen-address=127.0.0.2 --bind-interfaces"
        words += " --no-resolv --no-hosts --user=root --pid-file= --address=/elsewhere.example/192.0.2.7"
        self.upstream = subprocess.Popen(self.room.inside(*words.split()))
        self.env["KATO_DNS_OWN"] = "1"
        self.until(lambda: self.found("elsewhere.example") == ["192.0.2.7"])

    def fresh(self) -> None:
        """As before any cell: a link, as a machine has it whose servers come by DHCP."""
        for path in self.etc.glob("resolv.conf*"):
            path.unlink()
        (self.etc / "resolv.real").write_text(FORMER)
        self.conf.symlink_to("resolv.real")

    def line(self, *words: str) -> list[str]:
        return self.room.inside(*words)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        with self.room.network():
            return super().ask(method, path, body)

    def found(self, *names: str) -> list[str]:
        """What libc finds, a line a name."""
        words = self.room.inside(sys.executable, "-c", LOOK_UP, *names)
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()

    def kill(self) -> None:
        """Ends the cell as a crash does."""
        pid = int(self.get("/v1/cell")["pid"])
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: self.get("/ping") is None)

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """Ends the cell in order."""
        process.terminate()
        process.wait(120)

    def close(self) -> None:
        super().close()
        self.upstream.kill()
        self.upstream.wait()
        self.room.end()


@pytest.fixture(scope="module")
def whole() -> Iterator[Asking]:
    needs_root()
    machine = Asking()
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def asking(whole: Asking) -> Iterator[Asking]:
    """It, as before any cell."""
    whole.fresh()
    yield whole
    for process in whole._started:
        if process.poll() is None:
            whole.end(process)


def test_libc_finds_the_names_of_the_cell_and_all_others(asking: Asking) -> None:
    file = asking.root / "voting.json"
    file.write_text(json.dumps(VOTING))
    process = asking.start()
    asking.kato("up", str(file), "-d")
    names = ("redis.voting.kato", "nobody.voting.kato", "elsewhere.example")
    asking.until(lambda: asking.found(*names) == ["127.0.0.1", "gaierror -2", "192.0.2.7"])
    assert asking.get("/v1/cell")["dns"] == "127.0.0.55:53"
    assert "this machine asks the cell for names" in asking.kato("doctor", code=None)
    asking.end(process)
    assert os.readlink(asking.conf) == "resolv.real" and asking.found("elsewhere.example") == ["192.0.2.7"]
    assert not [path.name for path in asking.etc.iterdir() if "kato" in path.name]


def test_a_cell_that_was_killed_leaves_other_names_and_the_next_one_puts_back_what_stood(asking: Asking) -> None:
    asking.start()
    asking.kill()
    assert asking.found("elsewhere.example") == ["192.0.2.7"], "the former server is asked where nobody answers"
    asking.env.pop("KATO_DNS_OWN")
    try:
        asking.end(asking.start())
    finally:
        asking.env["KATO_DNS_OWN"] = "1"
    assert os.readlink(asking.conf) == "resolv.real" and (asking.etc / "resolv.real").read_text() == FORMER
    asking.start()
    asking.kill()
    process = asking.start()
    assert "127.0.0.55" in asking.conf.read_text()
    asking.end(process)
    assert os.readlink(asking.conf) == "resolv.real"


def test_a_second_cell_is_refused_by_the_name_of_the_first(asking: Asking) -> None:
    process = asking.start()
    api, ingress = free_ports(2)
    where = ("--data", f"{asking.root}/second", "--api", f"127.0.0.1:{api}", "--ingress", f"127.0.0.1:{ingress}")
    said = asking.kato("serve", "--dns-own", *where, code=1)
    assert f"asks the cell in {asking.data} for names already" in said and "Traceback" not in said
    asking.end(process)


def test_what_somebody_has_changed_is_left_and_said(asking: Asking) -> None:
    process = asking.start()
    changed = asking.conf.read_text() + "options attempts:1\n"
    asking.conf.write_text(changed)
    asking.end(process)
    assert asking.conf.read_text() == changed
    assert "somebody has changed what a cell wrote" in (asking.data / "cell.log").read_text() + asking.log()
    asking.fresh()
    process = asking.start()
    asking.conf.write_text("nameserver 127.0.0.2\n")
    assert "Somebody has changed /etc/resolv.conf" in asking.kato("doctor", code=None)
    asking.end(process)
    assert asking.conf.read_text() == "nameserver 127.0.0.2\n"


def test_a_file_that_is_mounted_is_written_where_it_is(asking: Asking) -> None:
    asking.conf.unlink()
    asking.conf.write_text(FORMER)
    subprocess.run(asking.room.inside("mount", "--bind", "/etc/resolv.real", "/etc/resolv.conf"), check=True)
    try:
        process = asking.start()
        assert "127.0.0.55" in (asking.etc / "resolv.real").read_text()
        assert asking.found("elsewhere.example") == ["192.0.2.7"]
        asking.end(process)
        assert (asking.etc / "resolv.real").read_text() == FORMER
        assert not (asking.etc / "resolv.conf.before-kato").exists()
    finally:
        subprocess.run(asking.room.inside("umount", "/etc/resolv.conf"), check=True)


def test_uninstalling_puts_it_back(asking: Asking) -> None:
    asking.start()
    asking.kill()
    assert "resolv.conf" in asking.kato("uninstall", code=1)
    asking.kato("uninstall", "--purge", "--yes")
    assert os.readlink(asking.conf) == "resolv.real" and not Path(asking.data).exists()
