"""`kato up` says that all is as wished only where it is: what cannot be reached, crashes or is removed, is not."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kato.drivers.balancer.silence import living
from load import free_port
from machine import Machine, own_cell

SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
SMALL = {"cpus": 0.1, "mem": 32}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_cell() as machine:
        yield machine


def written(machine: Machine, id: str, **app: Any) -> Path:
    file = machine.root / f"{id}.json"
    file.write_text(json.dumps({"id": f"/{id}", **SMALL, **app}))
    return file


def test_a_port_of_another_program_is_told(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        file = written(machine, "taken", cmd=SERVER, portDefinitions=[{"port": port}])
        said = machine.kato("up", str(file), "-d", code=1)
        assert f"service port {port} of /taken is in use by another program" in said
        assert "1 app as wished" not in said and "tcp://" not in said
        listed = machine.kato("ls")
        assert "tcp://" not in listed and f"service port {port} of /taken" in listed
        assert f"service port {port} of /taken" in machine.kato("why", "taken")
    machine.until(lambda: f"tcp://127.0.0.1:{port}" in machine.kato("ls"))
    machine.kato("up", str(file), "-d")
    machine.kato("rm", "taken")


def test_a_port_that_another_program_took_while_the_cell_was_dead_is_told() -> None:
    """What the balancer said in an earlier life of the cell is not believed."""
    with own_cell() as machine:
        file = written(machine, "taken", cmd=SERVER, portDefinitions=[{"port": free_port()}])
        machine.kato("up", str(file), "-d")
        port = machine.get("/v2/apps//taken")["app"]["portDefinitions"][0]["port"]
        os.kill(int(machine.get("/v1/cell")["pid"]), signal.SIGKILL)
        balancer = machine.data / "balancer"
        pids = living(balancer)
        assert pids
        for pid in pids:
            with suppress(ProcessLookupError):  # one goes with another
                os.kill(pid, signal.SIGKILL)
        machine.until(lambda: not {*pids} & {*machine.processes()} and machine.get("/ping") is None)
        with socket.create_server(("127.0.0.1", port)):
            said = machine.kato("up", str(file), "-d", code=1)
            assert f"service port {port} of /taken is in use by another program" in said
            assert "as wished" not in said


def test_a_host_of_another_app_is_told(machine: Machine) -> None:
    labels = {"HAPROXY_0_VHOST": "one.localhost"}
    ports = [{"port": 0}]
    machine.kato("up", str(written(machine, "first", cmd=SERVER, portDefinitions=ports, labels=labels)), "-d")
    second = written(machine, "second", cmd=SERVER, portDefinitions=ports, labels=labels)
    said = machine.kato("up", str(second), "-d", code=2)
    assert "host one.localhost with path / of /second belongs to /first" in said
    wrong = written(machine, "third", cmd=SERVER, portDefinitions=ports, labels={"HAPROXY_0_VHOST": "a b"})
    assert "'a b' is no host name" in machine.kato("up", str(wrong), "-d", code=2)
    machine.kato("rm", "first")


def test_an_ingress_of_another_program_is_told() -> None:
    machine = Machine()
    host, _, port = machine.ingress.rpartition(":")
    labels = {"HAPROXY_0_VHOST": "one.localhost"}
    file = written(machine, "site", cmd=SERVER, portDefinitions=[{"port": 0}], labels=labels)
    try:
        with socket.create_server((host, int(port))):
            said = machine.kato("up", str(file), "-d", code=1)
            assert f"the ingress {machine.ingress} is in use by another program" in said
            assert "http://" not in machine.kato("ls")
        machine.until(lambda: f"http://one.localhost:{port}/" in machine.kato("ls"))
    finally:
        machine.close()


def test_an_app_without_checks_that_crashes_at_once_is_a_failure(machine: Machine) -> None:
    file = written(machine, "crash", cmd="echo out of luck; sleep 0.1; exit 3")
    said = machine.kato("up", str(file), "-d", code=1)
    assert "1 app as wished" not in said
    assert "crash.1: " in said and "3" in said and "out of luck" in said
    machine.kato("rm", "crash")
    machine.kato("up", str(written(machine, "calm", cmd="sleep 1000")), "-d")
    machine.kato("rm", "calm")


def test_apps_that_somebody_removes_meanwhile_are_not_as_wished(machine: Machine) -> None:
    check = {"protocol": "TCP", "portIndex": 0}
    never = written(machine, "never", cmd="sleep 1000", portDefinitions=[{"port": 0}], healthChecks=[check])
    words = ["kato", "up", str(never), "-d"]
    with subprocess.Popen(words, env=machine.env, stdout=-1, stderr=subprocess.STDOUT, text=True) as up:
        try:
            machine.until(lambda: bool(machine.tasks("/never")))
            machine.kato("down", str(never))
            said, _ = up.communicate(timeout=200)
        finally:
            up.send_signal(signal.SIGKILL)
    assert up.returncode == 1
    assert "Somebody else has removed /never meanwhile." in said and "1 app as wished" not in said


def test_a_program_that_is_not_there_is_told_while_it_is_waited_for(machine: Machine) -> None:
    check = {"protocol": "TCP", "portIndex": 0}
    file = written(
        machine, "absent", args=["no-such-program"], portDefinitions=[{"port": 0}], healthChecks=[check]
    )
    words = ["kato", "up", str(file), "-d"]
    with subprocess.Popen(words, env=machine.env, stdout=-1, stderr=subprocess.STDOUT, text=True) as up:
        try:
            assert up.stdout is not None
            line = next(line for line in up.stdout if "waiting" in line and "backs off" in line)
        finally:
            up.kill()
    assert line.split(maxsplit=2)[2].startswith("no-such-program cannot be run: No such file or directory.")
    assert "no-such-program cannot be run" in machine.kato("why", "absent")
    machine.kato("rm", "absent", "--force")


def test_a_task_that_has_ended_is_read_by_its_short_name(machine: Machine) -> None:
    file = written(machine, "brief", cmd="echo first words; sleep 1000", portDefinitions=[{"port": 0}])
    machine.kato("up", str(file), "-d")
    (task,) = json.loads(machine.kato("ps", "brief", "-o", "json"))
    assert task["task"] == "brief.1" and task["pid"] == machine.pid(task["id"])
    os.kill(task["pid"], signal.SIGKILL)
    machine.until(lambda: [each["id"] for each in machine.tasks("/brief")] not in ([], [task["id"]]))
    said = machine.kato("logs", "brief.1")
    assert said.startswith("first words\n")
    assert "kato: brief.1 has ended at 20" in said and "It was ended by signal 9 (SIGKILL)." in said
    assert machine.kato("logs", task["id"]) == said
    assert "There is no app or task 'brief.9'" in machine.kato("logs", "brief.9", code=1)
    machine.kato("rm", "brief")


def test_python_is_found_though_no_environment_is_activated(tmp_path: Path) -> None:
    """The cell's own interpreter is, after all that the caller's PATH has."""
    machine = Machine()
    for name in ("sh", "sleep"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    machine.env["PATH"] = str(tmp_path)
    command = "python -c 'import sys; print(sys.executable, flush=True)'; sleep 1000"
    try:
        kato = [sys.executable, "-m", "kato"]
        words = [*kato, "up", str(written(machine, "here", cmd=command)), "-d"]
        subprocess.run(words, env=machine.env, check=True, capture_output=True, timeout=200)
        line = f"here.1 | {Path(sys.executable).parent / 'python'}\n"
        machine.until(lambda: subprocess.check_output([*kato, "logs", "here"], env=machine.env, text=True) == line)
    finally:
        machine.env["PATH"] += f":{Path(sys.executable).parent}"
        machine.close()
