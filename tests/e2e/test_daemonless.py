"""A Compose project in containers without a daemon, in a network of its own and behind the real balancer: its
services find each other by name, and what breaks it, it bears."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Room, own_room
from machine import SLOW, Machine, own_cell
from oci import IMAGE, bring, linked, mounts
from runtimes import alive

PROJECT = """
name: shop
x-ends-soon: &ends-soon
  image: {image}
  stop_grace_period: 0.5s
services:
  web:
    <<: *ends-soon
    command: sh -c "mkdir /w; echo {word} > /w/index.html; exec httpd -f -p $$PORT0 -h /w"
    network_mode: host
    ports: ["80"]
    deploy: {{replicas: 2, update_config: {{order: start-first}}}}
    x-kato: {{runtime: oci, host: shop.localhost, health: {{http: /, interval: 1s}}}}
  front:
    <<: *ends-soon
    command: >-
      sh -c "mkdir /w; httpd -p 80 -h /w;
      while :; do wget -qO /w/index.html http://$$API_HOST:$$API_PORT/; sleep 0.1; done"
    ports: ["80"]
    depends_on: [api]
    x-kato: {{runtime: oci, host: front.localhost, health: {{http: /index.html, interval: 1s}}}}
  api:
    <<: *ends-soon
    command: sh -c "mkdir /w; echo $$MESOS_TASK_ID > /w/index.html; exec httpd -f -p 80 -h /w"
    ports: ["80"]
    healthcheck: {{test: [CMD, wget, -qO-, "http://api.shop/"], interval: 1s}}
    x-kato: {{runtime: oci}}
"""
APPS = {"/shop/web": 2, "/shop/front": 1, "/shop/api": 1}


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    with own_room() as room:
        yield room


@pytest.fixture(scope="module")
def machine(room: Room) -> Iterator[Machine]:
    with own_cell() as machine:
        machine.start()
        bring(machine.data / "oci")
        up(machine)
        yield machine


def up(machine: Machine, *, word: str = "one", image: str = IMAGE, code: int = 0, timeout: float = 200) -> str:
    return machine.up(PROJECT.format(word=word, image=image), code=code, timeout=timeout)


def pids(machine: Machine) -> dict[str, int]:
    return {task["id"]: task["pid"] for task in json.loads(machine.kato("ps", "-o", "json"))}


def all_healthy(machine: Machine) -> bool:
    return all(machine.healthy(app) == count for app, count in APPS.items())


def containers(machine: Machine) -> list[Path]:
    return list((machine.data / "oci").glob("*/oci/state/task"))


def newer(machine: Machine) -> list[bool]:
    """Of each container of the shop, whether it says the second word."""
    told = (each.parents[1] / "config.json" for each in containers(machine) if "shop_web" in str(each))
    return ["echo two" in file.read_text() for file in told if file.exists()]


def test_a_project_runs_without_an_engine_and_is_balanced(machine: Machine) -> None:
    assert machine.site("shop.localhost") == (200, "one\n")
    assert len(containers(machine)) == 4


def test_services_find_each_other_by_name_on_their_network(machine: Machine, room: Room) -> None:
    (api,) = machine.tasks("/shop/api")
    machine.until(lambda: machine.site("front.localhost") == (200, f"{api['id']}\n"), 10 * SLOW)
    said = machine.kato("exec", "front", "--", "sh", "-c", "cat /etc/resolv.conf; echo $API_HOST:$API_PORT")
    assert "options ndots:0" in said and said.endswith("api:80\n")
    assert len(linked(room)) == 1


def test_an_upgrade_leaves_no_older_container(machine: Machine) -> None:
    up(machine, word="two")
    machine.until(lambda: machine.site("shop.localhost") == (200, "two\n"), 5 * SLOW)
    machine.until(lambda: newer(machine) == [True, True], 10 * SLOW)


def test_a_killed_container_is_replaced_and_serves(machine: Machine) -> None:
    victim = machine.tasks("/shop/web")[0]["id"]
    os.kill(pids(machine)[victim], signal.SIGKILL)
    machine.until(lambda: victim not in pids(machine) and machine.healthy("/shop/web") == 2, 10 * SLOW)
    assert machine.site("shop.localhost")[0] == 200


def test_a_killed_cell_adopts_every_container_with_its_network(machine: Machine, room: Room) -> None:
    machine.until(lambda: all_healthy(machine), 20 * SLOW)
    before, links, cell = pids(machine), linked(room), machine.get("/v1/cell")["pid"]
    os.kill(cell, signal.SIGKILL)
    machine.until(lambda: not alive(cell))
    machine.start()
    machine.until(lambda: all_healthy(machine), 10 * SLOW)
    assert pids(machine) == before
    assert all(map(alive, before.values()))
    assert linked(room) == links
    (api,) = machine.tasks("/shop/api")
    os.kill(before[api["id"]], signal.SIGKILL)
    machine.until(lambda: api["id"] not in pids(machine) and machine.healthy("/shop/api") == 1, 20 * SLOW)
    (heir,) = machine.tasks("/shop/api")
    machine.until(lambda: machine.site("front.localhost") == (200, f"{heir['id']}\n"), 10 * SLOW)
    assert linked(room) == links, "who came later joined the network that was there"


def test_an_image_that_cannot_be_had_stops_nothing(machine: Machine) -> None:
    before = pids(machine)
    up(machine, image="localhost:1/shop:3", code=1, timeout=3)
    said = "Its image localhost:1/shop:3 cannot be pulled"
    machine.until(lambda: said in machine.kato("why", "/shop/web"))
    assert before.items() <= pids(machine).items()


def test_down_leaves_no_container_no_network_and_no_mount(machine: Machine, room: Room) -> None:
    machine.kato("down", "--all")
    assert containers(machine) == []
    machine.until(lambda: linked(room) == [], 5 * SLOW)
    assert str(machine.data) not in mounts()
