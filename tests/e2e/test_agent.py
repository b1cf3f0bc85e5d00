"""The agent with real processes, their keepers and real sockets; only the master is played by the test."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from builders import app, node, task
from fakes import FakeLink
from kato.agent import Agent
from kato.agent.probe import Prober
from kato.drivers.runtime import Options
from kato.drivers.runtime.process import Driver
from kato.model.app import App, Command, HealthCheck
from kato.model.link import Assignment, Assignments
from kato.model.task import Status, Task, TaskState
from load import free_port
from machine import SLOW
from runtimes import ending_all, until

SERVE = "exec python3 -u -m http.server --bind 127.0.0.1 $PORT0"
QUICK = HealthCheck(delay_seconds=0, interval_seconds=0.2, timeout_seconds=5)


def served(**more: Any) -> tuple[App, Task]:
    """A web server as an app and its task, on a free port."""
    web = app(ports=1, cmd=SERVE, mem=128.0, health_checks=(QUICK,), **more)
    return web, task(web, ports=(free_port(),), created=time.time())


def listing(revision: int, *wishes: tuple[App, Task]) -> Assignments:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    items = (Assignment(of, spec, {"PORT0": str(of.ports[0]), "PATH": path}) for spec, of in wishes)
    return Assignments(1, 1, revision, tuple(items))


@asynccontextmanager
async def at_work(options: Options, link: FakeLink, *, end_tasks: bool) -> AsyncIterator[Agent]:
    """An agent over the real runtime. end_tasks: clean up after it; otherwise tasks go on, as after a crash."""
    driver = await Driver.open(options)
    agent = Agent(
        node=node(),
        link=link,
        runtimes={"process": driver},
        facts=node,
        probe=Prober(),
        clock=time.time,
        folder=options.folder.parent,
    )
    work = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        work.cancel()
        await asyncio.wait([work])
        if end_tasks:
            async with ending_all(driver):
                pass
        else:
            await driver.close()
    assert work.cancelled()


def healthy(link: FakeLink, of: Task) -> bool:
    return any(status.healthy for status in link.of(of.id))


def end(link: FakeLink, of: Task) -> Status:
    """How a task was said to have ended; once only."""
    (status,) = (status for status in link.of(of.id) if status.state.ended)
    return status


async def test_a_process_becomes_healthy_and_its_kill_is_known_within_200_ms(options: Options) -> None:
    link, (web, of) = FakeLink(), served()
    async with at_work(options, link, end_tasks=True) as agent:
        link.send(listing(1, (web, of)))
        await link.until(lambda: healthy(link, of))
        (driver,) = agent._runtimes.all
        pid = (await driver.found())[of.id].pid
        assert pid is not None

        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        await link.until(lambda: link.states(of.id)[-1].ended)
        took = time.time() - killed

    assert link.states(of.id) == [TaskState.STARTING, TaskState.RUNNING, TaskState.FAILED]
    assert end(link, of).signal == signal.SIGKILL
    assert end(link, of).message == "Command terminated with signal Killed"
    assert took < 0.2 * SLOW


async def test_the_next_agent_adopts_what_runs_and_learns_what_ended(options: Options) -> None:
    first, second = FakeLink(), FakeLink()
    (web, runs), (bye, ends) = served(), served(id="/bye")
    async with at_work(options, first, end_tasks=False) as agent:
        first.send(listing(1, (web, runs), (bye, ends)))
        await first.until(lambda: healthy(first, runs) and healthy(first, ends))
        (driver,) = agent._runtimes.all
        before = await driver.found()
    pid = before[ends.id].pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)

    async with at_work(options, second, end_tasks=True) as agent:
        second.send(listing(2, (web, runs), (bye, ends)))
        await second.until(lambda: healthy(second, runs) and second.states(ends.id)[-1:] == [TaskState.FAILED])
        (driver,) = agent._runtimes.all
        after = await driver.found()

    assert after[runs.id].pid == before[runs.id].pid, "it was not restarted"
    assert [status.healthy for status in second.of(runs.id)] == [True], "its health did not flap"
    assert second.of(runs.id)[0].started == first.of(runs.id)[-1].started
    assert second.of(runs.id)[0].seq > first.of(runs.id)[-1].seq
    assert end(second, ends).signal == signal.SIGTERM


async def test_a_task_is_stopped_its_record_removed_and_its_output_kept(options: Options) -> None:
    link, (web, of) = FakeLink(), served()
    async with at_work(options, link, end_tasks=True) as agent:
        link.send(listing(1, (web, of)))
        await link.until(lambda: healthy(link, of))
        link.send(listing(2, (web, msgspec.structs.replace(of, goal="stop"))))
        await link.until(lambda: link.states(of.id)[-1].ended)
        link.send(listing(3))
        await until(lambda: not (options.folder / of.id).exists())
        said = [piece.data async for piece in agent.output(of.id, "stdout", tail=None, follow=False)]

    assert link.states(of.id)[-2:] == [TaskState.KILLING, TaskState.KILLED]
    assert b"Serving HTTP on 127.0.0.1" in b"".join(said)


async def test_a_command_check_runs_in_the_tasks_surroundings(options: Options) -> None:
    check = HealthCheck(
        protocol="COMMAND",
        command=Command(value='test -f made && test -n "$PORT0"'),
        delay_seconds=0,
        interval_seconds=0.2,
    )
    spec = app(ports=1, cmd="touch made; sleep 1000", health_checks=(check,))
    link, of = FakeLink(), task(spec, ports=(free_port(),))
    async with at_work(options, link, end_tasks=True):
        link.send(listing(1, (spec, of)))
        await link.until(lambda: healthy(link, of))

    assert not end_known(link, of)


async def test_a_command_that_does_not_exist_fails_with_the_reason(options: Options) -> None:
    spec = app(cmd=None, args=("no-such-program",), ports=1)
    link, of = FakeLink(), task(spec, ports=(free_port(),))
    async with at_work(options, link, end_tasks=True):
        link.send(listing(1, (spec, of)))
        await link.until(lambda: end_known(link, of))

    assert end(link, of).state is TaskState.FAILED
    assert "no-such-program" in end(link, of).message


def end_known(link: FakeLink, of: Task) -> bool:
    return any(status.state.ended for status in link.of(of.id))
