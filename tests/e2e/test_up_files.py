"""A Compose project of several files on a real cell: what is merged, included and chosen runs."""

import json
from pathlib import Path

from machine import Machine

COMPOSE = """
name: shop
include: [store/compose.yaml]
services:
  web:
    extends: {file: common.yaml, service: program}
    environment: [COLOUR=red]
    depends_on: [store]
  debug:
    extends: {file: common.yaml, service: program}
    profiles: [debug]
"""
COMMON = """
services:
  program:
    command: env > $$NAME.env; exec sleep 1000
    environment: {NAME: "${COMPOSE_PROJECT_NAME}"}
"""
PRODUCTION = "services: {web: {environment: {COLOUR: blue}, scale: 2}, debug: {environment: {NAME: it}}}"


def written(machine: Machine) -> None:
    (machine.root / "store").mkdir()
    files = {
        "compose.yaml": COMPOSE,
        "common.yaml": COMMON,
        "store/compose.yaml": "services: {store: {command: 'pwd > where; exec sleep 1000'}}",
        "production.yaml": PRODUCTION,
    }
    for name, text in files.items():
        (machine.root / name).write_text(text)


def running(machine: Machine) -> dict[str, str]:
    return {row["app"]: row["tasks"] for row in json.loads(machine.kato("ls", "-o", "json"))}


def test_what_is_merged_included_and_chosen_runs(machine: Machine) -> None:
    written(machine)
    machine.kato("up", "-d", "-f", "compose.yaml", "-f", "production.yaml")
    assert running(machine) == {"/shop/web": "2/2", "/shop/store": "1/1"}
    assert "COLOUR=blue" in (machine.root / "shop.env").read_text().splitlines()
    assert Path((machine.root / "store" / "where").read_text().strip()).name == "store"

    debug = ("-f", "compose.yaml", "-f", "production.yaml", "--service", "debug")
    machine.kato("up", "-d", *debug)
    assert running(machine) == {"/shop/web": "2/2", "/shop/store": "1/1", "/shop/debug": "1/1"}
    assert (machine.root / "it.env").exists()
    assert "remove /shop/debug" in machine.kato("plan", "-f", "compose.yaml", "-f", "production.yaml", code=1)
    machine.kato("down", *debug)
    assert set(running(machine)) == {"/shop/web", "/shop/store"}

    machine.kato("down", "-f", "compose.yaml")
    assert running(machine) == {}
