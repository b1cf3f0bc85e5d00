"""A store that was moved away or put back from a copy, under a folder that lives on: its word counts at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import Machine

APP = {"id": "/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 16, "instances": 1}


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        yield machine
    finally:
        machine.close()


def stop(machine: Machine) -> None:
    machine.ask("POST", "/v1/stop")
    machine.until(lambda: machine.get("/ping") is None, 10)


def running(machine: Machine, app: str) -> set[str]:
    return {task["id"] for task in machine.tasks(app) if task["state"] == "TASK_RUNNING"}


def deploy(machine: Machine, id: str) -> set[str]:
    assert machine.ask("PUT", f"/v2/apps{id}", APP | {"id": id})
    machine.until(lambda: len(running(machine, id)) == 1 and not machine.get("/v2/deployments"), 10)
    return running(machine, id)


def test_a_store_moved_away_begins_an_empty_cell_that_is_obeyed(machine: Machine) -> None:
    machine.start()
    (old,) = deploy(machine, "/old")
    pid = machine.pid(old)
    stop(machine)
    for part in machine.data.glob("cell.sqlite*"):
        part.rename(machine.root / part.name)
    machine.start()
    deploy(machine, "/new")
    machine.until(lambda: not Path(f"/proc/{pid}").exists(), 15)


def test_a_store_put_back_is_obeyed_in_a_new_incarnation(machine: Machine) -> None:
    machine.start()
    first = deploy(machine, "/first")
    stop(machine)
    copies = [shutil.copy2(part, machine.root) for part in machine.data.glob("cell.sqlite*")]
    machine.start()
    (second,) = deploy(machine, "/second")
    pid = machine.pid(second)
    stop(machine)
    for part in machine.data.glob("cell.sqlite*"):
        part.unlink()
    for copy in map(Path, copies):
        copy.rename(machine.data / copy.name)
    machine.start()
    assert machine.get("/v1/cell")["incarnation"] == 2
    machine.until(lambda: not Path(f"/proc/{pid}").exists(), 15)
    assert running(machine, "/first") == first
    deploy(machine, "/third")


def test_a_folder_with_a_new_node_id_forgets_the_former_node(machine: Machine) -> None:
    machine.start()
    deploy(machine, "/web")
    before = json.loads((machine.data / "node.json").read_text())["id"]
    stop(machine)
    (machine.data / "node.json").unlink()
    machine.start()
    machine.until(lambda: [each["id"] for each in machine.get("/v1/nodes")["nodes"]] not in ([], [before]), 15)
    (node,) = machine.get("/v1/nodes")["nodes"]
    assert node["id"] != before
    machine.until(lambda: {task["slaveId"] for task in machine.tasks("/web")} == {node["id"]}, 15)
    machine.until(lambda: len(running(machine, "/web")) == 1, 15)
