"""A cell's backup, taken while it runs and is written to, and put back: the real thing."""

import os
import threading
from pathlib import Path

from kato.store import backup
from kato.store.mirror import Mirror
from machine import Machine

APP = {"cmd": "sleep 1000", "cpus": 0.1, "mem": 16, "env": {"PASSWORD": "in-the-backup"}}


def test_a_backup_is_put_back_and_the_tasks_that_it_knows_go_on(machine: Machine) -> None:
    file = machine.root / "cell.backup"
    machine.start()
    first = machine.deploy(APP | {"id": "/first"})
    said = machine.kato("backup", str(file))
    assert "at revision" in said and "Secrets of its apps are in it" in said and "volumes is not" in said
    assert oct(file.stat().st_mode & 0o777) == "0o600" and b"in-the-backup" in file.read_bytes()
    (second,) = machine.deploy(APP | {"id": "/second"})
    pid = machine.pid(second)
    refused = machine.kato("restore", str(file), code=1)
    assert refused.startswith(f"kato: Another cell lives in {machine.data}. Stop it first")
    machine.stop()
    said = machine.kato("restore", str(file))
    assert "in incarnation 2. Start it: kato serve" in said
    machine.start()
    assert machine.get("/v1/cell")["incarnation"] == 2
    machine.until(lambda: not Path(f"/proc/{pid}").exists())
    assert machine.running("/first") == first and not machine.tasks("/second")
    machine.deploy(APP | {"id": "/third"})


def test_a_backup_is_put_back_into_an_empty_folder(machine: Machine) -> None:
    file = machine.root / "cell.backup"
    machine.start()
    (old,) = machine.deploy(APP | {"id": "/web"})
    id = machine.get("/v1/cell")["id"]
    machine.kato("backup", str(file))
    pid = machine.pid(old)
    machine.stop()
    empty = machine.root / "empty"
    machine.kato("--data", str(empty), "restore", str(file))
    machine.env["KATO_DATA"] = str(empty)
    machine.start()
    cell = machine.get("/v1/cell")
    assert (cell["id"], cell["data"], cell["incarnation"]) == (id, str(empty), 2)
    machine.until(lambda: len(machine.running("/web") - {old}) == 1)
    assert machine.get("/v2/apps//web")["app"]["env"] == APP["env"]
    os.kill(pid, 9)  # it is of a folder that no cell lives in


def test_a_backup_is_of_one_moment_while_the_cell_is_written_to(machine: Machine) -> None:
    """Two apps change together all the time; in no backup does one of them have what the other has not."""
    machine.start()
    over = threading.Event()

    def change() -> None:
        for n in range(10_000):
            pair = [APP | {"id": f"/{name}", "instances": 0, "labels": {"n": str(n)}} for name in "ab"]
            machine.ask("PUT", "/v2/apps?force=true", pair)
            if over.is_set():
                return

    writer = threading.Thread(target=change)
    writer.start()
    try:
        machine.until(lambda: bool((machine.get("/v2/apps") or {"apps": []})["apps"]))
        seen = set()
        for each in range(5):
            file = machine.root / f"{each}.backup"
            machine.kato("backup", str(file))
            mirror = Mirror()
            mirror.reset(backup.read(file.read_bytes(), "b").standing)
            apps = mirror.world().apps
            assert apps["/a"].labels == apps["/b"].labels
            seen.add(apps["/a"].labels["n"])
        assert len(seen) == 5, "it was written to meanwhile"
    finally:
        over.set()
        writer.join()


def test_what_is_no_backup_is_neither_put_back_nor_replaced(machine: Machine) -> None:
    letters = machine.root / "letters.txt"
    letters.write_text("mine")
    said = machine.kato("restore", str(letters), code=1)
    assert said == f"kato: {letters} is no backup of a cell. Name a file that kato backup wrote.\n"
    assert "No such file" in machine.kato("restore", "nosuch", code=2)
    assert "is there and is no whole backup" in machine.kato("backup", str(letters), code=2)
    assert "No cell answers" in machine.kato("backup", "new", code=1)
    assert letters.read_text() == "mine" and not machine.data.exists() and not (machine.root / "new").exists()
