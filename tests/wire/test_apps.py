"""`/v2/apps` over a real connection: the lives of apps, in Marathon's words."""

from cells import Cell, Start

from kato.model.task import TaskState
from kato.store import keys

SLEEP = {"id": "/shop/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}


async def test_an_app_is_created_listed_and_runs(cell: Cell) -> None:
    created = await cell.call("POST", "/v2/apps", {**SLEEP, "instances": 2})
    assert created.status == 201
    assert created.headers["Location"] == "/v2/apps/shop/web"
    assert created.json["deployments"] == [{"id": created.headers["Marathon-Deployment-Id"]}]
    assert created.json["version"] == created.json["versionInfo"]["lastConfigChangeAt"]
    await cell.over(created.headers["Marathon-Deployment-Id"])
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["tasksRunning"] == 2 and app["tasksStaged"] == app["tasksHealthy"] == app["tasksUnhealthy"] == 0
    assert [task["state"] for task in app["tasks"]] == ["TASK_RUNNING"] * 2
    assert app["deployments"] == []
    listed = (await cell.get("/v2/apps"))["apps"]
    assert [each["id"] for each in listed] == ["/shop/web"]
    assert "tasks" not in listed[0] and listed[0]["tasksRunning"] == 2


async def test_defaults_are_filled_in_and_the_service_port_is_written_back(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "healthChecks": [{"protocol": "HTTP", "path": "/"}]})
    app = (await cell.get("/v2/apps//shop/web/"))["app"]
    (check,) = app["healthChecks"]
    assert check["timeoutSeconds"] == 20 and check["gracePeriodSeconds"] == 300 and check["portIndex"] == 0
    assert app["upgradeStrategy"] == {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}
    assert app["labels"] == {} and app["backoffFactor"] == 1.15
    port = app["portDefinitions"][0]["port"]
    assert 10000 <= port <= 20000
    (task,) = app["tasks"]
    assert task["servicePorts"] == [port] and len(task["ports"]) == 1
    (result,) = task["healthCheckResults"]
    assert result["alive"] and result["taskId"] == task["id"] and "firstSuccess" in result
    assert app["tasksHealthy"] == 1
    strict = ("executorResources", "check", "resourceLimits", "tty", "lastTaskFailure")
    assert not [key for key in strict if key in app]


async def test_put_is_partial_unless_it_says_otherwise(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "labels": {"a": "1"}, "instances": 1})
    changed = await cell.call("PUT", "/v2/apps/shop/web", {"env": {"X": "1"}})
    assert changed.status == 200
    await cell.over(changed.deployment)
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["labels"] == {"a": "1"} and app["env"] == {"X": "1"} and app["cmd"] == "sleep 1000"
    port = app["portDefinitions"][0]["port"]
    whole = await cell.call("PUT", "/v2/apps/shop/web?partialUpdate=false", SLEEP)
    await cell.over(whole.deployment)
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["labels"] == {} and app["env"] == {}
    assert app["portDefinitions"][0]["port"] == port


async def test_put_creates_what_is_not_there_and_patch_does_not(cell: Cell) -> None:
    created = await cell.call("PUT", "/v2/apps/new", {"cmd": "sleep 1"})
    assert created.status == 201 and created.headers["Location"] == "/v2/apps/new"
    assert set(created.json) == {"version", "deploymentId"}
    assert created.headers["Marathon-Deployment-Id"] == created.deployment
    patched = await cell.call("PATCH", "/v2/apps/other", {"cmd": "sleep 1"})
    assert patched.status == 404 and patched.json == {"message": "App '/other' does not exist"}
    many = await cell.call("PATCH", "/v2/apps", [{"id": "/other", "cmd": "sleep 1"}])
    assert many.status == 404


async def test_a_wish_that_changes_nothing_makes_no_deployment(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    before = cell.mirror.revision
    again = await cell.call("PUT", "/v2/apps?partialUpdate=false", [SLEEP])
    assert again.status == 200 and again.deployment and again.json["version"]
    assert cell.mirror.revision == before
    assert await cell.get("/v2/deployments") == []


async def test_scaling_keeps_the_configuration_and_the_tasks(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    before = (await cell.get("/v2/apps/shop/web"))["app"]
    scaled = await cell.call("PUT", "/v2/apps/shop/web", {"instances": 3})
    await cell.over(scaled.deployment)
    after = (await cell.get("/v2/apps/shop/web"))["app"]
    assert after["versionInfo"]["lastConfigChangeAt"] == before["version"]
    assert after["versionInfo"]["lastScalingAt"] == after["version"] == scaled.json["version"]
    assert before["tasks"][0]["id"] in [task["id"] for task in after["tasks"]] and len(after["tasks"]) == 3


async def test_restart_exchanges_every_task(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "instances": 2})
    before = {task["id"] for task in (await cell.get("/v2/apps/shop/web/tasks"))["tasks"]}
    restarted = await cell.call("POST", "/v2/apps/shop/web/restart")
    assert restarted.status == 200
    await cell.over(restarted.deployment)
    after = {task["id"] for task in (await cell.get("/v2/apps/shop/web/tasks"))["tasks"]}
    assert len(after) == 2 and not before & after


async def test_versions_are_kept_and_gone_back_to(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "env": {"N": "1"}})
    first = (await cell.get("/v2/apps/shop/web"))["app"]["version"]
    await cell.deploy({**SLEEP, "env": {"N": "2"}})
    versions = (await cell.get("/v2/apps/shop/web/versions"))["versions"]
    assert len(versions) == 2 and versions[1] == first
    old = await cell.get(f"/v2/apps/shop/web/versions/{first}")
    assert old["env"] == {"N": "1"} and "tasksRunning" not in old
    back = await cell.call("PUT", "/v2/apps/shop/web", {"version": first})
    assert back.status == 200
    await cell.over(back.deployment)
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["env"] == {"N": "1"} and app["versionInfo"]["lastConfigChangeAt"] == first


async def test_at_most_25_versions_are_kept(cell: Cell) -> None:
    made: list[str] = []
    for n in range(28):
        changed = await cell.call("PUT", "/v2/apps/many", {"cmd": "sleep 1", "instances": 0, "env": {"N": str(n)}})
        await cell.over(changed.deployment)
        made.append(changed.json["version"])
    await cell.until(lambda: not any(cell.mirror.modified(keys.version("/many", old)) for old in made[:3]))
    assert (await cell.get("/v2/apps/many/versions"))["versions"] == made[:2:-1]


async def test_a_deleted_app_is_gone_with_its_versions(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    version = (await cell.get("/v2/apps/shop/web"))["app"]["version"]
    deleted = await cell.call("DELETE", "/v2/apps/shop/web")
    assert deleted.status == 200 and set(deleted.json) == {"version", "deploymentId"}
    await cell.over(deleted.deployment)
    assert (await cell.call("GET", "/v2/apps/shop/web")).json == {"message": "App '/shop/web' does not exist"}
    await cell.until(lambda: not cell.mirror.modified(keys.version("/shop/web", version)))


async def test_lists_are_filtered(cell: Cell) -> None:
    await cell.deploy(
        {**SLEEP, "id": "/a/web", "cmd": "java -jar x", "labels": {"tier": "front", "env": "prod"}},
        {**SLEEP, "id": "/a/db", "labels": {"tier": "back"}},
        {**SLEEP, "id": "/b/web"},
    )

    async def ids(query: str) -> list[str]:
        return sorted(each["id"] for each in (await cell.get(f"/v2/apps?{query}"))["apps"])

    assert await ids("id=web") == ["/a/web", "/b/web"]
    assert await ids("cmd=java") == ["/a/web"]
    assert await ids("label=tier") == ["/a/db", "/a/web"]
    assert await ids("label=tier==front") == ["/a/web"]
    assert await ids("label=tier,env!=prod") == []
    assert await ids("label=tier in (back, side)") == ["/a/db"]
    assert await ids("label=tier notin (back)") == ["/a/web"]
    below = await cell.get("/v2/apps/a/*")
    assert sorted(each["id"] for each in below["*"]) == ["/a/db", "/a/web"]
    unreadable = await cell.call("GET", "/v2/apps?label=%3D%3D")
    assert unreadable.status == 400 and "label selector" in unreadable.json["message"]


async def test_embeds_with_and_without_prefixes(cell: Cell) -> None:
    await cell.deploy(SLEEP)
    for word in ("apps.tasks", "app.tasks", "tasks"):
        assert len((await cell.get(f"/v2/apps?embed={word}"))["apps"][0]["tasks"]) == 1
    (app,) = (await cell.get("/v2/apps?embed=apps.taskStats&embed=apps.readiness&embed=nonsense"))["apps"]
    assert app["taskStats"]["totalSummary"]["stats"]["counts"]["running"] == 1
    assert app["taskStats"]["withLatestConfig"]["stats"]["lifeTime"]["averageSeconds"] >= 0
    assert "withOutdatedConfig" not in app["taskStats"]
    assert app["readinessCheckResults"] == []


async def test_a_failure_is_remembered(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "backoffSeconds": 100})
    (task,) = cell.mirror.world().tasks["/shop/web"].values()
    await cell.machine.say(task, TaskState.FAILED, message="it broke", exit_code=3)
    await cell.until(lambda: "/shop/web" not in cell.mirror.world().tasks)
    failure = (await cell.get("/v2/apps/shop/web"))["app"]["lastTaskFailure"]
    assert failure["taskId"] == task.id and failure["state"] == "TASK_FAILED" and "it broke" in failure["message"]
    (item,) = (await cell.get("/v2/queue"))["queue"]
    assert item["app"]["id"] == "/shop/web" and item["count"] == 1
    assert item["delay"]["overdue"] is False and 0 < item["delay"]["timeLeftSeconds"] <= 100
    assert "lastUnusedOffers" not in item
    reset = await cell.call("DELETE", "/v2/queue//shop/web/delay")
    assert reset.status == 204 and reset.text == ""
    await cell.until(lambda: "/shop/web" in cell.mirror.world().tasks)


async def test_what_has_finished_is_none_of_marathon_s_tasks(cell: Cell) -> None:
    cell.machine.idle.add("/shop/web")
    once = {**SLEEP, "portDefinitions": [{"port": 0}], "restartPolicy": {"condition": "none"}}
    created = await cell.call("POST", "/v2/apps", once)
    assert created.json["restartPolicy"] == {"condition": "none", "job": False}
    await cell.until(lambda: "/shop/web" in cell.mirror.world().tasks)
    (task,) = cell.mirror.world().tasks["/shop/web"].values()
    await cell.machine.say(task, TaskState.FINISHED, exit_code=0)
    await cell.over(created.headers["Marathon-Deployment-Id"])
    for path in ("/v2/apps/shop/web/tasks", "/v2/tasks"):
        assert (await cell.get(path))["tasks"] == []
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["tasks"] == [] and app["instances"] == 1 and app["tasksRunning"] == 0
    assert "lastTaskFailure" not in app
    assert (await cell.get("/v2/queue"))["queue"] == []
    (stands,) = (await cell.get("/v1/apps"))["apps"]
    assert (stands["state"], stands["healthy"], stands["settled"]) == ("finished", 1, True)


async def test_what_finds_no_place_is_in_the_queue_with_the_refusal(cell: Cell) -> None:
    await cell.call("POST", "/v2/apps", {"id": "/huge", "cmd": "x", "cpus": 1000})
    (item,) = (await cell.get("/v2/queue?embed=lastUnusedOffers"))["queue"]
    assert item["delay"] == {"timeLeftSeconds": 0, "overdue": True}
    summary = item["processedOffersSummary"]
    assert summary["rejectSummaryLastOffers"][0] == {"reason": "InsufficientCpus", "declined": 1, "processed": 1}
    assert item["lastUnusedOffers"] == []


async def test_tasks_are_killed_and_replaced(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "instances": 3})
    (first, *_) = (await cell.get("/v2/apps/shop/web/tasks"))["tasks"]
    killed = await cell.call("DELETE", f"/v2/apps/shop/web/tasks/{first['id']}")
    assert killed.status == 200 and killed.json["task"]["id"] == first["id"]
    await cell.until(lambda: first["id"] not in cell.mirror.world().tasks["/shop/web"])
    await cell.until(lambda: len(cell.mirror.world().tasks["/shop/web"]) == 3)
    elsewhere = await cell.call("DELETE", "/v2/apps/shop/web/tasks?host=other.example")
    assert elsewhere.json == {"tasks": []}
    every = await cell.call("DELETE", "/v2/apps/shop/web/tasks?host=one.example&wipe=True&scale=False")
    assert len(every.json["tasks"]) == 3


async def test_tasks_are_killed_and_not_replaced_with_scale(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "instances": 3})
    tasks = [task["id"] for task in (await cell.get("/v2/tasks"))["tasks"]]
    scaled = await cell.call("POST", "/v2/tasks/delete?scale=true", {"ids": tasks[:2]})
    assert scaled.status == 200
    await cell.over(scaled.deployment)
    app = (await cell.get("/v2/apps/shop/web"))["app"]
    assert app["instances"] == 1 and [task["id"] for task in app["tasks"]] == tasks[2:]
    one = await cell.call("DELETE", f"/v2/apps/shop/web/tasks/{tasks[2]}?scale=True")
    await cell.over(one.deployment)
    assert (await cell.get("/v2/apps/shop/web"))["app"]["instances"] == 0


async def test_tasks_as_text_and_by_status(cell: Cell) -> None:
    cell.machine.idle.add("/slow")
    await cell.deploy({**SLEEP, "portDefinitions": [{"port": 12345}]})
    await cell.call("POST", "/v2/apps", {**SLEEP, "id": "/slow"})
    await cell.until(lambda: "/slow" in cell.mirror.world().tasks)
    (running,) = (await cell.get("/v2/tasks?status=running"))["tasks"]
    (staging,) = (await cell.get("/v2/tasks?status[]=staging"))["tasks"]
    assert running["appId"] == "/shop/web" and staging["appId"] == "/slow"
    assert "startedAt" in running and "startedAt" not in staging
    text = await cell.call("GET", "/v2/tasks", Accept="text/plain")
    assert text.headers["Content-Type"].startswith("text/plain")
    lines = text.text.splitlines()
    assert lines[0] == f"shop_web\t12345\t127.0.0.1:{running['ports'][0]}\t"
    one = await cell.call("GET", "/v2/apps/shop/web/tasks", Accept="text/plain")
    assert one.text.splitlines() == lines[:1]


async def test_no_two_apps_get_one_service_port(cell: Cell) -> None:
    await cell.deploy(*({"id": f"/app{n}", "cmd": "sleep 1", "instances": 0, "ports": [0, 0]} for n in range(40)))
    apps = (await cell.get("/v2/apps"))["apps"]
    ports = [definition["port"] for app in apps for definition in app["portDefinitions"]]
    assert len(ports) == len(set(ports)) == 80


async def test_without_a_leader_wishes_are_taken_and_wait(start: Start) -> None:
    cell = await start(leads=False)
    created = await cell.call("POST", "/v2/apps", SLEEP)
    assert created.status == 201
    assert "X-Marathon-Leader" not in created.headers
    (running,) = await cell.get("/v2/deployments")
    assert running["affectedApps"] == ["/shop/web"] and running["currentStep"] == 1
    leader = await cell.call("GET", "/v2/leader")
    assert leader.status == 404 and leader.json == {"message": "There is no leader"}
