"""The archive for whoever looks what is wrong: what it has, and that no secret is in it, wherever one stood."""

import base64
import json
import tarfile
from pathlib import Path

import msgspec
import pytest

from kato.cli.upkeep.redact import Redactor
from machine import Machine

CANARIES = [f"canary{n}SECRET" for n in range(16)]
C = iter(CANARIES)
SHOWN = {
    "id": "/shop/web",
    "cmd": f"PASSWORD={next(C)} sleep 1000; tool --token {next(C)} '{next(C)}'",
    "env": {"name": next(C), "URL": f"postgres://shop:{next(C)}@db:5432/shop", "ODD": f'a/b:{next(C)}" c'},
    "labels": {"traefik.auth": next(C)},
    "cpus": 0.1,
    "mem": 16,
    "healthChecks": [
        {
            "protocol": "COMMAND",
            "command": {"value": f"true --key {next(C)}"},
            "intervalSeconds": 1,
            "delaySeconds": 0.1,
        }
    ],
}
IMAGE = {
    "id": "/shop/db",
    "args": ["db", f"--password={next(C)}"],
    "instances": 0,
    "secrets": {"login": {"source": next(C)}},
    "fetch": [{"uri": f"https://me:{next(C)}@127.0.0.1/x.tar"}],
    "container": {
        "type": "DOCKER",
        "docker": {"image": "busybox", "parameters": [{"key": "env", "value": f"TOKEN={next(C)}"}]},
    },
}
LOGIN, KEPT, LINE, OWN = next(C), next(C), next(C), next(C)


def opened(file: Path) -> dict[str, str]:
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    with tarfile.open(file) as tar:
        parts = {member.name.removeprefix("kato-debug/"): tar.extractfile(member) for member in tar}
        return {name: part.read().decode() for name, part in parts.items() if part}


def check(found: dict[str, str]) -> None:
    for canary in CANARIES:
        assert not [name for name, text in found.items() if canary in text], canary
    apps = {key: value for key, value in json.loads(found["store.json"]).items() if key.startswith("versions/")}
    (web,) = (app for key, app in apps.items() if key.startswith("versions/shop/web@"))
    assert web["env"].keys() == SHOWN["env"].keys(), "which variables there are stays known"  # type: ignore[attr-defined]
    assert (web["cmd"], web["cpus"], web["healthChecks"][0]["protocol"]) == ("(redacted)", 0.1, "COMMAND")
    assert "this cell listens" in found["cell.log"] and "pulling /shop/db failed" in found["cell.log"]
    assert "haproxy" in found["haproxy.cfg"] or "frontend" in found["haproxy.cfg"]
    assert {each["check"] for each in json.loads(found["doctor.json"])} >= {"kernel", "disk"}
    assert json.loads(found["machine.json"])["config"]["api"].startswith("127.0.0.1:")


def test_an_archive_has_what_helps_and_no_secret(machine: Machine) -> None:
    (logins := machine.root / "docker").mkdir()
    auth = base64.b64encode(f"me:{LOGIN}".encode()).decode()
    (logins / "config.json").write_text(json.dumps({"auths": {"127.0.0.1:5000": {"auth": auth}}}))
    machine.env |= {"DOCKER_CONFIG": str(logins), "SOME_TOKEN": OWN}
    machine.start()
    assert machine.ask("PUT", "/v1/secrets/login", {"value": f"{KEPT}\nline {LINE}\n"})
    for app in (SHOWN, IMAGE):
        assert machine.ask("PUT", f"/v2/apps{app['id']}", app), app["id"]
    machine.until(lambda: machine.healthy("/shop/web") == 1)
    with (machine.data / "cell.log").open("a") as log:
        log.write(f"pulling /shop/db failed: {' '.join(CANARIES[:-1])} x{CANARIES[3]}x {auth} from 127.0.0.1\n")
        log.write("GET https://someone:else99@host/ Authorization: Bearer abcdef password=shortpw\n")
    file = machine.root / "debug.tar.gz"
    said = machine.kato("debug", str(file))
    assert "Look through it before you give it away" in said
    found = opened(file)
    check(found)
    assert auth not in found["cell.log"] and "from 127.0.0.1\n" in found["cell.log"]
    assert not [word for word in ("else99", "abcdef", "shortpw") if word in found["cell.log"]]
    assert {task["appId"] for task in json.loads(found["tasks.json"])["tasks"]} == {"/shop/web"}
    assert "in run" in found["stacks.txt"] and "kato_apps 2.0" in found["metrics.txt"]
    assert found["missing.txt"].count("\n") == 1 and "cell.log.1" in found["missing.txt"]
    assert {"queue.json", "deployments.json", "nodes.json", "services.json", "cell.json"} <= found.keys()
    assert "cannot be written" in machine.kato("debug", str(file), code=2)
    machine.ask("POST", "/v1/stop")
    machine.until(lambda: machine.get("/ping") is None)
    machine.kato("debug", str(machine.root / "ended.tar.gz"))
    ended = opened(machine.root / "ended.tar.gz")
    check(ended)
    assert "stacks.txt: the cell does not answer" in ended["missing.txt"]


@pytest.mark.parametrize("field", ["check", "residency", "nosuch", "labels"])
def test_what_nobody_knows_to_be_harmless_is_taken_out(field: str) -> None:
    app = {"id": "/a", "networks": [{"name": "kept", field: {"name": "a-secret", "more": [["b-secret"]]}}]}
    redactor = Redactor({"versions/a@1": app, "nosuch/room": {"value": "c-secret"}})
    shown = msgspec.json.encode(redactor.app(app)).decode()
    assert "kept" in shown and "secret" not in shown
    assert redactor.stored()["nosuch/room"] == "(redacted)" and redactor.text("c-secret") == "(redacted)"
    assert redactor.text("xa-secretx b-secret kept") == "x(redacted)x (redacted) kept"
