"""`kato plan` of a cell that does not answer: its store is read and left as it is."""

import json
import os
import signal
from pathlib import Path

from kato.folder import held
from load import free_ports
from machine import Machine


def written(machine: Machine, **more: object) -> str:
    file = machine.root / "calm.json"
    file.write_text(json.dumps({"id": "/calm", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32, **more}))
    return str(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_a_cell_that_was_killed_is_planned_for_and_left_as_it_is(machine: Machine) -> None:
    machine.kato("up", written(machine), "-d")
    pid = machine.get("/v1/cell")["pid"]
    os.kill(pid, signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None and not held(machine.data))
    before = contents(machine.data)
    assert before["cell.sqlite-wal"]  # what was written last is in the journal alone
    said = machine.kato("plan", written(machine), code=0)
    assert "Nothing would change." in said and f"The cell in {machine.data} has ended" in said
    assert "scale /calm: 1 → 3 tasks" in machine.kato("plan", written(machine, instances=3), code=1)
    assert contents(machine.data) == before
    assert machine.get("/ping") is None


def test_a_free_port_is_the_same_one_whether_the_cell_runs_or_not(machine: Machine) -> None:
    machine.kato("up", written(machine, portDefinitions=[]), "-d")
    pid = machine.get("/v1/cell")["pid"]
    asked = written(machine, portDefinitions=[{"port": 0}])
    by_the_cell = json.loads(machine.kato("plan", asked, "-o", "json", code=1))["changes"]
    assert "portDefinitions" in by_the_cell[0]["sentence"] and '"port":1' in by_the_cell[0]["sentence"]
    os.kill(pid, signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None and not held(machine.data))
    said = machine.kato("plan", asked, "-o", "json", code=1)
    assert json.loads(said[: said.index("kato: ")])["changes"] == by_the_cell


def test_a_cell_that_answers_elsewhere_is_not_guessed_about(machine: Machine) -> None:
    machine.kato("up", written(machine), "-d")
    elsewhere = f"127.0.0.1:{free_ports(1)[0]}"
    said = machine.kato("plan", written(machine), "--api", elsewhere, code=2)
    remedy = "Name its address: --api, KATO_API."
    assert said == f"kato: A cell runs in {machine.data} and does not answer at {elsewhere}. {remedy}\n"


def test_up_tells_a_dependency_that_does_not_exist_and_why_says_it_again(machine: Machine) -> None:
    said = "/calm depends on /ghost, which does not exist: it is not waited for, and GHOST_HOST is not set."
    assert f"kato: {said}" in machine.kato("up", written(machine, dependencies=["/ghost"]), "-d")
    assert said in machine.kato("why", "calm")
