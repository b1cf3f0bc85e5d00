"""`/v2/groups`: whole folders of apps."""

from cells import Cell

SLEEP = {"cmd": "sleep 1000", "cpus": 0.1, "mem": 32}
SHOP = {
    "id": "/shop",
    "dependencies": ["/base"],
    "apps": [{**SLEEP, "id": "web"}],
    "groups": [{"id": "data", "apps": [{**SLEEP, "id": "db"}], "groups": []}],
}


async def put(cell: Cell, path: str, body: object) -> None:
    answer = await cell.call("PUT", path, body)
    assert answer.status == 200, answer
    await cell.over(answer.deployment)


def ids(group: dict[str, object]) -> list[str]:
    apps = [app["id"] for app in group["apps"]]  # type: ignore[attr-defined]
    return sorted([*apps, *(id for each in group["groups"] for id in ids(each))])  # type: ignore[attr-defined]


async def test_a_group_is_created_and_shown_whole(cell: Cell) -> None:
    made = await cell.call("POST", "/v2/groups", SHOP)
    assert made.status == 201 and made.headers["Location"] == "/v2/groups/shop"
    assert set(made.json) == {"version", "deploymentId"}
    root = await cell.get("/v2/groups/")
    (shop,) = root["groups"]
    assert shop["dependencies"] == ["/base"] and shop["pods"] == [] and ids(shop) == ["/shop/data/db", "/shop/web"]
    assert set(shop) == {"id", "apps", "groups", "pods", "dependencies", "version"}
    assert root["version"] == shop["version"] == made.json["version"]
    assert "tasksRunning" not in shop["apps"][0]
    (data,) = (await cell.get("/v2/groups/shop?embed=group.groups"))["groups"]
    assert data["id"] == "/shop/data" and data["apps"] == []
    shop = await cell.get("/v2/groups/shop?embed=group.apps&embed=group.apps.counts")
    assert shop["groups"] == [] and "tasksRunning" in shop["apps"][0]
    assert len((await cell.get("/v2/groups/shop/apps"))["apps"]) == 2


async def test_put_replaces_what_it_names(cell: Cell) -> None:
    await put(cell, "/v2/groups/shop", SHOP)
    before = (await cell.get("/v2/apps/shop/web"))["app"]["version"]
    await put(cell, "/v2/groups/shop", {"apps": [{**SLEEP, "id": "web"}, {**SLEEP, "id": "more"}]})
    shop = await cell.get("/v2/groups/shop")
    assert ids(shop) == ["/shop/data/db", "/shop/more", "/shop/web"] and shop["dependencies"] == ["/base"]
    assert (await cell.get("/v2/apps/shop/web"))["app"]["version"] == before
    await put(cell, "/v2/groups/shop", {"apps": [{**SLEEP, "id": "more"}], "groups": [], "dependencies": []})
    shop = await cell.get("/v2/groups/shop")
    assert ids(shop) == ["/shop/more"] and shop["groups"] == [] and shop["dependencies"] == []


async def test_the_same_group_again_makes_no_deployment(cell: Cell) -> None:
    await put(cell, "/v2/groups/shop", SHOP)
    before = cell.mirror.revision
    again = await cell.call("PUT", "/v2/groups/shop", SHOP)
    assert again.status == 200 and again.deployment and cell.mirror.revision == before


async def test_a_group_is_deleted_with_all_in_it(cell: Cell) -> None:
    await put(cell, "/v2/groups/shop", SHOP)
    await cell.deploy({**SLEEP, "id": "/other"})
    gone = await cell.call("DELETE", "/v2/groups/shop")
    await cell.over(gone.deployment)
    assert ids(await cell.get("/v2/groups")) == ["/other"]
    assert (await cell.call("GET", "/v2/groups/shop")).status == 404
    everything = await cell.call("DELETE", "/v2/groups")
    await cell.over(everything.deployment)
    assert ids(await cell.get("/v2/groups")) == []


async def test_scale_by_and_dry_run(cell: Cell) -> None:
    await put(cell, "/v2/groups/shop", SHOP)
    dry = await cell.call("PUT", "/v2/groups/shop?dryRun=true", {"scaleBy": 2})
    assert dry.status == 200
    assert dry.json == {
        "steps": [
            {
                "actions": [
                    {"action": "ScaleApplication", "app": "/shop/data/db"},
                    {"action": "ScaleApplication", "app": "/shop/web"},
                ]
            }
        ]
    }
    assert (await cell.get("/v2/apps/shop/web"))["app"]["instances"] == 1
    await put(cell, "/v2/groups/shop", {"scaleBy": 2})
    assert (await cell.get("/v2/apps/shop/web"))["app"]["instances"] == 2
    wrong = await cell.call("PUT", "/v2/groups/shop", {"scaleBy": "x"})
    assert wrong.status == 422 and wrong.json["details"][0]["path"] == "/scaleBy"


async def test_a_group_goes_back_to_a_version(cell: Cell) -> None:
    await put(cell, "/v2/groups/shop", SHOP)
    first = (await cell.get("/v2/groups/shop"))["version"]
    changed = {**SLEEP, "id": "web", "env": {"N": "2"}}
    await put(cell, "/v2/groups/shop", {"apps": [changed, {**SLEEP, "id": "young"}]})
    versions = await cell.get("/v2/groups/shop/versions")
    assert len(versions) == 2 and versions[-1] == first
    await put(cell, "/v2/groups/shop", {"version": first})
    shop = await cell.get("/v2/groups/shop")
    assert ids(shop) == ["/shop/data/db", "/shop/web"] and shop["apps"][0]["env"] == {}
    never = "2001-01-01T00:00:00.000Z"
    answer = await cell.call("PUT", f"/v2/groups/shop/versions/{never}")
    assert answer.status == 404 and answer.json == {"message": f"Group '/shop' does not exist in version {never}"}
