"""The agent on virtual time, over a runtime, a link and a probe in memory: what it does with its assignments."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import structlog

from builders import app, task
from fakes import EPOCH
from kato.drivers.runtime import Exit, Found, Launch
from kato.model.app import Container, Docker, HealthCheck
from kato.model.errors import DriverError, NotFound, Refused, StoreUnavailable, Unavailable
from kato.model.node import Node
from kato.model.task import Status, TaskState
from scenes import Scene, goal, on_virtual_time, one_task, passes

RUNNING, KILLING, STARTING = TaskState.RUNNING, TaskState.KILLING, TaskState.STARTING
FAILED, KILLED = TaskState.FAILED, TaskState.KILLED
CHECKED = app(ports=1, health_checks=(HealthCheck(delay_seconds=0, interval_seconds=1, timeout_seconds=2),))


def healths(statuses: Sequence[Status]) -> list[tuple[bool, int]]:
    return [
        (status.health[0].alive, status.health[0].consecutive_failures) for status in statuses if status.health
    ]


@on_virtual_time
async def test_a_task_is_started_and_runs() -> None:
    async with one_task(app(ports=1)) as (scene, of):
        assert scene.link.states(of.id) == [STARTING, RUNNING]

    last = scene.link.of(of.id)[-1]
    assert (last.started, last.ready, last.healthy) == (EPOCH, True, True)
    assert scene.runtime.env[of.id] == {"PORT0": "1"}
    assert scene.runtime.tasks[of.id].exit is None, "it outlives the agent"


@on_virtual_time
async def test_a_task_that_is_wished_to_stop_is_stopped_and_its_record_goes_when_it_is_forgotten() -> None:
    web = app(task_kill_grace_period_seconds=7.0)
    async with one_task(web) as (scene, of):
        scene.send((web, goal(of, "drain")))
        await passes(1)
        scene.send((web, goal(of, "stop")))
        await scene.link.until(lambda: scene.link.states(of.id)[-1].ended)
        await passes(60)
        assert scene.runtime.removed == [], "the leader has not forgotten it yet"
        scene.send()
        await passes(1)

    assert scene.link.states(of.id) == [STARTING, RUNNING, KILLING, KILLED]
    assert scene.runtime.stops == [(of.id, 7.0)]
    assert scene.runtime.removed == [of.id]


@on_virtual_time
async def test_an_end_is_reported_once_with_how() -> None:
    async with one_task() as (scene, of):
        scene.runtime.end(of.id, Exit(code=3))
        await passes(60)

    ends = [status for status in scene.link.of(of.id) if status.state.ended]
    assert [(end.state, end.exit_code, end.message) for end in ends] == [
        (FAILED, 3, "Command exited with status 3")
    ]
    assert scene.runtime.starts == [of.id], "replacing it is the leader's decision"


@on_virtual_time
async def test_a_task_that_cannot_be_started_fails_with_the_reason() -> None:
    scene, web = Scene(), app()
    docker = app("/box", container=Container(docker=Docker(image="busybox")))
    of, box = task(web), task(docker)
    async with scene.running():
        await passes(1)
        scene.runtime.broken = DriverError("no such user: nobody-here")
        scene.send((web, of), (docker, box))
        await scene.link.until(lambda: {s.task for s in scene.link.reports if s.state.ended} == {of.id, box.id})

    assert scene.link.of(of.id)[-1].state is FAILED
    assert scene.link.of(of.id)[-1].message == "no such user: nobody-here"
    assert scene.link.of(box.id)[-1].state is TaskState.ERROR
    assert "no runtime 'docker'" in scene.link.of(box.id)[-1].message


@on_virtual_time
async def test_one_slow_start_does_not_hold_up_another_task() -> None:
    scene, web = Scene(), app()
    slow, quick = task(web, 1), task(web, 2)
    async with scene.running():
        scene.runtime.takes = 30.0
        scene.send((web, slow))
        await passes(1)
        scene.runtime.takes = 0.0
        scene.send((web, slow), (web, quick))
        await passes(1)
        assert scene.link.states(quick.id)[-1] is RUNNING
        assert scene.link.states(slow.id)[-1] is STARTING


@on_virtual_time
async def test_a_broken_link_is_dialled_again_and_tasks_go_on() -> None:
    async with one_task() as (scene, of):
        scene.link.down = Unavailable("the master went away")
        scene.link.send(Unavailable("cut"))
        await passes(60)
        scene.runtime.end(of.id, Exit(signal=9))
        await passes(60)
        assert not any(status.state.ended for status in scene.link.reports)
        scene.link.down = None
        await passes(20)

    assert len(scene.link.dials) == 2
    assert scene.link.states(of.id) == [STARTING, RUNNING, FAILED]
    assert scene.link.of(of.id)[-1].message == "Command terminated with signal Killed"


@on_virtual_time
async def test_after_a_reconnection_what_is_known_is_said_again() -> None:
    async with one_task() as (scene, of):
        scene.link.reports.clear()
        scene.link.send(StoreUnavailable("the store was restored"))
        await passes(10)

    assert [status.state for status in scene.link.of(of.id)] == [RUNNING]


@on_virtual_time
async def test_only_what_a_reader_cares_for_is_reported() -> None:
    scene, of = Scene(), task(CHECKED)
    port = of.ports[0]
    async with scene.running():
        scene.send((CHECKED, of))
        await passes(2)
        scene.probe.answers[port] = 200
        await passes(600)
        scene.probe.answers[port] = 503
        await passes(2)
        scene.probe.answers[port] = 200
        await passes(600)

    seen = healths([status for status in scene.link.of(of.id) if status.state is RUNNING])
    assert seen == [(False, 0), (False, 0), (True, 0), (False, 1), (False, 2), (True, 0)]
    assert len(scene.probe.asked) > 1000


@on_virtual_time
async def test_facts_are_sent_when_they_change_without_our_own_ports() -> None:
    scene, web = Scene(), app(ports=1)
    of = task(web)
    async with scene.running():
        scene.send((web, of))
        await passes(30)
        assert scene.link.updates == []
        scene.node = msgspec.structs.replace(scene.node, taken=(of.ports[0], web.ports[0].service, 31999))
        await passes(30)
        scene.send()
        await passes(30)
        assert [each.taken for each in scene.link.updates] == [(31999,)], "ours until they are closed"
        scene.node = msgspec.structs.replace(scene.node, taken=())
        await passes(10)
        scene.node = msgspec.structs.replace(scene.node, taken=of.ports)
        await passes(10)

    assert [each.taken for each in scene.link.updates] == [(31999,), (), of.ports]


@on_virtual_time
async def test_facts_that_could_not_be_sent_are_sent_later() -> None:
    scene = Scene()
    async with scene.running():
        await passes(1)
        scene.link.down = Unavailable("no store")
        scene.node = msgspec.structs.replace(scene.node, taken=(31999,))
        await passes(30)
        scene.link.down = None
        await passes(10)

    assert [each.taken for each in scene.link.updates] == [(31999,)]


@on_virtual_time
async def test_output_comes_from_the_runtime_that_knows_the_task() -> None:
    scene = Scene()
    scene.runtime.outputs["t1"] = b"hello"
    agent = scene.agent()
    assert [piece.data async for piece in agent.output("t1", "stdout", tail=None, follow=False)] == [b"hello"]
    with pytest.raises(NotFound, match="no output of a task 't2'"):
        await anext(agent.output("t2", "stdout", tail=None, follow=False))


@on_virtual_time
async def test_a_stop_that_fails_is_tried_again() -> None:
    web = app()
    async with one_task(web) as (scene, of):
        scene.runtime.broken = DriverError("busy")
        scene.send((web, goal(of, "stop")))
        await passes(10)
        assert scene.link.states(of.id)[-1] is KILLING
        scene.runtime.broken = None
        await passes(40)

    assert scene.link.states(of.id)[-1] is KILLED


@on_virtual_time
async def test_a_removal_that_fails_is_tried_again() -> None:
    async with one_task() as (scene, of):
        scene.runtime.end(of.id, Exit(code=0))
        scene.runtime.broken = DriverError("busy")
        scene.send()
        await passes(20)
        assert of.id in scene.runtime.tasks
        scene.runtime.broken = None
        await passes(40)

    assert scene.runtime.removed == [of.id]


@on_virtual_time
async def test_an_end_that_cannot_be_watched_is_asked_for_less_and_less_and_holds_up_no_stop() -> None:
    scene, web = Scene(), app()
    of = task(web)
    wait, asked, descriptors = scene.runtime.wait, 0, False

    async def scarce(task: str) -> Exit:
        nonlocal asked
        asked += 1
        if descriptors:
            return await wait(task)
        raise DriverError("process: too many open files")

    scene.runtime.wait = scarce  # type: ignore[method-assign]
    async with scene.running():
        scene.send((web, of))
        await passes(300)
        assert asked < 20
        scene.runtime.broken = DriverError("busy")
        scene.send((web, goal(of, "stop")))
        await passes(0.1)
        scene.runtime.broken, descriptors = None, True
        await passes(1)
        assert [stop for stop, _ in scene.runtime.stops] == [of.id]
        await passes(40)

    assert scene.link.states(of.id) == [STARTING, RUNNING, KILLING, KILLED]


@on_virtual_time
async def test_a_runtime_s_surprise_fails_one_task_and_is_logged_once() -> None:
    scene, odd, web = Scene(), app("/odd", user="99999999999"), app()
    strange, of = task(odd), task(web)
    start = scene.runtime.start

    async def surprise(launch: Launch) -> Found:
        if launch.app.id == "/odd":
            raise OverflowError("int too big to convert")
        return await start(launch)

    scene.runtime.start = surprise  # type: ignore[method-assign]
    with structlog.testing.capture_logs() as logged:
        async with scene.running():
            scene.send((odd, strange), (web, of))
            await passes(60)

    assert scene.link.states(of.id) == [STARTING, RUNNING]
    assert scene.link.states(strange.id)[-1] is FAILED
    assert "OverflowError: int too big to convert" in scene.link.of(strange.id)[-1].message
    assert [each["whose"] for each in logged if each.get("exc_info")] == [strange.id]


@pytest.mark.parametrize("verb", ["stop", "wait", "remove", "found"])
@on_virtual_time
async def test_a_surprise_at_any_verb_is_waited_for_and_the_node_goes_on(verb: str) -> None:
    scene, web = Scene(), app()
    of = task(web)
    right = getattr(scene.runtime, verb)

    async def surprise(*_: object) -> Any:
        raise RuntimeError("nobody expected this")

    setattr(scene.runtime, verb, surprise)
    async with scene.running():
        await passes(10)
        scene.send((web, of))
        await passes(10)
        scene.send((web, goal(of, "stop")))
        await passes(10)
        assert (KILLED in scene.link.states(of.id)) == (verb == "remove")
        setattr(scene.runtime, verb, right)
        await passes(60)
        scene.send()
        await passes(60)

    assert scene.link.states(of.id)[-1] is KILLED
    assert scene.runtime.removed == ([] if verb == "found" else [of.id])


@on_virtual_time
async def test_facts_that_cannot_be_looked_up_stay_as_they_were() -> None:
    scene = Scene()
    agent = scene.agent()
    before, scarce = scene.node, True

    def look() -> Node:
        if scarce:
            raise OSError(24, "Too many open files", "/proc/net/tcp")
        return msgspec.structs.replace(before, taken=(31999,))

    agent._facts = look
    work = asyncio.create_task(agent.run())
    await passes(30)
    assert not work.done()
    assert scene.link.updates == []
    scarce = False
    await passes(10)
    assert [each.taken for each in scene.link.updates] == [(31999,)]
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


@on_virtual_time
async def test_a_master_that_refuses_the_node_ends_the_agent() -> None:
    scene = Scene()
    scene.link.down = Refused("node n1 is another machine's")
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(60):
            await scene.agent().run()
    assert caught.group_contains(Refused)
