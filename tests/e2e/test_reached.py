"""A cell that others reach over a network, and those others: two network namespaces of the test's own with a wire
between them, real clients and hostile ones.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine import Room, needs_root
from load import free_port
from machine import Machine

HERE, THERE = "10.77.0.1", "10.77.0.2"
FLOOD = 300
HOLD = """
import socket, sys
held = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(int(sys.argv[3]))]
print("held", flush=True)
sys.stdin.read()
"""
"""Connections that never shake hands."""
MARATHON = """
import collections, collections.abc, sys
collections.Iterable = collections.abc.Iterable
import marathon
client = marathon.MarathonClient(sys.argv[1], username="anybody", password=open(sys.argv[2]).read().strip())
print(client.ping(), *(app.id for app in client.list_apps()))
"""


class Reached(Machine):
    """A machine whose API listens everywhere, in a network of its own, and another machine at its wire."""

    def __init__(self) -> None:
        super().__init__()
        self.room, self.other = Room(), Room()
        words = f"ip link add wire netns {self.room.pid} type veth peer name wire netns {self.other.pid}"
        subprocess.run(words.split(), check=True)
        for room, address in ((self.room, HERE), (self.other, THERE)):
            for line in (f"ip address add {address}/24 dev wire", "ip link set wire up"):
                subprocess.run(room.inside(*line.split()), check=True)
        self.port = free_port()
        self.url = f"https://{HERE}:{self.port}"
        self.api = self.env["KATO_API"] = f"0.0.0.0:{self.port}"

    def kato(self, *args: str, code: int | None = 0, timeout: float = 240) -> str:
        with self.room.network():
            return super().kato(*args, code=code, timeout=timeout)

    def start(self) -> "subprocess.Popen[bytes]":
        with self.room.network():
            return super().start()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """As the cell's own user, on its machine."""
        words = ["--insecure", "--request", method, f"https://127.0.0.1:{self.port}{path}"]
        words += ["--json", json.dumps(body)] if body is not None else []
        done = subprocess.run(self.room.inside("curl", "-sS", "--fail", *words), capture_output=True, text=True)
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except ValueError:
            return done.stdout

    def afar(self, *words: str, code: int | None = 0, **environ: str) -> str:
        """A command on the other machine; what it wrote."""
        env = {**self.env, **environ}
        done = subprocess.run(self.other.inside(*words), env=env, capture_output=True, text=True, timeout=200)
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def curl(self, path: str, *words: str) -> int:
        """The status that the other machine's curl sees, which believes the cell's authority."""
        told = ("--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}")
        believes = ("--cacert", f"{self.data}/access/ca.pem")
        return int(self.afar("curl", *told, *believes, *words, f"{self.url}{path}"))

    @property
    def token(self) -> str:
        return (self.data / "access" / "token").read_text().strip()

    def known(self) -> dict[str, Any]:
        """What the other machine is told of the cell."""
        access = self.data / "access"
        there = {"KATO_API": self.url, "KATO_CA": f"{access}/ca.pem", "KATO_TOKEN_FILE": f"{access}/token"}
        return {**there, "KATO_DATA": f"{self.root}/none"}

    def close(self) -> None:
        super().close()
        self.room.end()
        self.other.end()


@pytest.fixture(scope="module")
def reached() -> Iterator[Reached]:
    """A cell that has an app, and that others reach."""
    needs_root()
    machine = Reached()
    try:
        said = machine.kato("serve", code=2)
        assert "takes HTTPS and a token there" in said and "kato certify HOST" in said and "Traceback" not in said
        file = machine.root / "shop.json"
        file.write_text(json.dumps({"id": "/shop/web", "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 16}))
        assert "kato certify HOST" in machine.kato("up", str(file), "-d", code=2)
        said = machine.kato("certify", HERE, "kato.example")
        assert machine.token not in said and f"kato --api https://{HERE}:{machine.port} ls" in said
        machine.kato("up", str(file), "-d")
        yield machine
    finally:
        machine.close()


def test_others_ask_over_tls_with_the_token_alone(reached: Reached) -> None:
    shown = ("-H", f"Authorization: Bearer {reached.token}")
    for path in (
        "/v2/apps",
        "/v1/cell",
        "/ping",
        "/metrics",
        "/v1/prometheus/targets",
        "/v1/prometheus/balancer",
        "/openapi.json",
        "/none",
    ):
        assert reached.curl(path) == 401
        assert reached.curl(path, "--user", f"me:{reached.token}x") == 401
    for path in ("/v2/apps", "/v1/cell", "/ping", "/metrics", "/v1/prometheus/targets", "/v1/prometheus/balancer"):
        assert reached.curl(path, *shown) == reached.curl(path, "--user", f"me:{reached.token}") == 200
    assert "empty reply" in reached.afar("curl", "-sS", f"http://{HERE}:{reached.port}/ping", code=None).lower()
    assert "certificate" in reached.afar("curl", "-sS", f"{reached.url}/ping", code=60)


def test_the_command_line_asks_from_elsewhere(reached: Reached) -> None:
    known = reached.known()
    assert "/shop/web" in reached.afar("kato", "ls", **known)
    assert "Done" in reached.afar("kato", "scale", "web", "2", **known)
    assert len(reached.tasks("/shop/web")) == 2
    assert "takes requests of user 0" in reached.afar("kato", "ls", code=1, **{**known, "KATO_TOKEN_FILE": ""})
    done = reached.afar("kato", "exec", "web.1", "--", "sh", "-c", "sleep 3; echo there", **known)
    assert done == "there\n", "what lasts longer than a look at whether the client lives"
    wrong = {**known, "KATO_TOKEN": "wrong-wrong-wrong-wrong"}
    assert "not this cell's, or no more" in reached.afar("kato", "ls", code=1, **wrong)
    assert "cannot prove that it is your cell" in reached.afar("kato", "ls", code=1, **{**known, "KATO_CA": ""})
    assert "everybody on the way" in reached.afar("kato", "ls", "--api", f"http://{HERE}:1", code=2, **known)
    silent = {**known, "KATO_API": f"{HERE}:1"}
    said = reached.afar("kato", "up", str(reached.root / "shop.json"), "-d", code=1, **silent)
    assert "Start it there" in said and not (reached.root / "none").exists()


def test_a_client_of_marathons_asks_with_the_token_as_its_password(reached: Reached) -> None:
    access = reached.data / "access"
    words = (sys.executable, "-c", MARATHON, reached.url, str(access / "token"))
    assert reached.afar(*words, REQUESTS_CA_BUNDLE=str(access / "ca.pem")) == "b'pong' /shop/web\n"


def test_on_its_machine_nothing_is_asked_of_its_user(reached: Reached) -> None:
    assert "/shop/web" in reached.kato("ls")
    assert reached.kato("doctor", code=None).count("it is valid for 824 days") == 1
    assert "/shop/web" in reached.kato("ls", "--api", f"https://127.0.0.1:{reached.port}")
    assert "/shop/web" in reached.kato("ls", "--api", f"https://{HERE}:{reached.port}")


def test_a_new_token_and_certificate_count_and_no_task_ends(reached: Reached) -> None:
    tasks = {task["id"]: reached.pid(task["id"]) for task in reached.tasks("/shop/web")}
    former = ("-H", f"Authorization: Bearer {reached.token}")
    reached.kato("certify", "other.example", HERE, "--new-token")
    reached.until(lambda: reached.curl("/ping", *former) == 401)
    fresh = ("-H", f"Authorization: Bearer {reached.token}")
    assert reached.curl("/ping", *fresh) == 200
    resolved = ("--resolve", f"other.example:{reached.port}:{HERE}")
    named = ("--cacert", f"{reached.data}/access/ca.pem", f"https://other.example:{reached.port}/ping")
    reached.until(lambda: "pong" in reached.afar("curl", "-s", *fresh, *resolved, *named, code=None))
    assert {task["id"]: reached.pid(task["id"]) for task in reached.tasks("/shop/web")} == tasks


def test_a_cell_that_listens_by_both_protocols_knows_its_own_user_by_both(reached: Reached) -> None:
    port, ingress = (free_port() for _ in range(2))
    where = ("--api", f"[::]:{port}", "--ingress", f"127.0.0.1:{ingress}", "--data", str(reached.root / "data-6"))
    reached.kato("certify", HERE, *where)
    with reached.room.network():
        serving = subprocess.Popen(["kato", "serve", *where], env=reached.env, stderr=subprocess.DEVNULL)
    try:
        plain = ("curl", "-sk", "--output", "/dev/null", "--write-out", "%{http_code}")
        for host in ("127.0.0.1", "[::1]", HERE):
            asked = (*plain, f"https://{host}:{port}/v2/apps")

            def status(asked: tuple[str, ...] = asked) -> str:
                return subprocess.run(reached.room.inside(*asked), capture_output=True, text=True).stdout

            reached.until(lambda: status() == "200")
        assert reached.afar(*plain, f"https://{HERE}:{port}/v2/apps") == "401"
        assert "Nothing is deployed" in reached.kato("ls", *where[:2])
    finally:
        serving.terminate()
        serving.wait(120)


def test_who_never_shakes_hands_keeps_nobody_out(reached: Reached) -> None:
    words = reached.other.inside(sys.executable, "-c", HOLD, HERE, str(reached.port), str(FLOOD))
    holding = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holding.stdout is not None and holding.stdout.readline() == b"held\n"
    try:
        assert reached.curl("/ping", "-H", f"Authorization: Bearer {reached.token}") == 200
        assert "/shop/web" in reached.kato("ls")
        standing = subprocess.run(
            reached.room.inside("ss", "-Htn", "state", "established", f"sport = :{reached.port}"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(standing.stdout.splitlines()) < 100
    finally:
        holding.communicate(timeout=240)


def test_the_token_is_in_no_log_list_of_processes_or_archive(reached: Reached) -> None:
    token = reached.token
    assert reached.curl(f"/v2/apps?token={token}", "-H", f"Authorization: Bearer {token}") == 200
    assert reached.curl("/v2/apps", "-H", f"Authorization: Bearer {token}x") == 401
    reached.kato("debug", str(reached.root / "all.tar.gz"))
    with tarfile.open(reached.root / "all.tar.gz") as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None and token.encode() not in content.read(), member.name
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert token.encode() not in path.read_bytes()
        except OSError:
            continue
    for path in (reached.root / "data").rglob("*"):
        with suppress(FileNotFoundError):  # written under another name first
            if path.is_file() and not path.is_symlink() and path.name != "token":
                assert token.encode() not in path.read_bytes(), path
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (reached.data / "access").iterdir()}
    assert set(modes) == {"ca.pem", "ca.key", "server.pem", "server.key", "token"}
    assert set(modes.values()) == {"0o600"} and oct((reached.data / "access").stat().st_mode & 0o777) == "0o700"
