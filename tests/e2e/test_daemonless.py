"""A Compose project in containers without a daemon, behind the real balancer: what breaks it, it bears."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import Machine
from oci import IMAGE, bring, mounts, needs_root
from runtimes import alive

PROJECT = """
name: shop
services:
  web:
    image: {image}
    command: sh -c "mkdir /w; echo {word} > /w/index.html; exec httpd -f -p $$PORT0 -h /w"
    stop_grace_period: 0.5s
    ports: ["80"]
    deploy: {{replicas: 2, update_config: {{order: start-first}}}}
    x-kato: {{runtime: oci, host: shop.localhost, health: {{http: /, interval: 1s}}}}
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    needs_root()
    machine = Machine()
    try:
        machine.start()
        bring(machine.data / "oci")
        up(machine)
        yield machine
    finally:
        machine.close()


def up(machine: Machine, *, word: str = "one", image: str = IMAGE, code: int = 0, timeout: float = 60) -> str:
    (machine.root / "compose.yaml").write_text(PROJECT.format(word=word, image=image))
    return machine.kato("up", "-d", "--timeout", str(timeout), str(machine.root / "compose.yaml"), code=code)


def pids(machine: Machine) -> dict[str, int]:
    return {task["id"]: task["pid"] for task in json.loads(machine.kato("ps", "-o", "json"))}


def containers(machine: Machine) -> list[Path]:
    return list((machine.data / "oci").glob("*/oci/state/task"))


def newer(machine: Machine) -> list[bool]:
    """Of each container, whether it says the second word."""
    told = (each.parents[1] / "config.json" for each in containers(machine))
    return ["echo two" in file.read_text() for file in told if file.exists()]


def test_a_project_runs_without_an_engine_and_is_balanced(machine: Machine) -> None:
    assert machine.site("shop.localhost") == (200, "one\n")
    assert len(containers(machine)) == 2


def test_an_upgrade_leaves_no_older_container(machine: Machine) -> None:
    up(machine, word="two")
    machine.until(lambda: machine.site("shop.localhost") == (200, "two\n"))
    machine.until(lambda: newer(machine) == [True, True])


def test_a_killed_container_is_replaced_and_serves(machine: Machine) -> None:
    victim, pid = next(iter(pids(machine).items()))
    os.kill(pid, signal.SIGKILL)
    machine.until(lambda: victim not in pids(machine) and machine.healthy("/shop/web") == 2)
    assert machine.site("shop.localhost")[0] == 200


def test_a_killed_cell_adopts_every_container(machine: Machine) -> None:
    before, cell = pids(machine), machine.get("/v1/cell")["pid"]
    os.kill(cell, signal.SIGKILL)
    machine.until(lambda: not alive(cell))
    machine.start()
    machine.until(lambda: machine.healthy("/shop/web") == 2)
    assert pids(machine) == before
    assert all(map(alive, before.values()))


def test_an_image_that_cannot_be_had_stops_nothing(machine: Machine) -> None:
    before = pids(machine)
    up(machine, image="localhost:1/shop:3", code=1, timeout=3)
    words = "Its image localhost:1/shop:3 cannot be pulled"
    machine.until(lambda: words in machine.kato("why", "/shop/web"))
    assert before.items() <= pids(machine).items()


def test_down_leaves_no_container_and_no_mount(machine: Machine) -> None:
    machine.kato("down", "--all")
    assert containers(machine) == []
    assert str(machine.data) not in mounts()
