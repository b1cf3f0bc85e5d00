"""A Compose project of containers behind the real balancer, in a network of its own: what breaks it, it bears."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import IMAGE, Dockerd, Relay, big, dockerd, logins, registry
from load import Tally, pressing, until_answers
from machine import SLOW, Machine, own_cell
from runtimes import alive

PROJECT = """
name: shop
x-ends-soon: &ends-soon
  image: {image}
  stop_grace_period: 0.5s
  ports: ["80"]
services:
  web:
    <<: *ends-soon
    command: sh -c "mkdir /w; echo {word} > /w/index.html; exec httpd -f -p 80 -h /w"
    depends_on: {{api: {{condition: service_healthy}}}}
    deploy: {{replicas: 2, update_config: {{order: start-first}}}}
    x-kato: {{host: shop.localhost, health: {{http: /, interval: 1s}}}}
  front:
    <<: *ends-soon
    command: sh -c "mkdir /w; httpd -p 80 -h /w; while :; do wget -qO /w/index.html http://api/; sleep 0.1; done"
    depends_on: [api]
    x-kato: {{host: front.localhost, health: {{http: /index.html, interval: 1s}}}}
  api:
    <<: *ends-soon
    command: sh -c "mkdir /w; echo $$MESOS_TASK_ID > /w/index.html; exec httpd -f -p 80 -h /w"
    healthcheck: {{test: [CMD, wget, -qO-, "http://127.0.0.1/"], interval: 1s}}
"""
APPS = {"/shop/web": 2, "/shop/front": 1, "/shop/api": 1}


@pytest.fixture(scope="module")
def machine(engine: Dockerd) -> Iterator[Machine]:
    with engine.network(), own_cell(DOCKER_HOST=engine.url) as machine:
        up(machine)
        yield machine


def up(machine: Machine, *, word: str = "one", image: str = IMAGE, code: int = 0, timeout: float = 200) -> str:
    return machine.up(PROJECT.format(word=word, image=image), code=code, timeout=timeout)


def containers(engine: Dockerd) -> set[str]:
    return set(engine.ask("ps", "--all", "--quiet", "--no-trunc").split())


def all_healthy(machine: Machine) -> bool:
    return all(machine.healthy(app) == count for app, count in APPS.items())


def test_services_are_balanced_and_find_each_other_by_name(machine: Machine) -> None:
    assert machine.site("shop.localhost") == (200, "one\n")
    (api,) = machine.tasks("/shop/api")
    machine.until(lambda: machine.site("front.localhost")[1].strip() == api["id"])


def test_again_changes_nothing(machine: Machine, engine: Dockerd) -> None:
    before = containers(engine)
    up(machine)
    assert containers(engine) == before


def test_a_killed_container_is_replaced_and_serves(machine: Machine, engine: Dockerd) -> None:
    (victim,) = machine.tasks("/shop/api")
    (pid,) = (task["pid"] for task in json.loads(machine.kato("ps", "-o", "json")) if task["id"] == victim["id"])
    os.kill(pid, signal.SIGKILL)
    machine.until(
        lambda: [task["id"] for task in machine.tasks("/shop/api")] not in ([], [victim["id"]]), 5 * SLOW
    )
    machine.until(lambda: all_healthy(machine))
    (heir,) = machine.tasks("/shop/api")
    machine.until(lambda: machine.site("front.localhost")[1].strip() == heir["id"])


def test_a_killed_cell_adopts_every_container(machine: Machine, engine: Dockerd) -> None:
    machine.until(lambda: all_healthy(machine))
    before = containers(engine)
    cell = machine.get("/v1/cell")["pid"]
    os.kill(cell, signal.SIGKILL)
    machine.until(lambda: not alive(cell))
    machine.start()
    machine.until(lambda: all_healthy(machine))
    assert containers(engine) == before


@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_upgrade_under_load_fails_no_request(machine: Machine, keep_alive: bool) -> None:
    async def press() -> Tally:
        port = int(machine.ingress.rpartition(":")[2])
        async with pressing(port, "shop.localhost", keep_alive=keep_alive) as tally:
            await asyncio.to_thread(up, machine, word=word)
            await until_answers(tally, 5, f"{word}\n")
        return tally

    word = "kept" if keep_alive else "closed"
    tally = asyncio.run(press())
    assert tally.failures == []


def test_an_image_that_cannot_be_had_stops_nothing(machine: Machine, engine: Dockerd) -> None:
    before = containers(engine)
    file = machine.root / "compose.yaml"
    file.write_text(PROJECT.format(word="three", image="localhost:1/shop:3").replace("start-first", "stop-first"))
    machine.kato("up", "-d", "--timeout", "5", str(file), code=1)
    said = "Its image localhost:1/shop:3 cannot be pulled"
    machine.until(lambda: said in machine.kato("why", "/shop/web"))
    assert containers(engine) == before
    assert "Older tasks there are not stopped before it is there" in machine.kato("why", "/shop/web")
    engine.ask("tag", IMAGE, "localhost:1/shop:3")
    machine.until(lambda: machine.site("shop.localhost") == (200, "three\n"))
    machine.until(lambda: all_healthy(machine))


def test_the_check_of_an_image_says_who_serves(machine: Machine, engine: Dockerd) -> None:
    made = engine.ask("create", IMAGE, "true")
    engine.ask("commit", "--change", "HEALTHCHECK --interval=1s CMD test -f /tmp/well", made, "kato-checked:1")
    engine.ask("rm", made)
    container = {"type": "DOCKER", "docker": {"image": "kato-checked:1"}}
    app = {"id": "/checked", "args": ["sleep", "1000"], "cpus": 0.01, "mem": 16, "container": container}
    assert machine.ask("POST", "/v2/apps", app) is not None

    def states() -> list[str]:
        return [task["state"] for task in json.loads(machine.kato("ps", "checked", "-o", "json"))]

    machine.until(lambda: "the check of its image says" in machine.kato("why", "checked"))
    assert states() == ["unhealthy"]
    machine.kato("exec", "checked", "--", "touch", "/tmp/well")
    machine.until(lambda: states() == ["healthy"])
    machine.kato("rm", "checked")


def test_a_pull_is_shown_on_its_way(machine: Machine, engine: Dockerd, tmp_path: Path) -> None:
    with registry(engine, tmp_path) as address, Relay(address, 4_000_000) as relay:
        big(engine, f"{address}/big:1")
        engine.ask(f"--config={tmp_path}", "push", f"{address}/big:1")
        engine.ask("rmi", f"{address}/big:1")
        login = tmp_path / "logins"
        login.write_bytes(logins(relay.address))
        machine.kato("secrets", "set", "shelves", str(login))
        docker = {"image": f"{relay.address}/big:1", "pullConfig": {"secret": "shelves"}}
        app = {"id": "/big", "cpus": 0.01, "mem": 16, "container": {"type": "DOCKER", "docker": docker}}
        (tmp_path / "big.json").write_text(json.dumps({**app, "secrets": {"shelves": {"source": "shelves"}}}))
        words = ["kato", "up", "-d", str(tmp_path / "big.json")]
        said = re.compile(rf"big\.1 on \S+ is starting: pulling {relay.address}/big:1, [2-4] MB of 6")
        with subprocess.Popen(words, env=machine.env, stdout=subprocess.PIPE, text=True) as command:
            try:
                machine.until(lambda: said.search(machine.kato("why", "big", code=None)) is not None, 20 * SLOW)
                relay.released.set()
                assert command.stdout is not None
                told = command.stdout.read()
            except BaseException:
                command.kill()
                raise
        assert command.returncode == 0
        shown = [line for line in told.splitlines() if "pulling" in line]
        seen = [line.split()[:3] for line in shown]
        assert seen[-1] == ["/big.1", "starting", "pulling"]
        assert seen[:-1] in ([], [["/big.1", "staging", "pulling"]])  # its status comes with the next look
        machine.kato("rm", "big")


def test_an_engine_that_comes_later_is_met_later(machine: Machine) -> None:
    with dockerd(begun=False) as engine, engine.network():
        late = Machine()
        late.env["DOCKER_HOST"] = engine.url
        try:
            up(late, code=1, timeout=3)
            assert "docker.sock is not there. Install Docker (apt-get install docker.io)" in late.kato(
                "why", "/shop/api"
            )
            engine.start()
            engine.import_busybox()
            late.until(lambda: all_healthy(late))
        finally:
            late.close()


def test_down_leaves_no_container_and_no_network(machine: Machine, engine: Dockerd) -> None:
    machine.kato("down", "--all")
    assert containers(engine) == set()
    assert engine.ask("network", "ls", "--filter=label=kato.node", "--quiet") == ""
