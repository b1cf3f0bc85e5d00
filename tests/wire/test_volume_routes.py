"""`/v1/volumes` over real connections: what a node keeps and who names it; what nobody names can go."""

from typing import Any

from cells import Cell

DATA = {"containerPath": "data", "external": {"name": "shop_data", "provider": "kato"}}
APP: dict[str, Any] = {
    "id": "/shop/db",
    "cmd": "sleep 1000",
    "cpus": 0.1,
    "container": {"type": "MESOS", "volumes": [DATA]},
}


async def test_volumes_are_listed_with_those_that_name_them_and_removed_where_nobody_does(cell: Cell) -> None:
    await cell.deploy(APP)
    found = (await cell.get("/v1/volumes"))["volumes"]
    assert found == [
        {"name": "old_data", "node": "n1", "bytes": 1 << 20, "apps": []},
        {"name": "shop_data", "node": "n1", "bytes": 1 << 20, "apps": ["/shop/db"]},
    ]
    refused = await cell.call("DELETE", "/v1/volumes/shop_data")
    assert refused.status == 409 and "is named by /shop/db. Remove that first" in refused.json["message"]
    assert (await cell.call("DELETE", "/v1/volumes/old_data")).json == {"name": "old_data"}
    assert (await cell.call("DELETE", "/v1/volumes/old_data")).status == 404
    assert cell.machine.volumes_kept == ["shop_data"]


async def test_a_volume_that_only_a_task_of_before_names_is_kept(cell: Cell) -> None:
    await cell.deploy(APP)
    cell.machine.idle.add("/shop/db")  # so that its next version comes to no task, and the former one stays
    assert (await cell.call("PUT", "/v2/apps/shop/db", {**APP, "container": None})).status == 200
    assert (await cell.call("DELETE", "/v1/volumes/shop_data")).status == 409
