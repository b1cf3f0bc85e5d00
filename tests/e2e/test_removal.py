"""What is asked of an app is answered though the app is removed meanwhile: the real cell, the real HAProxy."""

import socket
import sys
import threading
import urllib.request

import pytest

from load import free_port
from machine import Machine

HOST = "slow.localhost"
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

class Slow(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            here = Path(__file__).parent
            (here / "asked").touch()
            while not (here / "go").exists():
                Event().wait(0.01)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["MARATHON_APP_ID"].encode() * 10_000)

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT0"])), Slow).serve_forever()
"""


def app(machine: Machine, port: int, id: str = "/slow") -> dict[str, object]:
    script = machine.root / "slow.py"
    script.write_text(SERVER)
    return {
        "id": id,
        "cmd": f"exec {sys.executable} {script}",
        "cpus": 0.1,
        "mem": 64,
        "labels": {"HAPROXY_0_VHOST": HOST},
        "portDefinitions": [{"port": port}],
        "healthChecks": [{"protocol": "TCP", "delaySeconds": 0, "gracePeriodSeconds": 30}],
        "taskKillGracePeriodSeconds": 1,
    }


def whole(app: str) -> str:
    """What an app answers."""
    return app * 10_000


class Asking(threading.Thread):
    """One slow request. body: what came back; None where it was broken off."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.body: str | None = None
        self._address = address
        self.start()

    def run(self) -> None:
        request = urllib.request.Request(f"http://{self._address}/slow", headers={"Host": HOST})
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                self.body = answer.read().decode()
        except OSError as error:
            self.body = f"{error}"


def ask(machine: Machine, port: int, entry: str) -> Asking:
    """A slow request that has reached its server."""
    asking = Asking(machine.ingress if entry == "ingress" else f"127.0.0.1:{port}")
    machine.until((machine.root / "asked").exists)
    return asking


def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("entry", ["ingress", "port"])
def test_what_is_open_is_answered_whole_and_who_comes_new_is_turned_away(machine: Machine, entry: str) -> None:
    machine.start()
    port = free_port()
    assert machine.ask("PUT", "/v2/apps/slow", app(machine, port))
    machine.until(lambda: machine.site(HOST)[0] == 200)
    asking = ask(machine, port, entry)
    assert machine.ask("DELETE", "/v2/apps/slow")
    machine.until(lambda: machine.site(HOST)[0] == 503)
    assert "/slow has no healthy task" in machine.site(HOST)[1]
    (machine.root / "go").touch()
    asking.join(60)
    assert asking.body == whole("/slow")
    machine.until(lambda: machine.site(HOST)[0] == 404 and refused(port) and machine.tasks("/slow") == [])


def test_an_app_that_takes_the_names_of_a_removed_one_has_them_at_once(machine: Machine) -> None:
    machine.start()
    port = free_port()
    assert machine.ask("PUT", "/v2/apps/slow", app(machine, port))
    machine.until(lambda: machine.site(HOST)[0] == 200)
    asking = ask(machine, port, "ingress")
    assert machine.ask("DELETE", "/v2/apps/slow")
    assert machine.ask("PUT", "/v2/apps/next", app(machine, port, "/next"))
    machine.until(lambda: machine.site(HOST) == (200, whole("/next")))
    assert asking.is_alive() and machine.tasks("/slow"), "the former app has gone already"
    services = machine.get("/v1/services")
    assert services["problems"] == []
    assert {each["app"]: each["leaving"] for each in services["services"]} == {"/next": False, "/slow": True}
    (machine.root / "go").touch()
    asking.join(60)
    assert asking.body == whole("/slow")
    machine.until(lambda: machine.tasks("/slow") == [])
    assert machine.site(HOST) == (200, whole("/next"))
