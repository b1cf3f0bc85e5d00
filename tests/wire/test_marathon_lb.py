"""marathon-lb's requests as its real script sent them to a cell, and what it reads of the answers."""

import asyncio
import json

from cells import DEADLINE, Cell

APPS = "/v2/apps?embed=apps.tasks"
EVENTS = (
    "/v2/events?plan-format=light&event_type=api_post_event&event_type=health_status_changed_event"
    "&event_type=status_update_event"
)
WEB = {
    "id": "/web",
    "cmd": "serve",
    "instances": 2,
    "labels": {"HAPROXY_GROUP": "external"},
    "healthChecks": [{"protocol": "HTTP"}],
}


async def test_what_it_makes_a_configuration_of_is_in_the_apps(cell: Cell) -> None:
    await cell.deploy(WEB, {"id": "/bare", "cmd": "sleep 1", "instances": 0})
    apps = {app["id"]: app for app in (await cell.get(APPS))["apps"]}
    assert (apps["/bare"]["labels"], apps["/bare"]["tasks"]) == ({}, [])
    [check] = apps["/web"]["healthChecks"]
    filled = ("gracePeriodSeconds", "intervalSeconds", "timeoutSeconds", "maxConsecutiveFailures", "portIndex")
    assert [check[word] for word in filled] == [300, 60, 20, 3, 0], "it knows no defaults of its own"
    tasks = apps["/web"]["tasks"]
    assert len({(task["host"], task["ports"][0]) for task in tasks}) == 2
    for task in tasks:
        assert task["state"] == "TASK_RUNNING"
        assert [result["alive"] for result in task["healthCheckResults"]] == [True]


async def test_what_makes_it_ask_anew_comes_as_lines_that_it_understands(cell: Cell) -> None:
    heard: list[str] = []
    headers = {"Cache-Control": "no-cache", "Accept": "text/event-stream"}
    async with asyncio.timeout(DEADLINE), cell.session.get(cell.base + EVENTS, headers=headers) as stream:
        assert stream.status == 200
        await cell.deploy(WEB)
        async for line in stream.content:
            if line.startswith(b"data: "):
                event = json.loads(line.removeprefix(b"data: "))
                heard.append(event["eventType"])
                assert event["timestamp"]
            if heard.count("health_status_changed_event") == 2 and heard.count("status_update_event") == 2:
                break
    assert heard[0] == "api_post_event"
    assert set(heard) == {"api_post_event", "status_update_event", "health_status_changed_event"}
