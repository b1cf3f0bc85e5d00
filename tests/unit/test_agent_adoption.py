"""The agent after another agent, on virtual time: what it adopts, what it remembers, what it does not repeat."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from builders import app, node, task
from fakes import EPOCH, FakeRuntime, run
from kato.agent.runtimes import Runtimes
from kato.drivers.runtime import Exit, Found, Launch
from kato.model.app import App, HealthCheck, ReadinessCheck
from kato.model.errors import DriverError, DriverMissing
from kato.model.link import Assignments
from kato.model.task import TaskState
from scenes import Scene, goal, listing, on_virtual_time, passes

RUNNING, KILLING, STARTING = TaskState.RUNNING, TaskState.KILLING, TaskState.STARTING
FAILED, KILLED = TaskState.FAILED, TaskState.KILLED
CHECKED = app(ports=1, health_checks=(HealthCheck(delay_seconds=0, interval_seconds=1, timeout_seconds=2),))


def test_sequence_numbers_rise_with_each_status_and_over_agents() -> None:
    async def scenario() -> None:
        scene, web = Scene(), app()
        of = task(web)
        for _ in range(2):
            async with scene.running():
                scene.send((web, of))
                await passes(1)
        scene.runtime.end(of.id, Exit(code=0))
        async with scene.running():
            scene.send((web, of))
            await passes(1)

        seqs = [status.seq for status in scene.link.of(of.id)]
        assert seqs == sorted(set(seqs))
        assert scene.link.states(of.id) == [STARTING, RUNNING, TaskState.FINISHED]

    run(scenario())


def test_an_orphan_is_stopped_and_removed_and_never_reported() -> None:
    async def scenario() -> None:
        scene, web = Scene(), app()
        orphan, dead = task(web, 1), task(web, 2)
        for each in (orphan, dead):
            await scene.runtime.start(Launch(task=each.id, app=web, env={}))
        scene.runtime.end(dead.id, Exit(code=1))
        async with scene.running():
            await passes(10)
            assert scene.runtime.stops == [], "nothing is stopped before a complete list"
            scene.send()
            await passes(10)

        assert scene.runtime.stops == [(orphan.id, 3.0)]
        assert sorted(scene.runtime.removed) == sorted([orphan.id, dead.id])
        assert scene.link.reports == []

    run(scenario())


@pytest.mark.parametrize("outdated", [listing(4), listing(9, epoch=0)], ids=["revision", "epoch"])
def test_an_older_list_is_refused_also_by_the_next_agent(tmp_path: Path, outdated: Assignments) -> None:
    async def scenario() -> None:
        scene, web = Scene(tmp_path), app()
        of = task(web)
        for _ in range(2):
            async with scene.running():
                scene.link.send(listing(5, (web, of)), outdated)
                await passes(10)
        async with scene.running():
            scene.link.send(outdated)
            await passes(10)
            assert scene.runtime.stops == []
            scene.link.send(listing(6))
            await passes(10)
        assert scene.runtime.removed == [of.id]

    run(scenario())


def test_another_cell_is_obeyed_though_its_lists_seem_older_and_its_orphans_end(tmp_path: Path) -> None:
    """A store that was emptied, or another one put in its place: its revisions begin at the beginning."""

    async def scenario() -> None:
        scene, web = Scene(tmp_path), app()
        old, new = task(web, 1), task(web, 2)
        async with scene.running():
            scene.link.send(listing(5000, (web, old), epoch=4000))
            await passes(1)
        async with scene.running():
            scene.link.send(listing(9, (web, new), epoch=3, cell="another"))
            await passes(10)
            scene.link.send(listing(8, epoch=3, cell="another"))
            await passes(10)

        assert scene.runtime.starts == [old.id, new.id]
        assert scene.runtime.removed == [old.id], "the second cell's own order holds"

    run(scenario())


def test_a_forgotten_task_is_not_started_again_by_an_older_list(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene, web = Scene(tmp_path), app()
        of = task(web)
        async with scene.running():
            scene.link.send(listing(5, (web, of)))
            await passes(1)
            scene.link.send(listing(6))
            await passes(10)
        async with scene.running():
            scene.link.send(listing(5, (web, of)))
            await passes(10)
        assert scene.runtime.starts == [of.id]

    run(scenario())


def test_an_adopted_healthy_task_does_not_flap() -> None:
    async def scenario() -> None:
        scene, of = Scene(), task(CHECKED)
        scene.probe.answers[of.ports[0]] = 200
        async with scene.running():
            scene.send((CHECKED, of))
            await scene.link.until(lambda: any(status.healthy for status in scene.link.of(of.id)))
        await passes(100)
        scene.link.reports.clear()
        async with scene.running():
            scene.send((CHECKED, of))
            await passes(30)

        assert scene.runtime.starts == [of.id]
        assert [(status.state, status.healthy) for status in scene.link.of(of.id)] == [(RUNNING, True)]
        assert scene.link.of(of.id)[0].started == EPOCH

    run(scenario())


def test_an_adopted_task_that_is_ill_is_said_to_be_after_one_timeout() -> None:
    async def scenario() -> None:
        scene, spec = Scene(), _graceless(CHECKED)
        of = task(spec)
        await scene.runtime.start(Launch(task=of.id, app=spec, env={}))
        scene.probe.answers[of.ports[0]] = None
        await passes(100)
        async with scene.running():
            scene.send((spec, of))
            await passes(1.9)
            assert scene.link.reports == []
            await passes(0.2)

        assert [(status.state, status.healthy) for status in scene.link.of(of.id)] == [(RUNNING, False)]
        assert scene.link.of(of.id)[0].health[0].cause == "no answer within 2 s"

    run(scenario())


def test_a_task_that_ended_while_no_agent_looked_has_its_true_end() -> None:
    async def scenario() -> None:
        scene, of = Scene(), task(CHECKED)
        await scene.runtime.start(Launch(task=of.id, app=CHECKED, env={}))
        scene.runtime.end(of.id, Exit(code=3, ended=EPOCH + 5))
        await passes(100)
        async with scene.running():
            scene.send((CHECKED, of))
            await passes(1)

        (only,) = scene.link.of(of.id)
        assert (only.state, only.exit_code, only.started, only.ended) == (FAILED, 3, EPOCH, EPOCH + 5)

    run(scenario())


def test_a_task_that_was_being_stopped_when_the_agent_ended_is_stopped_by_the_next() -> None:
    async def scenario() -> None:
        scene, of = Scene(), task(CHECKED)
        await scene.runtime.start(Launch(task=of.id, app=CHECKED, env={}))
        async with scene.running():
            scene.send((CHECKED, goal(of, "stop")))
            await passes(1)

        assert scene.link.states(of.id) == [KILLING, KILLED]
        assert scene.probe.asked == [], "a task that is being stopped is not asked how it is"

    run(scenario())


def test_a_list_that_cannot_be_remembered_is_not_obeyed_until_it_can(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene, web = Scene(tmp_path / "data"), app()
        (tmp_path / "data").mkdir()
        of = task(web)
        async with scene.running():
            (tmp_path / "data").rename(tmp_path / "gone")
            scene.send((web, of))
            await passes(10)
            assert scene.runtime.starts == []
            (tmp_path / "gone").rename(tmp_path / "data")
            scene.send((web, of))
            await passes(10)

        assert scene.runtime.starts == [of.id]
        assert len(scene.link.dials) == 2

    run(scenario())


def test_readiness_is_latched_for_life_also_for_the_next_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        spec = app(ports=1, readiness_checks=(ReadinessCheck(interval_seconds=5),))
        of = task(spec)
        scene.probe.answers[of.ports[0]] = 503
        async with scene.running():
            scene.send((spec, of))
            await passes(20)
            assert not scene.link.of(of.id)[-1].ready
            scene.probe.answers[of.ports[0]] = 200
            await passes(20)
            assert scene.link.of(of.id)[-1].ready
            scene.probe.answers[of.ports[0]] = 503
            await passes(60)
            assert scene.link.of(of.id)[-1].ready
        scene.link.reports.clear()
        async with scene.running():
            scene.send((spec, of))
            await passes(60)
            assert [status.ready for status in scene.link.of(of.id)] == [True]

    run(scenario())


def test_readiness_that_cannot_be_kept_is_not_said_until_it_can(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path / "data")
        (tmp_path / "data").mkdir()
        spec = app(ports=1, readiness_checks=(ReadinessCheck(interval_seconds=5),))
        of = task(spec)
        async with scene.running():
            scene.send((spec, of))
            await passes(20)
            (tmp_path / "data").rename(tmp_path / "gone")
            scene.probe.answers[of.ports[0]] = 200
            await passes(60)
            assert not scene.link.of(of.id)[-1].ready
            (tmp_path / "gone").rename(tmp_path / "data")
            await passes(10)
            assert scene.link.of(of.id)[-1].ready

    run(scenario())


class Silent(FakeRuntime):
    """It tells what it runs only once `answered` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    async def found(self) -> Mapping[str, Found]:
        await self.answered.wait()
        return await super().found()


def test_a_runtime_that_keeps_silent_is_named() -> None:
    async def scenario() -> None:
        silent, bare = Silent(), node()
        runtimes, met = Runtimes({"process": silent}), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            await runtimes.meet(group, lambda runtime, found: met.set())
            (note,) = runtimes.facts(bare).notes
            assert note == "process: It has not told within 1 s what it runs. Until then its tasks are left alone."
            silent.answered.set()
            await met.wait()
            assert runtimes.facts(bare).notes == ()

    run(scenario())


def test_a_runtime_that_does_not_answer_is_asked_until_it_does() -> None:
    async def scenario() -> None:
        scene, web = Scene(), app()
        of = task(web)
        await scene.runtime.start(Launch(task=of.id, app=web, env={}))
        scene.runtime.broken = DriverError("the engine is starting")
        async with scene.running():
            scene.send((web, of))
            await passes(30)
            assert scene.link.states(of.id) == []
            (dialled,) = scene.link.dials
            assert (dialled.runtimes, dialled.notes) == ((), ("process: the engine is starting",))
            scene.runtime.broken = None
            await passes(10)

        assert scene.link.states(of.id) == [RUNNING]
        assert [(node.runtimes, node.notes) for node in scene.link.updates] == [(("process",), ())]
        assert scene.runtime.starts == [of.id]

    run(scenario())


def _graceless(of: App) -> App:
    checks = tuple(msgspec.structs.replace(check, grace_period_seconds=0) for check in of.health_checks)
    return msgspec.structs.replace(of, health_checks=checks)


@on_virtual_time
async def test_a_runtime_that_is_not_there_delays_no_other() -> None:
    scene = Scene()
    missing = FakeRuntime()
    missing.broken = DriverMissing("There is no engine here.")
    scene.runtimes = {"process": scene.runtime, "docker": missing}
    async with scene.running():
        await passes(0.01)
        (dialled,) = scene.link.dials
        assert (dialled.runtimes, dialled.notes) == (("process",), ("docker: There is no engine here.",))


class Carried(FakeRuntime):
    """Its engine falls silent, and answers again, as a test says."""

    silence: str | None = None

    def hear(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def tell(self, silence: str | None) -> None:
        self.silence = silence
        self._changed()


@on_virtual_time
async def test_a_runtime_whose_engine_is_silent_is_none_at_once_and_its_tasks_are_left_alone() -> None:
    scene, web = Scene(), app()
    of, engine = task(web), Carried()
    scene.runtimes = {"process": engine}
    async with scene.running():
        scene.send((web, of))
        await scene.link.until(lambda: scene.link.states(of.id)[-1:] == [RUNNING])
        engine.tell("It went away.")
        await passes(0.01)
        engine.tell(None)
        await passes(0.01)
    known = [(node.runtimes, node.powers, node.notes) for node in scene.link.updates]
    silent = ((), (), ("process: Its engine is silent: It went away.",))
    assert known == [silent, (("process",), ("exec",), ())]
    assert scene.link.states(of.id)[-1] == RUNNING and not engine.stops
