"""`/v2/events`: what happens, as clients of Marathon hear it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from cells import DEADLINE, Cell

from kato.api import stream
from kato.model.task import TaskState

SLEEP = {"id": "/web", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}
Event = dict[str, Any]


class Heard:
    """A client of the stream."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.lines: list[bytes] = []

    async def next(self) -> Event:
        async with asyncio.timeout(DEADLINE):
            while True:
                line = await self._content.readline()
                assert line, "the stream ended"
                self.lines.append(line)
                if line.startswith(b"data: "):
                    event: Event = msgspec.json.decode(line[6:])
                    return event

    async def until(self, kind: str) -> list[Event]:
        found = [await self.next()]
        while found[-1]["eventType"] != kind:
            found.append(await self.next())
        return found


@contextlib.asynccontextmanager
async def listening(cell: Cell, query: str = "") -> AsyncIterator[Heard]:
    headers = {"Accept": "text/event-stream"}
    async with cell.session.get(f"{cell.base}/v2/events{query}", headers=headers) as response:
        assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
        yield Heard(response.content)


async def test_a_life_of_an_app_is_told(cell: Cell) -> None:
    async with listening(cell) as heard:
        attached = await heard.next()
        assert attached["eventType"] == "event_stream_attached" and attached["remoteAddress"] == "127.0.0.1"
        assert heard.lines[0] == b"event: event_stream_attached\n"
        made = await cell.call("POST", "/v2/apps", {**SLEEP, "healthChecks": [{"protocol": "TCP"}]})
        told = await heard.until("deployment_success")
        kinds = [event["eventType"] for event in told]
        for kind in (
            "api_post_event",
            "group_change_success",
            "deployment_info",
            "instance_changed_event",
            "status_update_event",
            "health_status_changed_event",
            "instance_health_changed_event",
            "deployment_step_success",
        ):
            assert kind in kinds, kind
        assert all("timestamp" in event for event in told)
        by_kind = {event["eventType"]: event for event in told}
        assert by_kind["api_post_event"]["appDefinition"]["id"] == "/web"
        assert by_kind["deployment_success"]["id"] == made.headers["Marathon-Deployment-Id"]
        info = by_kind["deployment_info"]
        assert set(info["plan"]) == {"id", "version", "steps", "original", "target"}
        assert set(info["plan"]["target"]) == {"id", "apps", "groups", "pods", "dependencies", "version"}
        status = by_kind["status_update_event"]
        assert status["taskStatus"] == "TASK_RUNNING" and status["appId"] == "/web" and status["ports"]
        await cell.call("DELETE", "/v2/apps/web")
        told = await heard.until("deployment_success")
        assert "TASK_KILLED" in [event.get("taskStatus") for event in told]
        told += await heard.until("app_terminated_event") if "app_terminated_event" not in str(told) else []
        assert {"appId": "/web"}.items() <= next(
            event for event in told if event["eventType"] == "app_terminated_event"
        ).items()


async def test_events_are_filtered_and_plans_light(cell: Cell) -> None:
    query = "?event_type=deployment_info&event_type=deployment_success&plan-format=light"
    async with listening(cell, query) as heard:
        await cell.deploy(SLEEP)
        told = await heard.until("deployment_success")
        assert {event["eventType"] for event in told} == {"deployment_info", "deployment_success"}
        assert all(set(event["plan"]) == {"id", "version", "steps"} for event in told)
        assert told[0]["currentStep"]["actions"]


async def test_a_cancelled_deployment_has_failed(cell: Cell) -> None:
    cell.machine.idle.add("/web")
    async with listening(cell, "?event_type=deployment_failed") as heard:
        made = await cell.call("POST", "/v2/apps", SLEEP)
        id = made.headers["Marathon-Deployment-Id"]
        await cell.call("DELETE", f"/v2/deployments/{id}?force=true")
        assert (await heard.next())["id"] == id


async def test_an_unhealthy_task_is_told_of_before_it_goes(cell: Cell) -> None:
    check = {"protocol": "TCP", "maxConsecutiveFailures": 1}
    await cell.deploy({**SLEEP, "healthChecks": [check]})
    (task,) = cell.mirror.world().tasks["/web"].values()
    async with listening(cell) as heard:
        await heard.next()
        cell.machine.sick.add("/web")
        await cell.machine.say(task, TaskState.RUNNING, started=1.0)
        cell.machine.sick.clear()
        told = await heard.until("unhealthy_instance_kill_event")
        assert told[-1]["taskId"] == task.id and told[-1]["reason"]
        failed = next(event for event in told if event["eventType"] == "failed_health_check_event")
        assert failed["healthCheck"]["protocol"] == "TCP"
        changed = next(event for event in told if event["eventType"] == "health_status_changed_event")
        assert changed["alive"] is False


async def test_others_hear_who_comes_and_goes(cell: Cell) -> None:
    async with listening(cell) as heard:
        await heard.next()
        async with listening(cell, "?event_type=none"):
            assert (await heard.next())["eventType"] == "event_stream_attached"
        assert (await heard.next())["eventType"] == "event_stream_detached"


async def test_silence_is_broken_by_empty_lines(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.02)
    async with listening(cell, "?event_type=none") as heard:
        async with asyncio.timeout(DEADLINE):
            assert await heard._content.readline() == b"\n"


async def test_a_listener_that_is_too_slow_is_dropped() -> None:
    slow = stream.Listener("x", (), False)
    for _ in range(stream.MOST_QUEUED):
        slow.offer("k", b"line\n")
    assert not slow.over
    slow.offer("k", b"line\n")
    assert slow.over and [line async for line in slow.lines()] == []


async def test_streams_end_quickly_when_the_api_goes_down(cell: Cell) -> None:
    async with listening(cell) as heard:
        await heard.next()
        began = asyncio.get_running_loop().time()
        cell.running.pop().cancel()
        async with asyncio.timeout(DEADLINE):
            await heard._content.read()
        assert asyncio.get_running_loop().time() - began < 5
