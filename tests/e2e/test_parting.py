"""Ctrl-C at a command: it says what goes on and what was left; a foreground `kato up` ends only what it began."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machine import ROOT, Machine

SMALL = {"cpus": 0.1, "mem": 32}
SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
NEVER = {"cmd": "sleep 1000", "healthChecks": [{"protocol": "TCP", "portIndex": 0}]}
STUBBORN = "trap '' TERM; while :; do sleep 1; done"


@pytest.fixture
def standing(machine: Machine) -> Machine:
    """A cell in which /g/old stands."""
    machine.kato("up", str(written(machine, old="1")), "-d")
    return machine


def written(machine: Machine, **apps: str) -> Path:
    """A file of the group /g with these apps, each of a version."""
    file = machine.root / "g.json"
    body = [{"id": id, "cmd": "sleep 1000", "env": {"VERSION": of}, **SMALL} for id, of in apps.items()]
    file.write_text(json.dumps({"id": "/g", "apps": body}))
    return file


def app(machine: Machine, **more: Any) -> Path:
    file = machine.root / "app.json"
    file.write_text(json.dumps({"id": "/app", **SMALL, "taskKillGracePeriodSeconds": 6, **more}))
    return file


@contextmanager
def begun(machine: Machine, *words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        ["kato", *words],
        env=machine.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=machine.root,
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def parted(command: "subprocess.Popen[str]") -> str:
    command.send_signal(signal.SIGINT)
    said, _ = command.communicate(timeout=200)
    assert command.returncode == 128 + signal.SIGINT, said
    return said


def until_said(command: "subprocess.Popen[str]", word: str) -> str:
    assert command.stdout is not None
    said = ""
    while line := command.stdout.readline():
        said += line
        if word in line:
            return said
    raise AssertionError(said)


def states(machine: Machine) -> list[str]:
    """Of all tasks. A task's state moves only after the wish for it was answered."""
    found = machine.get("/v1/apps") or {"apps": []}
    return [task["state"] for app in found["apps"] for task in app["tasks"]]


def test_what_stood_before_stays_also_when_it_was_upgraded(standing: Machine) -> None:
    old = standing.tasks("/g/old")
    with begun(standing, "up", str(written(standing, old="1", new="1"))) as up:
        until_said(up, "Ctrl-C ends what this has started, and leaves running what stood before.")
        said = parted(up)
    assert "Left running: /g/old stood before. `kato down " in said and "1 app removed." in said
    assert standing.tasks() == old
    with begun(standing, "up", str(written(standing, old="2"))) as up:
        until_said(up, "Ctrl-C leaves running what stood before.")
        said = parted(up)
    assert "removed" not in said and "Left running: /g/old stood before." in said
    assert standing.get("/v2/apps/g/old")["app"]["env"] == {"VERSION": "2"} and standing.tasks("/g/old") != old


def test_an_upgrade_goes_on_and_a_cell_with_apps_stays(standing: Machine) -> None:
    """The cell was killed meanwhile, so that this `up` starts it; its apps stood before all the same."""
    standing.kato("up", str(app(standing, **NEVER)), "-d", "--timeout", "1", code=1)
    (pid,) = {standing.get("/v1/cell")["pid"]}
    subprocess.run(["kill", "-9", str(pid)], check=True)
    standing.until(lambda: standing.get("/ping") is None)
    with begun(standing, "up", str(app(standing, **NEVER, env={"B": "2"}))) as up:
        said = until_said(up, "/app")
        standing.until(lambda: standing.get("/v2/apps/app")["app"]["env"] == {"B": "2"})
        said += parted(up)
    assert "Left running, and its deployment goes on: /app stood before." in said
    assert "The cell goes on, for its apps that stood before." in said
    assert standing.get("/v2/deployments") and standing.tasks("/g/old")


def test_each_command_says_what_goes_on(machine: Machine) -> None:
    file = app(machine, **NEVER)
    with begun(machine, "up", str(file), "-d") as up:
        until_said(up, "/app.1")
        said = parted(up)
    assert f"kato: The deployment goes on. See: kato ls. `kato down {file}` removes 1 app.\n" in said
    with begun(machine, "scale", "app", "2", "--force") as scale:
        until_said(scale, "/app.2")
        said = parted(scale)
    assert "kato: The change of /app to 2 tasks goes on. See: kato ls\n" in said
    with begun(machine, "restart", "app", "--force") as restart:
        until_said(restart, "/app.3")
        said = parted(restart)
    assert "kato: The restart of /app goes on. See: kato ls\n" in said
    machine.kato("up", str(app(machine, cmd=STUBBORN)), "-d")
    with begun(machine, "down", str(file)) as down:
        machine.until(lambda: states(machine) == ["stopping"])
        said = parted(down)
    assert "kato: The removal of 1 app goes on, and the cell stays. `kato down --all` ends it too.\n" in said


def test_before_anything_is_asked_nothing_is_changed(machine: Machine) -> None:
    with begun(machine, "up", str(app(machine, **NEVER)), "-d") as up:
        machine.until((machine.data / "cell.log").exists)
        said = parted(up)
    assert said == "kato: Nothing was deployed, and the cell that was about to start was ended again.\n"
    machine.until(lambda: not machine.processes())


def test_what_others_deployed_since_stays_and_so_does_the_cell(machine: Machine) -> None:
    with begun(machine, "up", str(app(machine, cmd="sleep 1000"))) as up:
        until_said(up, "Ctrl-C ends it all.")
        machine.kato("up", str(written(machine, new="1")), "-d")
        tasks = machine.tasks("/g/new")
        said = parted(up)
    assert "1 app removed." in said
    assert "The cell goes on, for /g/new, deployed since. `kato down --all` ends all of it." in said
    assert tasks and machine.tasks() == tasks


def test_the_demo_ends_without_a_word_of_make(machine: Machine) -> None:
    """Ctrl-C of a terminal reaches make, its shell and kato at once."""
    words = ["make", "-C", str(ROOT), "-o", ".stamp-demo", "demo"]
    with subprocess.Popen(
        words,
        env=machine.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        until_said(demo, "Ctrl-C ends it all.")
        os.killpg(demo.pid, signal.SIGINT)
        said, _ = demo.communicate(timeout=200)
    assert "The cell has ended." in said and "make" not in said, said
    machine.until(lambda: not machine.processes())


def test_a_second_ctrl_c_says_what_is_true_by_then(machine: Machine) -> None:
    with begun(machine, "up", str(app(machine, cmd=STUBBORN))) as up:
        until_said(up, "Ctrl-C ends it all.")
        up.send_signal(signal.SIGINT)
        until_said(up, "Ending it")
        machine.until(lambda: states(machine) == ["stopping"])
        said = parted(up)
    assert "kato: The removal of 1 app goes on, and the cell stays. `kato down --all` ends it too.\n" in said
    assert machine.get("/ping") == "pong"
