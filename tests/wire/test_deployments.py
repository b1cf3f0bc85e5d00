"""`/v2/deployments`: what runs, taken back, or taken over."""

from cells import Cell

SLEEP = {"cmd": "sleep 1000", "cpus": 0.1, "mem": 32}


async def test_a_deployment_shows_its_steps(cell: Cell) -> None:
    cell.machine.idle.add("/g/db")
    group = {
        "id": "/g",
        "apps": [{**SLEEP, "id": "db"}, {**SLEEP, "id": "web", "dependencies": ["../db"]}],
    }
    made = await cell.call("POST", "/v2/groups", group)
    await cell.until(lambda: "/g/db" in cell.mirror.world().tasks)
    (shown,) = await cell.get("/v2/deployments")
    assert shown["id"] == made.deployment and shown["version"] == made.json["version"]
    assert shown["affectedApps"] == ["/g/db", "/g/web"] and shown["affectedPods"] == []
    start, first, second = shown["steps"]
    assert {action["action"] for action in start["actions"]} == {"StartApplication"}
    assert first == {"actions": [{"action": "ScaleApplication", "app": "/g/db"}]}
    assert second == {"actions": [{"action": "ScaleApplication", "app": "/g/web"}]}
    assert shown["currentStep"] == 2 and shown["totalSteps"] == 3
    assert shown["currentActions"] == [{"action": "ScaleApplication", "app": "/g/db", "readinessCheckResults": []}]


async def test_delete_takes_everything_back(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/g/old"}, {**SLEEP, "id": "/g/kept", "env": {"N": "1"}})
    kept = set(cell.mirror.world().tasks["/g/kept"])
    cell.machine.idle.update({"/g/kept", "/g/new"})
    body = {"apps": [{**SLEEP, "id": "kept", "env": {"N": "2"}}, {**SLEEP, "id": "new"}]}
    bad = await cell.call("PUT", "/v2/groups/g", body)
    await cell.until(lambda: len(cell.mirror.world().tasks["/g/kept"]) == 2)
    back = await cell.call("DELETE", f"/v2/deployments/{bad.deployment}")
    assert back.status == 200 and back.deployment != bad.deployment
    cell.machine.idle.clear()
    await cell.over(bad.deployment)
    await cell.over(back.deployment)
    apps = {app["id"]: app for app in (await cell.get("/v2/apps"))["apps"]}
    assert set(apps) == {"/g/old", "/g/kept"} and apps["/g/kept"]["env"] == {"N": "1"}
    assert set(cell.mirror.world().tasks["/g/kept"]) == kept


async def test_delete_with_force_only_ends_it(cell: Cell) -> None:
    cell.machine.idle.add("/web")
    created = await cell.call("POST", "/v2/apps", {**SLEEP, "id": "/web"})
    id = created.headers["Marathon-Deployment-Id"]
    ended = await cell.call("DELETE", f"/v2/deployments/{id}?force=true")
    assert ended.status == 202 and ended.text == ""
    await cell.over(id)
    assert await cell.get("/v2/deployments") == []
    assert (await cell.get("/v2/apps/web"))["app"]["instances"] == 1
    again = await cell.call("PUT", "/v2/apps/web", {"instances": 2})
    assert again.status == 200


async def test_force_takes_over_only_what_it_touches(cell: Cell) -> None:
    cell.machine.idle.update({"/a", "/b"})
    a = await cell.call("POST", "/v2/apps", {**SLEEP, "id": "/a"})
    b = await cell.call("POST", "/v2/apps", {**SLEEP, "id": "/b"})
    forced = await cell.call("PUT", "/v2/apps/a?force=true", {"env": {"N": "1"}})
    await cell.over(a.headers["Marathon-Deployment-Id"])
    running = {each["id"] for each in await cell.get("/v2/deployments")}
    assert running == {b.headers["Marathon-Deployment-Id"], forced.deployment}
