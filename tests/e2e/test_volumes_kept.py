"""Named volumes of a real cell: what apps keep is listed with its size, and goes by `rm` and `down -v` alone."""

import json
from typing import Any

from machine import Machine

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
