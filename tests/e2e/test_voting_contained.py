"""The voting example once more, from the same file: in containers of a real engine, and of none."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Dockerd
from machine import ROOT, SLOW, Machine, counts, own_cell
from oci import mounts, needs_root
from python_image import IMAGE, import_python

APPS = {"/voting/vote": 2, "/voting/redis": 1, "/voting/worker": 1, "/voting/db": 1, "/voting/results": 1}
EXAMPLE = str(ROOT / "examples" / "voting")


@pytest.fixture(scope="module")
def base(engine: Dockerd) -> Dockerd:
    """An engine that has this machine's Python."""
    import_python(engine)
    return engine


@pytest.fixture(scope="module", params=["docker", "oci"])
def machine(request: pytest.FixtureRequest, base: Dockerd) -> Iterator[Machine]:
    needs_root()
    with (
        base.network(),
        own_cell(DOCKER_HOST=base.url, VOTING_RUNTIME=request.param, VOTING_BASE=IMAGE) as machine,
    ):
        machine.kato("up", "-d", EXAMPLE, timeout=300)
        yield machine


def containers(machine: Machine, engine: Dockerd) -> int:
    """Those of the engine, and those without one."""
    return len(engine.ask("ps", "--all", "--quiet").split()) + len([*machine.data.glob("oci/*/oci/state/task")])


def all_healthy(machine: Machine) -> bool:
    return all(machine.healthy(app) == count for app, count in APPS.items())


def test_votes_are_counted(machine: Machine, base: Dockerd) -> None:
    assert containers(machine, base) == 6
    for choice in "aba":
        assert machine.site("vote.localhost", "/", {"vote": choice})[0] == 200
    machine.until(lambda: counts(machine) == {"a": 2, "b": 1}, 10 * SLOW)


def test_again_changes_nothing(machine: Machine) -> None:
    before = {task["id"] for task in machine.tasks()}
    assert "Nothing to change" in machine.kato("up", "-d", EXAMPLE)
    assert {task["id"] for task in machine.tasks()} == before


def test_a_killed_database_heals_and_keeps_its_votes(machine: Machine) -> None:
    before = counts(machine)
    (victim,) = (task for task in json.loads(machine.kato("ps", "db", "-o", "json")))
    os.kill(victim["pid"], signal.SIGKILL)
    machine.until(lambda: victim["id"] not in {task["id"] for task in machine.tasks("/voting/db")}, 20 * SLOW)
    machine.until(lambda: all_healthy(machine), 20 * SLOW)
    machine.until(lambda: counts(machine) == before, 10 * SLOW)


def test_down_leaves_nothing(machine: Machine, base: Dockerd) -> None:
    machine.kato("down", "--all")
    assert containers(machine, base) == 0
    assert base.ask("network", "ls", "--filter=label=kato.node", "--quiet") == ""
    assert str(machine.data) not in mounts()
    machine.until(lambda: not machine.processes(), 10 * SLOW)
    assert [str(each) for each in Path("/sys/fs/cgroup").glob("**/kato*/*") if "voting" in each.name] == []
