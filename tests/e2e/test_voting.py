"""The voting example on this machine, with the real HAProxy, Valkey and PostgreSQL: it survives what breaks it."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from load import pressing
from machine import ROOT, SLOW, Machine, counts, own_cell

APPS = ("/voting/vote", "/voting/redis", "/voting/worker", "/voting/db", "/voting/results")
BROKEN = "[python, -c, 'import time; time.sleep(1000)']"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example that tests may change."""
    folder = tmp_path_factory.mktemp("project") / "voting"
    shutil.copytree(ROOT / "examples" / "voting", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for parent in (folder, *folder.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def machine(project: Path) -> Iterator[Machine]:
    with own_cell() as machine:
        machine.kato("up", str(project), "-d")
        yield machine


def vote(machine: Machine, choice: str) -> None:
    status, _ = machine.site("vote.localhost", "/", {"vote": choice})
    assert status == 200


def all_healthy(machine: Machine, votes: int = 2) -> bool:
    return all(machine.healthy(app) == (votes if app == "/voting/vote" else 1) for app in APPS)


def test_a_vote_appears_in_the_results(machine: Machine) -> None:
    before = counts(machine)
    vote(machine, "a")
    vote(machine, "b")
    vote(machine, "a")
    wanted = {"a": before.get("a", 0) + 2, "b": before.get("b", 0) + 1}
    machine.until(lambda: counts(machine) == wanted)


def test_again_changes_nothing(machine: Machine, project: Path) -> None:
    before = {task["id"] for task in machine.tasks()}
    said = machine.kato("up", str(project), "-d")
    assert "nothing to change" in said.lower()
    assert {task["id"] for task in machine.tasks()} == before
    machine.kato("plan", str(project), code=0)


def test_a_killed_task_is_replaced_and_serves(machine: Machine) -> None:
    """All instances of an app are killed at once. They ran for less than a minute, so a launch delay of 1 s comes
    before the second that a replacement may take; `make bench` measures those that ran for longer.
    """
    for task in machine.tasks("/voting/vote"):
        os.kill(machine.pid(task["id"]), signal.SIGKILL)
    machine.until(lambda: machine.site("vote.localhost")[0] != 200)
    took = machine.until(lambda: machine.site("vote.localhost")[0] == 200)
    assert took <= 1.0 + 1.0 * SLOW
    machine.until(lambda: all_healthy(machine))
    failure = machine.get("/v2/apps/voting/vote")["app"]["lastTaskFailure"]
    assert failure["state"] == "TASK_FAILED"
    assert "Killed" in failure["message"]


def test_a_killed_database_keeps_its_votes(machine: Machine) -> None:
    before = counts(machine)
    (task,) = machine.tasks("/voting/db")
    os.kill(machine.pid(task["id"]), signal.SIGKILL)
    machine.until(lambda: machine.tasks("/voting/db")[:1] not in ([], [task]) and all_healthy(machine))
    machine.until(lambda: counts(machine) == before)


def test_a_killed_cell_adopts_every_task(machine: Machine, project: Path) -> None:
    """kill -9 of the cell: the sites go on, every task keeps its process, one that ended has its true end."""
    before = {task["id"]: machine.pid(task["id"]) for task in machine.tasks()}
    tally = counts(machine)
    os.kill(int(machine.get("/v1/cell")["pid"]), signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None)
    vote(machine, "a")
    machine.until(lambda: counts(machine).get("a") == tally["a"] + 1)
    gone = next(id for id in before if id.startswith("voting_worker"))
    os.kill(before[gone], signal.SIGTERM)

    machine.kato("up", str(project), "-d")
    machine.until(lambda: gone not in {task["id"] for task in machine.tasks()})
    machine.until(lambda: all_healthy(machine))
    after = {task["id"]: machine.pid(task["id"]) for task in machine.tasks()}
    assert {id: pid for id, pid in before.items() if id != gone}.items() <= after.items()
    assert machine.get("/v2/apps/voting/worker")["app"]["lastTaskFailure"]["taskId"] == gone
    assert counts(machine).get("a") == tally["a"] + 1


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "fresh connections"])
async def test_an_upgrade_under_load_fails_no_request(machine: Machine, keep_alive: bool) -> None:
    before = {task["id"] for task in machine.tasks("/voting/vote")}
    port = int(machine.ingress.rpartition(":")[2])
    async with pressing(port, "vote.localhost", keep_alive=keep_alive, clients=8) as tally:
        await asyncio.to_thread(machine.kato, "restart", "vote")
        await asyncio.to_thread(machine.until, lambda: not machine.get("/v2/deployments"))
    assert not before & {task["id"] for task in machine.tasks("/voting/vote")}
    assert tally.answers.total() > 100
    assert tally.failures == []


def test_scaling_to_five_and_back(machine: Machine) -> None:
    machine.kato("scale", "vote", "5")
    machine.until(lambda: machine.healthy("/voting/vote") == 5)
    machine.until(lambda: not machine.get("/v2/deployments"))
    machine.kato("scale", "vote", "2")
    machine.until(lambda: len(machine.tasks("/voting/vote")) == 2)
    machine.until(lambda: all_healthy(machine))


def test_a_bad_version_is_rolled_back_and_never_served(machine: Machine, project: Path) -> None:
    """It never gets healthy: the old version goes on serving, and is all there is after the rollback."""
    machine.kato("up", str(project), "-d")
    machine.until(lambda: not machine.get("/v2/deployments"))
    good = {task["id"] for task in machine.tasks("/voting/vote")}
    compose = project / "compose.yaml"
    text = compose.read_text()
    compose.write_text(text.replace("[python, vote.py]", BROKEN))
    try:
        said = machine.kato("up", str(project), "-d", "--timeout", "8", code=1)
    finally:
        compose.write_text(text)
    assert "/voting/vote" in said
    assert good <= {task["id"] for task in machine.tasks("/voting/vote")}
    assert machine.site("vote.localhost")[0] == 200
    assert "/voting/vote" in machine.kato("why", "vote", code=None)

    (deployment,) = machine.get("/v2/deployments")
    assert machine.ask("DELETE", f"/v2/deployments/{deployment['id']}") is not None
    machine.until(lambda: not machine.get("/v2/deployments"))
    machine.until(lambda: {task["id"] for task in machine.tasks("/voting/vote")} == good)
    machine.until(lambda: all_healthy(machine))
    machine.kato("plan", str(project), code=0)


def test_down_leaves_nothing_behind(machine: Machine) -> None:
    said = machine.kato("down", "--all")
    assert "The cell has ended." in said
    machine.until(lambda: not machine.processes())
    assert machine.get("/ping") is None
    groups = [str(each) for each in Path("/sys/fs/cgroup").glob("**/kato*/*") if "voting" in each.name]
    assert groups == []
