"""What `kato drill` says, and what happens then: the thing is really lost, and compared line by line."""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from machine import Machine, own_cell

APPS = """
name: drill
services:
  web:
    command: python3 -m http.server $${PORT0}
    ports: ["80"]
    deploy: {replicas: 2}
  big:
    command: sleep 1000
"""


@pytest.fixture(scope="module")
def cell() -> Iterator[Machine]:
    with own_cell() as machine:
        (file := machine.root / "compose.yaml").write_text(APPS)
        machine.kato("up", str(file), "-d")
        yield machine


def drilled(cell: Machine, name: str, code: int = 0) -> Any:
    return json.loads(cell.kato("drill", "--lose", name, "-o", "json", code=code))


def ids(cell: Machine) -> set[str]:
    return {task["id"] for task in cell.tasks()}


def test_a_lost_task_is_replaced_as_the_drill_said(cell: Machine) -> None:
    """Where, under which id, not earlier than said, and no other task is touched."""
    before = ids(cell)
    told = drilled(cell, "web.1")
    (line,) = told["lines"]
    words = cell.kato("drill", "--lose", line["task"])
    assert words.splitlines()[1:] == [line["sentence"], told["end"]]
    assert ids(cell) == before, "a drill loses nothing"
    assert line["after"] == 1.0, "the launch delay of an app whose task has not run for a minute"
    (killed,) = [task for task in cell.tasks() if task["id"] == line["task"]]
    lost = time.time()
    os.kill(cell.pid(line["task"]), signal.SIGKILL)
    cell.until(lambda: ids(cell) == before - {line["task"]} | {line["heir"]})
    cell.until(lambda: all(task.get("startedAt") for task in cell.tasks()))
    (heir,) = [task for task in cell.tasks() if task["id"] == line["heir"]]
    assert heir["host"] == killed["host"]
    (app,) = [each for each in cell.get("/v1/apps")["apps"] if each["id"] == "/drill/web"]
    (stands,) = [task for task in app["tasks"] if task["id"] == line["heir"]]
    assert stands["node"] == line["to"] and app["failure"]["task"] == line["task"]
    assert stands["started"] - lost >= line["after"]


def test_without_its_only_machine_everything_waits(cell: Machine) -> None:
    (node,) = cell.get("/v1/nodes")["nodes"]
    told = drilled(cell, node["id"], code=1)
    assert [line["fate"] for line in told["lines"]] == ["waits"] * 5
    words = cell.kato("drill", "--lose", node["hostname"], code=1)
    assert "/drill/web waits for 2 tasks: no node has joined.\n" in words
    assert words.endswith("It is the only machine: the cell would be gone with it.\n")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("process", 2, "needs no engine that could be lost"),
        ("web", 2, "'web' is an app. Lose one of its tasks: drill_web."),
        ("nothing", 1, "There is no task, machine or engine 'nothing'. See: kato ps, kato nodes"),
        ("", 2, "lose is missing"),
    ],
)
def test_what_cannot_be_lost_is_refused(cell: Machine, name: str, code: int, words: str) -> None:
    assert words in cell.kato("drill", "--lose", name, code=code)
