"""Secrets in a real cell: a canary is set and told to tasks; everywhere else it is looked for, and is not."""

import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builders import NEEDS_SECRET
from machine import Machine

CANARY = "canary-e41c7790"
APP: dict[str, Any] = {
    **NEEDS_SECRET,
    "cmd": 'echo told $(printf %s "$PASSWORD" | wc -c) $(wc -c < run/secrets/pw); exec sleep 1000',
    "container": {"type": "MESOS", "volumes": [{"containerPath": "run/secrets/pw", "secret": "pw"}]},
}


@pytest.fixture
def cell(machine: Machine) -> Machine:
    machine.start()
    return machine


def set_secret(machine: Machine, value: str, *words: str) -> str:
    done = subprocess.run(
        ["kato", "secrets", "set", "shop/password", *words],
        input=value,
        env=machine.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return done.stdout + done.stderr


def test_a_value_is_told_to_its_tasks_and_is_in_no_listing_log_event_or_command_line(cell: Machine) -> None:
    """Nor in a file that others may read, nor in what is kept of the task."""
    heard: list[bytes] = []
    threading.Thread(target=listen, args=(cell, heard), daemon=True).start()
    file = cell.root / "app.json"
    file.write_text(json.dumps(APP))
    deploying = subprocess.Popen(["kato", "up", "-d", str(file)], env=cell.env, cwd=cell.root)
    cell.until(lambda: "kato secrets set shop/password" in json.dumps(cell.get("/v1/why/shop/db")))
    said = [cell.kato("why", "db"), cell.kato("plan", str(file), code=None)]
    said.append(set_secret(cell, CANARY, "-"))
    assert deploying.wait(240) == 0
    (task,) = cell.tasks("/shop/db")
    cell.until(lambda: f"told {len(CANARY)} {len(CANARY)}" in json.dumps(cell.get("/v1/logs/shop/db")))
    lists = (["ls"], ["ps"], ["secrets", "ls"], ["nodes"], ["versions", "db"])
    said += [cell.kato(*words, "-o", "json") for words in lists]
    said += [
        cell.kato(*words) for words in (["inspect", "db"], ["inspect", task["id"]], ["logs", "db"], ["why", "db"])
    ]
    assert json.loads(said[5])[0]["name"] == "shop/password", said
    said += [json.dumps(cell.get(path)) for path in ("/v2/apps/shop/db", "/v2/tasks", "/v1/secrets", "/metrics")]
    assert shown(cell) == [], "on a command line"
    said.append(set_secret(cell, f"{CANARY}-2", "-"))
    assert "kato restart" in said[-1]
    said += [cell.kato("restart", "db")]
    said += [(cell.data / "cell.log").read_text(), b"".join(heard).decode()]
    assert "deployment_success" in said[-1]
    assert not [text for text in said if CANARY in text]
    open_to_others = [
        file for file in holding(cell.data) if all(reads(way) for way in (file, *ways(file, cell.data)))
    ]
    assert not open_to_others
    assert [each.parent.name for each in holding(cell.data / "tasks") if each.parent.name == "secrets"], "told so"
    assert "is named by /shop/db" in cell.kato("secrets", "rm", "shop/password", code=1)
    cell.kato("rm", "db")
    cell.until(lambda: not list(holding(cell.data / "tasks")))
    cell.kato("secrets", "rm", "shop/password")
    assert "No secret is set" in cell.kato("secrets", "ls")


def test_a_file_is_kept_to_the_last_byte_and_what_is_no_text_is_for_files_alone(cell: Machine) -> None:
    raw = cell.root / "key"
    raw.write_bytes(b"\0\xff" + CANARY.encode())
    set_secret(cell, "", str(raw))
    cell.ask("PUT", "/v2/apps", [APP])
    words = "is no text, which the variable PASSWORD cannot hold"
    cell.until(lambda: words in json.dumps(cell.get("/v1/why/shop/db")))
    sums = {**APP, "env": {}, "cmd": "sha256sum < run/secrets/pw; exec sleep 1000"}
    cell.ask("PUT", "/v2/apps?force=true", [sums])
    digest = subprocess.check_output(["sha256sum"], input=raw.read_bytes()).decode().split()[0]
    cell.until(lambda: digest in json.dumps(cell.get("/v1/logs/shop/db")))
    assert "is empty" in cell.kato("secrets", "set", "x", "/dev/null", code=2)
    assert "/nowhere cannot be read" in cell.kato("secrets", "set", "x", "/nowhere", code=2)


COMPOSE = """
name: pair
services:
  web:
    command: 'cd $$MESOS_SANDBOX; echo "$$(cat run/secrets/pw front run/secrets/own)"; exec sleep 1000'
    secrets: [pw, {source: outside, target: own}]
    configs: [front]
    x-kato: {runtime: process}
secrets:
  pw: {file: ./pw}
  outside: {external: true, name: shop/password}
configs:
  front: {content: " front "}
"""


def test_a_compose_file_brings_its_own_and_a_changed_one_is_rolled_out_and_taken_back(cell: Machine) -> None:
    """The values are nowhere in the wish, and those that nobody names any more go."""
    (cell.root / "compose.yaml").write_text(COMPOSE)
    (cell.root / "pw").write_text(f"{CANARY}-1")
    set_secret(cell, "outside")
    cell.kato("up", "-d")
    logs = "/v1/logs/pair/web"
    cell.until(lambda: f"{CANARY}-1 front outside" in json.dumps(cell.get(logs)))
    (first,) = cell.tasks("/pair/web")
    assert "Nothing to change" in cell.kato("up", "-d")
    (cell.root / "pw").write_text(f"{CANARY}-2")
    planned = cell.kato("plan", code=1)
    assert "secrets.pw" in planned and "nobody has set" not in planned
    said = [planned, cell.kato("up", "-d"), cell.kato("convert"), cell.kato("secrets", "ls")]
    cell.until(lambda: f"{CANARY}-2 front outside" in json.dumps(cell.get(logs)))
    assert first["id"] not in [task["id"] for task in cell.tasks("/pair/web")]
    cell.kato("rollback", "web")
    cell.until(lambda: f"{CANARY}-1 front outside" in json.dumps(cell.get(logs)))
    assert said[3].count("pair/pw@") == 2
    assert not [text for text in (*said, cell.log(), json.dumps(cell.get("/v2/groups"))) if CANARY in text]


def listen(machine: Machine, heard: list[bytes]) -> None:
    request = urllib.request.Request(f"http://{machine.api}/v2/events", headers={"Accept": "text/event-stream"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=240) as events:
        heard.extend(events)


def shown(machine: Machine) -> list[str]:
    """The processes whose command line holds the canary."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                if CANARY.encode() in (process / "cmdline").read_bytes():
                    found.append(process.name)
    return found


def holding(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        with suppress(OSError):
            if file.is_file() and not file.is_symlink() and CANARY.encode() in file.read_bytes():
                yield file


def ways(file: Path, root: Path) -> list[Path]:
    return [each for each in file.parents if each.is_relative_to(root)]


def reads(path: Path) -> bool:
    """Whether others may read it, or pass it."""
    return bool(path.stat().st_mode & (0o001 if path.is_dir() else 0o004))
