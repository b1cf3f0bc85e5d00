"""Named volumes of a real cell: what apps keep is listed with its size, and goes by `rm` and `down -v` alone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine import IMAGE, Dockerd, dockerd, needs_root
from kato.drivers.runtime.folders.sandbox import delete
from machine import Machine, own_cell

SHOP = """
name: shop
services:
  db:
    command: head -c 3000000 /dev/zero > $$MESOS_SANDBOX/data/file; exec sleep 1000
    volumes: ["data:/data", "shared:/shared"]
  web: {command: exec sleep 1000, volumes: ["logs:/logs"]}
volumes:
  data:
  logs:
  shared: {external: true}
"""
OTHER = """
name: other
services: {web: {command: exec sleep 1000, volumes: ["logs:/logs"]}}
volumes: {logs: {external: true, name: shop_logs}}
"""


def kept(machine: Machine) -> dict[str, Any]:
    return {each["name"]: each for each in json.loads(machine.kato("volumes", "-o", "json"))}


def test_volumes_are_listed_and_go_where_no_app_names_them(machine: Machine) -> None:
    machine.up(SHOP)
    machine.until(lambda: kept(machine)["shop_data"]["bytes"] >= 3_000_000)
    found = kept(machine)
    assert {name: each["apps"] for name, each in found.items()} == {
        "shared": ["/shop/db"], "shop_data": ["/shop/db"], "shop_logs": ["/shop/web"]
    }  # fmt: skip
    assert "The volume shop_data is named by /shop/db." in machine.kato("volumes", "rm", "shop_data", code=1)
    (machine.root / "other.yaml").write_text(OTHER)
    machine.kato("up", "-d", "other.yaml")
    said = machine.kato("down", "-v", "compose.yaml")
    assert "The volume shop_data is removed." in said
    assert "The volume shop_logs stays. The volume shop_logs is named by /other/web." in said
    assert not (machine.data / "volumes/shop_data").exists()
    assert kept(machine).keys() == {"shared", "shop_logs"}, "an external one is not the project's"
    assert "has a volume shop_data. See: kato volumes" in machine.kato("volumes", "rm", "shop_data", code=1)
    machine.kato("down", "--all", "-v")
    assert [*(machine.data / "volumes").iterdir()] == []


BOOK = f"""
name: book
services:
  db:
    image: {IMAGE}
    command: sh -c "echo line >> /data/lines; trap 'exit 0' TERM; sleep 1000 & wait"
    stop_grace_period: 1s
    volumes: ["data:/data"]
volumes: {{data: }}
"""


@pytest.fixture(scope="module")
def own_engine() -> Iterator[Dockerd]:
    """An engine that is started anew while its containers run (live-restore)."""
    needs_root()
    with dockerd() as engine:
        yield engine


def test_what_an_engine_holds_stays_and_is_said(own_engine: Dockerd) -> None:
    with own_engine.network(), own_cell(DOCKER_HOST=own_engine.url) as machine:
        machine.up(BOOK)
        own_engine.stop()
        own_engine.start()
        (held,) = own_engine.ask("volume", "ls", "--quiet").split()
        said = machine.kato("down", "-v", "compose.yaml")
        assert "The volume book_data stays. The engine holds the volume book_data" in said, said
        assert "volume has active mounts" in said, said
        said = machine.kato("volumes", "rm", "book_data", code=1)
        assert "volume has active mounts" in said and "restart the engine while none" in said, said
        assert (machine.data / "volumes/book_data/lines").read_text() == "line\n"
        machine.up(BOOK)  # its mount stays from here on
        machine.kato("down", "compose.yaml")
        delete(machine.data / "volumes/book_data")  # as if somebody did not know
        machine.up(BOOK, code=1, timeout=3)
        machine.until(lambda: "the engine holds the volume book_data as it was" in machine.kato("why", "/book/db"))
        machine.kato("down", "compose.yaml")
        own_engine.stop()
        own_engine.start()
        machine.up(BOOK)
        assert "The volume book_data is removed." in machine.kato("down", "-v", "compose.yaml")
        assert held not in own_engine.ask("volume", "ls", "--quiet")


def test_a_container_of_somebody_else_keeps_a_volume_and_uninstall_says_so(own_engine: Dockerd) -> None:
    with own_engine.network(), own_cell(DOCKER_HOST=own_engine.url) as machine:
        machine.up(BOOK)
        (held,) = own_engine.ask("volume", "ls", "--quiet").split()
        other = own_engine.ask("create", f"--volume={held}:/theirs", IMAGE, "true")
        machine.kato("down", "compose.yaml")
        said = machine.kato("volumes", "rm", "book_data", code=1)
        assert f"docker ps --all --filter volume={held}" in said, said
        assert (machine.data / "volumes/book_data/lines").read_text() == "line\n"
        said = machine.kato("uninstall", "--purge", "--yes")
        assert "The engine holds the volume book_data" in said and "The rest is removed." in said, said
        own_engine.ask("rm", other)
        own_engine.ask("volume", "rm", held)
