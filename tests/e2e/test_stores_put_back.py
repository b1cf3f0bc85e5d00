"""A store that was moved away or put back from a copy, under a folder that lives on: its word counts at once."""

import json
import shutil
from pathlib import Path

from machine import Machine

APP = {"id": "/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 16, "instances": 1}


def test_a_store_moved_away_begins_an_empty_cell_that_is_obeyed(machine: Machine) -> None:
    machine.start()
    (old,) = machine.deploy(APP | {"id": "/old"})
    pid = machine.pid(old)
    machine.stop()
    for part in machine.data.glob("cell.sqlite*"):
        part.rename(machine.root / part.name)
    machine.start()
    machine.deploy(APP | {"id": "/new"})
    machine.until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_store_put_back_is_obeyed_in_a_new_incarnation(machine: Machine) -> None:
    machine.start()
    first = machine.deploy(APP | {"id": "/first"})
    machine.stop()
    copies = copy_store(machine)
    machine.start()
    (second,) = machine.deploy(APP | {"id": "/second"})
    pid = machine.pid(second)
    machine.stop()
    put_back(machine, copies)
    machine.start()
    assert machine.get("/v1/cell")["incarnation"] == 2
    machine.until(lambda: not Path(f"/proc/{pid}").exists())
    assert machine.running("/first") == first
    machine.deploy(APP | {"id": "/third"})


def copy_store(machine: Machine) -> list[Path]:
    """Of a cell that has stopped."""
    return [Path(shutil.copy2(part, machine.root)) for part in machine.data.glob("cell.sqlite*")]


def put_back(machine: Machine, copies: list[Path]) -> None:
    for part in machine.data.glob("cell.sqlite*"):
        part.unlink()
    for copy in copies:
        copy.rename(machine.data / copy.name)


def launched(machine: Machine) -> dict[str, str]:
    """Every task that ever was started here and what its keeper wrote of that, kept sandboxes included."""
    folder = machine.data / "tasks"
    records = [*folder.glob("*/started"), *folder.glob(".kept/*/started")]
    return {each.parent.name: each.read_text() for each in records}


def replace(machine: Machine, id: str) -> str:
    """Ends the task of an app; the one that comes after it."""
    (before,) = machine.running(id)
    machine.ask("DELETE", f"/v2/apps{id}/tasks")
    machine.until(lambda: len(machine.running(id) - {before}) == 1)
    machine.until(lambda: (machine.data / "tasks" / ".kept" / before).exists())
    (after,) = machine.running(id)
    return after


def test_a_store_put_back_gives_no_task_the_id_of_another(machine: Machine) -> None:
    """The copy says that one task runs and that no other was; since then two more came, and two have ended."""
    machine.start()
    (first,) = machine.deploy(APP | {"id": "/web"})
    machine.stop()
    copies = copy_store(machine)
    machine.start()
    second, third = replace(machine, "/web"), replace(machine, "/web")
    before = launched(machine)
    assert before.keys() == {first, second, third}
    machine.stop()
    put_back(machine, copies)
    machine.start()
    machine.until(lambda: bool(machine.running("/web") - before.keys()))
    replace(machine, "/web")
    after = launched(machine)
    assert len(after) == len(before) + 2
    assert {task: after[task] for task in before} == before, "a task was started again"


def test_a_folder_with_a_new_node_id_forgets_the_former_node(machine: Machine) -> None:
    machine.start()
    machine.deploy(APP | {"id": "/web"})
    before = json.loads((machine.data / "node.json").read_text())["id"]
    machine.stop()
    (machine.data / "node.json").unlink()
    machine.start()
    machine.until(lambda: [each["id"] for each in machine.get("/v1/nodes")["nodes"]] not in ([], [before]))
    (node,) = machine.get("/v1/nodes")["nodes"]
    assert node["id"] != before
    machine.until(lambda: {task["slaveId"] for task in machine.tasks("/web")} == {node["id"]})
    machine.until(lambda: len(machine.running("/web")) == 1)
