"""Services that run once, on a real cell: they finish, hold who depends on them, and no fault runs them again."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from machine import Machine

SHOP = """
name: shop
services:
  migrate:
    command: echo migrated >> runs; echo it is done; %s
    restart: "no"
  web:
    command: wc -l < runs > seen; exec sleep 1000
    depends_on: {migrate: {condition: service_completed_successfully}}
"""


def written(machine: Machine, ends: str = "sleep 1; exit 0", text: str = SHOP) -> str:
    file = machine.root / "compose.yaml"
    file.write_text(text % ends)
    return str(file)


def lines(machine: Machine, name: str = "runs") -> int:
    """How often it has run."""
    return len((machine.root / name).read_text().splitlines())


def seen(machine: Machine) -> str:
    """What web saw when it began; it runs before it has written that."""
    file = machine.root / "seen"
    machine.until(lambda: file.exists() and file.read_text().endswith("\n"))
    return file.read_text().strip()


def listed(machine: Machine, *command: str) -> dict[str, Any]:
    rows = json.loads(machine.kato(*command, "-o", "json"))
    return {row["app"]: row for row in rows}


def test_what_has_finished_lets_others_begin_and_is_not_run_again(machine: Machine) -> None:
    """Not by `up` again, not by kill -9 of the cell; only a new version or `restart` runs it again."""
    file = written(machine)
    machine.kato("up", file, "-d")
    assert seen(machine) == "1", "web began before migrate had ended"
    apps, tasks = listed(machine, "ls"), listed(machine, "ps")
    assert (apps["/shop/migrate"]["state"], apps["/shop/migrate"]["tasks"]) == ("finished", "1/1")
    assert tasks["/shop/migrate"]["state"] == "finished" and tasks["/shop/migrate"]["ports"] == []
    assert "it is done" in machine.kato("logs", "migrate")
    assert "1 of 1 tasks have finished." in machine.kato("why", "migrate")
    assert {task["appId"] for task in machine.tasks()} == {"/shop/web"}, "Marathon lists what is over"
    assert not machine.get("/v2/deployments")

    assert "Nothing to change" in machine.kato("up", file, "-d")
    cell = int(machine.get("/v1/cell")["pid"])
    os.kill(cell, signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None)
    machine.start()
    machine.until(lambda: listed(machine, "ls")["/shop/web"]["state"] == "running")
    assert listed(machine, "ls")["/shop/migrate"]["state"] == "finished"
    assert lines(machine) == 1

    machine.kato("restart", "migrate")
    assert lines(machine) == 2
    machine.kato("up", written(machine, "sleep 1; true"), "-d")
    assert lines(machine) == 3
    machine.kato("down", file)
    assert machine.get("/v1/apps") == [] or not machine.get("/v1/apps")["apps"]


def test_one_that_ended_while_the_cell_was_dead_is_not_run_again(machine: Machine) -> None:
    """kill -9 while it runs; it ends meanwhile, and the next cell finds its true exit code."""
    machine.kato("up", written(machine, "while ! test -e go; do sleep 0.05; done"), "-d", "--timeout", "2", code=1)
    pid = machine.pid(next(task["id"] for task in machine.tasks("/shop/migrate")))
    os.kill(int(machine.get("/v1/cell")["pid"]), signal.SIGKILL)
    (machine.root / "go").touch()
    machine.until(lambda: not Path(f"/proc/{pid}").exists())
    machine.start()
    machine.until(lambda: [each["state"] for each in machine.tasks("/shop/web")] == ["TASK_RUNNING"])
    assert listed(machine, "ls")["/shop/migrate"]["state"] == "finished"
    assert lines(machine) == 1


def test_one_that_fails_holds_who_depends_on_it_and_says_so(machine: Machine) -> None:
    said = machine.kato("up", written(machine, "exit 3"), "-d", code=1)
    assert "Command exited with status 3" in said and "it is done" in said
    assert "It is not tried again." in said
    assert listed(machine, "ls")["/shop/migrate"]["state"] == "failed"
    task = listed(machine, "ps")["/shop/migrate"]
    assert (task["state"], task["health"]) == ("failed", "Command exited with status 3")
    assert not machine.tasks("/shop/web") and lines(machine) == 1
    why = machine.kato("why", "web")
    assert "/shop/migrate is to end well first" in why and "Command exited with status 3" in why
    assert "kato restart shop/migrate --force" in why

    (machine.root / "runs").unlink()
    (machine.root / "seen").unlink(missing_ok=True)
    machine.kato("up", written(machine), "-d")
    assert seen(machine) == "1"


def test_it_is_run_again_by_hand_and_who_waits_goes_on(machine: Machine) -> None:
    machine.kato("up", written(machine, "test -e ready"), "-d", code=1)
    (machine.root / "ready").touch()
    machine.kato("restart", "shop/migrate", "--force")
    machine.until(lambda: [each["state"] for each in machine.tasks("/shop/web")] == ["TASK_RUNNING"])
    assert seen(machine) == "2"


ONCE = """
name: once
services:
  first: {command: "echo one; sleep 0.5", restart: "no"}
  second:
    command: echo two >> tries; test $$(wc -l < tries) -gt %s
    restart: on-failure:2
    depends_on: {first: {condition: service_completed_successfully}}
    deploy: {restart_policy: {condition: on-failure, max_attempts: 2, delay: 100ms}}
"""


def test_up_ends_by_itself_when_all_has_finished(machine: Machine) -> None:
    said = machine.kato("up", written(machine, "1", ONCE))
    assert "once_first.1 | one" in said and "All of it has finished." in said
    assert lines(machine, "tries") == 2
    machine.until(lambda: not machine.processes())


def test_a_number_of_attempts_is_kept(machine: Machine) -> None:
    said = machine.kato("up", written(machine, "9", ONCE), "-d", code=1)
    assert "Command exited with status 1" in said and "It is not tried again." in said
    assert lines(machine, "tries") == 3
