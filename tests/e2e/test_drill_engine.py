"""A Docker engine that goes away with its containers: what the drill said happens, and all comes back with it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine import IMAGE, Dockerd, dockerd, needs_root
from machine import Machine, own_cell

APPS = f"""
name: shop
services:
  web:
    image: {IMAGE}
    command: sleep 1000
    stop_grace_period: 0.5s
    deploy: {{replicas: 2}}
  beside:
    command: sleep 1000
"""
WORKS, SILENT = ["process", "docker"], ["process"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Dockerd]:
    needs_root()
    with dockerd(live_restore=False) as engine:
        yield engine


@pytest.fixture(scope="module")
def cell(engine: Dockerd) -> Iterator[Machine]:
    with engine.network(), own_cell(DOCKER_HOST=engine.url) as machine:
        (file := machine.root / "compose.yaml").write_text(APPS)
        machine.kato("up", str(file), "-d")
        yield machine


def runtimes(cell: Machine) -> list[str]:
    return [each for each in cell.get("/v1/nodes")["nodes"][0]["runtimes"] if each in WORKS]


def states(cell: Machine) -> dict[str, str]:
    return {task["id"]: task["state"] for task in cell.tasks()}


def test_an_engine_that_goes_takes_with_it_what_the_drill_said(cell: Machine, engine: Dockerd) -> None:
    before = states(cell)
    told: Any = json.loads(cell.kato("drill", "--lose", "docker", "-o", "json", code=1))
    lost = [line for line in told["lines"] if line["task"]]
    (wait,) = [line for line in told["lines"] if not line["task"]]
    assert {line["task"] for line in lost} == {id for id in before if id.startswith("shop_web.")}
    assert all(line["fate"] == "waits" for line in told["lines"]) and len(before) == 3
    assert told["end"] == "/shop/web would not be whole."
    engine.stop()
    cell.until(lambda: runtimes(cell) == SILENT, 60)
    cell.until(lambda: states(cell).keys() == before.keys() - {line["task"] for line in lost}, 60)
    said = cell.get("/v1/why/shop/web")["sentences"]
    assert said[0] == wait["sentence"] and "waits for 2 tasks: needs the docker runtime" in said[0]
    assert said[1].startswith("Its engine is silent:")
    logs = cell.kato("logs", "shop")
    assert "What /shop/web wrote cannot be read now. Its engine is silent: " in logs
    assert f"{engine.url.removeprefix('unix://')} is not there" in logs or "does not answer" in logs
    (app,) = [each for each in cell.get("/v1/apps")["apps"] if each["id"] == "/shop/web"]
    assert app["failure"]["message"] == "Its engine went away, and it with it."
    assert "No machine has a docker engine that answers" in cell.kato("drill", "--lose", "docker", code=1)
    engine.start()
    cell.until(lambda: runtimes(cell) == WORKS, 60)
    cell.until(lambda: list(states(cell).values()) == ["TASK_RUNNING"] * 3, 60)
    cell.until(lambda: len(engine.ask("ps", "--all", "--quiet").split()) == 2, 60)
    (web,) = [each for each in cell.get("/v1/apps")["apps"] if each["id"] == "/shop/web"]
    assert web["healthy"] == 2, "no failure is counted, and nothing waits for a launch delay"
