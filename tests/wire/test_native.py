"""`/v1`: what Marathon has no word for; and what the cell says of itself in Marathon's words."""

import asyncio
import contextlib
import socket

import aiohttp
import msgspec
import pytest
from cells import DEADLINE, GONE, Cell

from kato.api.server import listen
from kato.model.errors import InvalidInput
from kato.model.frontend import BorderAck, shape_of
from kato.plan import frontends
from kato.store import Put, keys

SLEEP = {"cmd": "sleep 1000", "cpus": 0.1, "mem": 32}


async def test_the_cell_says_who_it_is(cell: Cell) -> None:
    said = await cell.get("/v1/cell")
    assert (
        said["id"] == "test-cell" and said["incarnation"] == 1 and said["api"] == cell.base.removeprefix("http://")
    )
    assert said["log"] == "text" and said["ship"] is None
    assert set(said) == {
        *("id", "incarnation", "version", "pid", "api", "ingress", "dns", "log", "ship", "data", "started"),
        "leader",
    }


async def test_stop_is_answered_and_then_done(cell: Cell) -> None:
    assert (await cell.call("POST", "/v1/stop")).status == 202
    async with asyncio.timeout(DEADLINE):
        await cell.stopped.wait()


async def test_apps_are_told_as_they_stand_until_they_are_gone(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/g/web", "instances": 2}, {**SLEEP, "id": "/db"})
    told = (await cell.get("/v1/apps"))["apps"]
    assert [(each["id"], each["state"], each["healthy"], each["settled"]) for each in told] == [
        ("/db", "running", 1, True),
        ("/g/web", "running", 2, True),
    ]
    (web,) = (await cell.get("/v1/apps?group=/g"))["apps"]
    assert {task["short"] for task in web["tasks"]} == {"g_web.1", "g_web.2"} and web["ports"]
    assert all(task["current"] and task["serves"] for task in web["tasks"])
    gone = await cell.call("DELETE", "/v2/apps/g/web")
    (going,) = (await cell.get("/v1/apps?group=/g"))["apps"] or [{"state": "removing"}]
    assert going["state"] == "removing"
    await cell.over(gone.deployment)
    await cell.until(lambda: "/g/web" not in cell.mirror.world().tasks)
    assert (await cell.get("/v1/apps?group=/g"))["apps"] == []


async def test_nodes_show_what_is_used(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web", "instances": 3})
    (node,) = (await cell.get("/v1/nodes"))["nodes"]
    assert node["used"] == {"cpus": 0.3, "mem": 96, "disk": 0, "gpus": 0, "tasks": 3}
    assert node["resources"]["cpus"] == 64 and node["dark"] is False and node["hostname"] == "one.example"


async def test_a_plan_says_what_would_change_and_does_nothing(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/g/web", "env": {"KEY": "old-secret"}}, {**SLEEP, "id": "/g/old"})
    before = cell.mirror.revision
    group = {
        "id": "/g",
        "apps": [
            {**SLEEP, "id": "web", "cpus": 0.2, "env": {"KEY": "new-secret"}},
            {**SLEEP, "id": "new", "instances": 2},
        ],
        "groups": [],
        "dependencies": [],
    }
    plan = await cell.call("POST", "/v1/plan", {"group": group})
    assert plan.status == 200 and cell.mirror.revision == before and "secret" not in plan.text
    changes = {each["app"]: (each["kind"], each["sentence"]) for each in plan.json["changes"]}
    assert changes == {
        "/g/new": ("create", "create /g/new with 2 tasks"),
        "/g/old": ("remove", "remove /g/old, which has 1 task"),
        "/g/web": ("update", "update /g/web: cpus 0.1 → 0.2, env.KEY changed"),
    }
    assert plan.json["actions"] and plan.json["waits"] is not None and plan.json["price_before"] is None
    same = await cell.call("POST", "/v1/plan", {"apps": [{**SLEEP, "id": "/g/old"}]})
    assert same.json["changes"] == [] and same.json["actions"] == []
    scaled = await cell.call("POST", "/v1/plan", {"apps": [{**SLEEP, "id": "/g/old", "instances": 3}]})
    assert scaled.json["changes"][0]["sentence"] == "scale /g/old: 1 → 3 tasks"
    wrong = await cell.call("POST", "/v1/plan", {"app": {}})
    assert wrong.status == 422
    huge = await cell.call("POST", "/v1/plan", {"apps": [{**SLEEP, "id": "/huge", "cpus": 1000}]})
    (wait,) = [each for each in huge.json["waits"] if each["app"] == "/huge"]
    assert "cpus" in wait["sentence"]


async def test_a_dependency_that_does_not_exist_is_taken_and_told(cell: Cell) -> None:
    front = {**SLEEP, "id": "/g/front", "dependencies": ["store"]}
    await cell.deploy({**SLEEP, "id": "/g/store"}, front)
    unmet = "/g/front depends on /g/front/store, which does not exist"
    said = f"{unmet}: it is not waited for, and STORE_HOST is not set."
    plan = await cell.call("POST", "/v1/plan", {"apps": [front]})
    assert plan.json["changes"] == [] and plan.json["warnings"] == [f"{said} Did you mean '../store'?"]
    assert said in (await cell.get("/v1/why/g/front"))["sentences"]
    mended = await cell.call("POST", "/v1/plan", {"apps": [{**front, "dependencies": ["../store"]}]})
    assert mended.json["warnings"] == []


async def test_why_names_what_is_missing(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web"})
    assert (await cell.get("/v1/why/web"))["healthy"] == 1
    await cell.call("POST", "/v2/apps", {"id": "/huge", "cmd": "x", "cpus": 1000, "instances": 2})
    said = await cell.get("/v1/why/huge")
    assert said["app"] == "/huge" and said["wished"] == 2 and said["healthy"] == 0
    assert "cpus" in said["sentences"][0] and said["wait"]["count"] == 2


async def test_why_of_an_app_that_is_being_removed_tells_what_is_left_of_it(cell: Cell) -> None:
    cell.machine.stubborn.add("/web")
    await cell.deploy({**SLEEP, "id": "/web", "taskKillGracePeriodSeconds": 1000})
    await cell.call("DELETE", "/v2/apps/web?force=true")
    await cell.until(lambda: any(each.goal == "stop" for each in cell.mirror.world().tasks["/web"].values()))
    said = await cell.get("/v1/why/web")
    assert (said["app"], said["wished"], said["healthy"]) == ("/web", 0, 0)
    assert said["sentences"][0] == "/web is being removed."
    assert said["sentences"][1].startswith("web.1 on n1 has been asked to end, and is killed in ")
    assert said["sentences"][2].startswith("the deployment of /web since ")


async def test_services_have_urls(cell: Cell) -> None:
    labels = {"HAPROXY_0_VHOST": "vote.localhost", "HAPROXY_0_PATH": "/x"}
    await cell.deploy({**SLEEP, "id": "/vote", "labels": labels}, {**SLEEP, "id": "/db"})
    services = {each["app"]: each for each in (await cell.get("/v1/services"))["services"]}
    assert services["/vote"]["urls"] == ["http://vote.localhost:8181/x"]
    assert services["/db"]["urls"] == [f"tcp://127.0.0.1:{services['/db']['port']}"]
    assert len(services["/vote"]["servers"]) == 1


async def test_what_the_balancer_cannot_serve_is_told_everywhere(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/a"}, {**SLEEP, "id": "/b"})
    found = await cell.get("/v1/services")
    assert found["problems"] == [] and found["applied"] is False  # nobody has said yet that he looked at them
    port = next(each["port"] for each in found["services"] if each["app"] == "/a")
    problem = f"service port {port} of /a is in use by another program: stop that, or choose another port."
    shape = shape_of(frontends(cell.mirror.world()).services)
    ack = BorderAck(node="n1", seq=1 << 40, problems=(problem,), shape=shape)
    await cell.store.txn([], [Put(keys.border("n1"), keys.encode(ack))])
    await cell.until(lambda: bool(cell.mirror.world().borders["n1"].problems))
    found = await cell.get("/v1/services")
    assert found["problems"] == [problem] and found["applied"] is True
    services = {each["app"]: each for each in found["services"]}
    assert services["/a"]["urls"] == [] and services["/a"]["problems"] == [problem]
    assert services["/b"]["urls"] and services["/b"]["problems"] == []
    said = await cell.get("/v1/why/a")
    assert said["problems"] == [problem] and said["sentences"][0] == problem
    assert (await cell.get("/v1/why/b"))["problems"] == []
    assert [each["problems"] for each in (await cell.get("/v1/nodes"))["nodes"]] == [[problem]]
    assert [each["problems"] for each in (await cell.get("/v1/apps"))["apps"]] == [[problem], []]


async def test_a_task_that_has_gone_is_told_while_its_output_is_kept(cell: Cell) -> None:
    kept = {"task": GONE, "short": "old.7", "started": 1.0, "ended": 2.0, "message": "It exited with code 3."}
    assert (await cell.get("/v1/ended"))["tasks"] == [kept]
    assert f"hello from {GONE}" in (await cell.call("GET", f"/v1/logs/{GONE}")).text
    assert (await cell.call("GET", "/v1/logs/old.instance-1f0c._app.8")).status == 404


async def test_output_is_streamed_as_lines(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web", "instances": 2})
    tasks = set(cell.mirror.world().tasks["/web"])
    answer = await cell.call("GET", "/v1/logs/web?tail=5")
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    lines = [msgspec.json.decode(line) for line in answer.text.splitlines()]
    assert {line["task"] for line in lines} == tasks and {line["stream"] for line in lines} == {"stdout"}
    task = sorted(tasks)[0]
    (line,) = (await cell.call("GET", f"/v1/logs/{task}?stream=stdout")).text.splitlines()
    assert msgspec.json.decode(line) == {
        "task": task,
        "stream": "stdout",
        "offset": 0,
        "time": 1.5,
        "text": f"hello from {task}, tail None\n\ufffd",
    }
    for since, found in (("1.4", 1), ("1.6", 0)):
        assert len((await cell.call("GET", f"/v1/logs/{task}?since={since}")).text.splitlines()) == found
    for wrong in ("tail=x", "stream=stdin", "since=then", "since=nan"):
        assert (await cell.call("GET", f"/v1/logs/web?{wrong}")).status == 400


async def test_output_of_an_app_follows_new_tasks(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web"})
    (first,) = cell.mirror.world().tasks["/web"]
    async with cell.session.get(f"{cell.base}/v1/logs/web?follow=true") as response, asyncio.timeout(DEADLINE):
        assert msgspec.json.decode(await response.content.readline())["task"] == first
        await cell.call("PUT", "/v2/apps/web", {"instances": 2})
        assert msgspec.json.decode(await response.content.readline())["task"] != first


async def test_output_of_a_group_is_that_of_its_apps_and_of_those_that_come(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/shop/web"})
    await cell.deploy({**SLEEP, "id": "/shopping"})
    async with cell.session.get(f"{cell.base}/v1/logs/shop?follow=true") as response, asyncio.timeout(DEADLINE):
        assert msgspec.json.decode(await response.content.readline())["task"].startswith("shop_web.")
        await cell.deploy({**SLEEP, "id": "/shop/db"})
        assert msgspec.json.decode(await response.content.readline())["task"].startswith("shop_db.")
    whole = (await cell.call("GET", "/v1/logs")).text.splitlines()
    said = {msgspec.json.decode(line)["task"].partition(".")[0] for line in whole}
    assert said == {"shop_web", "shop_db", "shopping"}


async def test_a_reader_that_leaves_early_leaves_nothing_behind(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web", "instances": 2})
    cell.machine.chatty.add("/web")
    before = working()
    for _ in range(3):
        async with cell.session.get(f"{cell.base}/v1/logs/web?follow=true") as response:
            await response.content.readline()
            assert working() > before
            response.close()
    await all_gone(before)


async def test_a_reader_whose_api_goes_down_is_let_go(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web"})
    cell.machine.chatty.add("/web")
    before = working()
    async with cell.session.get(f"{cell.base}/v1/logs/web?follow=true") as response:
        await response.content.readline()
        cell.running.pop().cancel()
        async with asyncio.timeout(DEADLINE):
            with contextlib.suppress(aiohttp.ClientPayloadError):
                await response.content.read()
    await all_gone(before)


def working() -> int:
    """How many tasks of this process read output for somebody."""
    return sum("Logs." in repr(task.get_coro()) for task in asyncio.all_tasks())


async def all_gone(before: int) -> None:
    """Returns when nobody reads output who did not before."""
    async with asyncio.timeout(DEADLINE):
        while True:
            if working() <= before:
                return
            await asyncio.sleep(0.005)


async def test_marathons_description_of_itself(cell: Cell) -> None:
    info = await cell.get("/v2/info")
    assert info["name"] == "marathon" and info["version"].startswith("1.") and info["elected"] is True
    assert info["leader"] == cell.base.removeprefix("http://") and info["frameworkId"] == "test-cell"
    assert (await cell.get("/"))["name"] == "kato"


async def test_figures_as_text_and_as_json(cell: Cell) -> None:
    await cell.deploy({**SLEEP, "id": "/web", "instances": 2})
    text = await cell.call("GET", "/metrics")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'kato_tasks{state="TASK_RUNNING"} 2.0' in text.text and "# TYPE kato_apps gauge" in text.text
    assert 'kato_http_requests_total{method="PUT",status="200"} 1.0' in text.text
    assert 'kato_task_cpu_seconds_total{app="/web",node="n1",task="web.1"} 1.5' in text.text
    assert 'kato_task_memory_bytes{app="/web",node="n1",task="web.2"} 1.048576e+06' in text.text
    figures = await cell.get("/metrics", Accept="application/json")
    assert figures["gauges"]["kato_apps"] == {"value": 1.0}
    assert figures["counters"]["kato_http_requests_total.PUT.200"] == {"count": 1.0}


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match=f"cannot listen on {address}: Address already in use.*--api"):
            listen(address)


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's delay (40 ms an answer) off only for sockets that are named as TCP."""
    with listen("127.0.0.1:0") as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_every_answer_ends_its_line(cell: Cell) -> None:
    for path in ("/v1/cell", "/v1/apps", "/v2/apps", "/v2/deployments", "/v2/apps/nobody"):
        assert (await cell.call("GET", path)).text.endswith("}\n" if path != "/v2/deployments" else "]\n")
