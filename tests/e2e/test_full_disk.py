"""A disk that a task has filled is freed with Káto's own commands, on a true small disk."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kato.drivers.balancer.silence import living
from machine import Machine

MOUNTS = os.geteuid() == 0
FILL = "cat /dev/zero > filling; echo full >&2; exec sleep 1000"


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A cell whose folder lies on a disk of 64 MiB, for 600 files."""
    machine = Machine()
    disk = machine.root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=600", "kato-test", str(disk)], check=True)
    machine.data = disk / "data"
    machine.env["KATO_DATA"] = str(machine.data)
    try:
        yield machine
    finally:
        try:
            machine.kato("down", "--all", code=None)
        finally:
            for pid in machine.processes():
                with suppress(ProcessLookupError):  # one goes with another
                    os.kill(pid, signal.SIGKILL)
            machine.until(lambda: not machine.processes())
            subprocess.run(["umount", str(disk)], check=True)
            machine.close()


FILES = "i=0; while touch f$i; do i=$((i+1)); done; exec sleep 1000"


def free(machine: Machine) -> int:
    """Bytes."""
    disk = os.statvfs(machine.data)
    return disk.f_bavail * disk.f_frsize


def app(id: str, cmd: str, instances: int = 1) -> dict[str, object]:
    return {"id": id, "cmd": cmd, "cpus": 0.1, "mem": 256, "instances": instances}


@pytest.mark.skipif(not MOUNTS, reason="Only root can mount a small disk: run the tests as root to see this one.")
@pytest.mark.parametrize("killed", [False, True], ids=["", "after-kill-9"])
def test_a_disk_that_a_task_filled_is_freed_by_removing_its_app(machine: Machine, killed: bool) -> None:
    cell = machine.start()
    assert machine.ask("POST", "/v2/apps", app("/calm", "exec sleep 1000", instances=3))
    machine.until(lambda: len(machine.tasks("/calm")) == 3 and machine.get("/v2/deployments") == [])
    assert machine.ask("POST", "/v2/apps", app("/filler", FILL))
    machine.until(lambda: free(machine) == 0)
    if killed:
        cell.kill()
        cell.wait()
        machine.start()
    calm = {task["id"] for task in machine.tasks("/calm")}
    assert len(calm) == 3
    said = machine.kato("scale", "calm", "4", code=None)
    assert "The disk that the cell lives on is full, so nothing more is started" in said
    machine.kato("scale", "calm", "2")
    machine.kato("rm", "filler")
    machine.until(lambda: free(machine) > 20 << 20)
    assert {task["id"] for task in machine.tasks("/calm")} < calm
    machine.kato("scale", "calm", "4")
    machine.until(lambda: (machine.data / "ballast").stat().st_size == 16 << 20)  # whole again


def free_files(machine: Machine) -> int:
    return os.statvfs(machine.data).f_favail


@pytest.mark.skipif(not MOUNTS, reason="Only root can mount a small disk: run the tests as root to see this one.")
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_disk_that_a_task_filled_with_files_is_freed_by_removing_its_app(machine: Machine, end: str) -> None:
    """The cell and its balancer start on it again, too."""
    cell = machine.start()
    assert machine.ask("POST", "/v2/apps", app("/calm", "exec sleep 1000", instances=2))
    machine.until(lambda: len(machine.tasks("/calm")) == 2 and machine.get("/v2/deployments") == [])
    assert machine.ask("POST", "/v2/apps", app("/filler", FILES))
    machine.until(lambda: free_files(machine) == 0)
    calm = {task["id"] for task in machine.tasks("/calm")}
    cell.send_signal(signal.SIGKILL if end == "killed" else signal.SIGTERM)
    cell.wait()
    for pid in living(machine.data / "balancer"):
        with suppress(ProcessLookupError):  # one goes with another
            os.kill(pid, signal.SIGKILL)
    machine.start()
    said = machine.kato("scale", "calm", "3", code=None)
    assert "The disk that the cell lives on is full, so nothing more is started" in said
    machine.kato("rm", "filler")
    machine.until(lambda: free_files(machine) > 300)
    assert {task["id"] for task in machine.tasks("/calm")} == calm
    machine.kato("scale", "calm", "3")
    machine.until(lambda: len(living(machine.data / "balancer")) == 2)
    machine.until(lambda: len([*machine.data.glob("ballast.*")]) == 16)  # all there again
