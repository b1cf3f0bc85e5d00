"""Records that cannot be read, with real processes: what is left of that task is ended, no other is concerned."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.keepers.record import Record, is_stopped
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.resources.cgroups import Limits
from machine import Machine
from runtimes import PATIENCE, TASK, alive, as_root, ending_all, hears, launch, run, started, until

OTHER = "web.instance-2"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: None,
    "garbage": lambda file: file.write_bytes(b"{\0\0\0"),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "endless": lambda file: file.symlink_to("/dev/zero"),
}


def damage(options: Options, how: str = "gone") -> Record:
    """The record of the task, without its start."""
    record = Record(options.folder / TASK)
    (record.folder / "started").unlink()
    DAMAGES[how](record.folder / "started")
    return record


async def opened(options: Options, limits: Limits | None = None) -> Driver:
    return await Driver.open(options, limits=limits, overdue=0.1)


@pytest.fixture(params=["cgroups", "no cgroups"])
async def pids(request: pytest.FixtureRequest, options: Options) -> AsyncIterator[list[int]]:
    """Of a task, its daemon and its keeper; another task runs beside it, and the cell has gone."""
    driver = await opened(options, None if request.param == "cgroups" else Limits({}, ()))
    await driver.start(launch("setsid sleep 1000 & echo $!; wait"))
    await driver.start(launch("exec sleep 1000", task=OTHER))
    daemon, start = int(await hears(driver, "\n")), started(options)
    await driver.close()
    yield [start.pid, daemon, start.keeper]


async def only_the_other_is_found(options: Options, record: Record) -> None:
    async with ending_all(await opened(options)) as driver:
        async with asyncio.timeout(PATIENCE):
            found = await driver.found()
        assert {task: each.exit for task, each in found.items()} == {OTHER: None}
        assert not record.exists
        assert (await run(driver, "exit 8")).code == 8


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_record_concerns_its_own_task_only(pids: list[int], options: Options, how: str) -> None:
    await only_the_other_is_found(options, damage(options, how))
    await until(lambda: not any(map(alive, pids)))


async def test_a_damaged_lock_concerns_its_own_task_only(pids: list[int], options: Options) -> None:
    lock = options.folder / TASK / "lock"
    lock.unlink()
    lock.symlink_to("lock")
    async with ending_all(await opened(options)) as driver:
        async with asyncio.timeout(PATIENCE):
            found = await driver.found()
        assert found[OTHER].exit is None and found[TASK].exit is not None
        await until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("how", ["a folder", "a pipe", "endless"])
async def test_output_that_is_no_file_holds_nobody_up(options: Options, how: str) -> None:
    async with ending_all(await opened(options)) as driver:
        await driver.start(launch("echo well; exec sleep 1000"))
        await hears(driver, "well")
        for file in (options.folder / TASK).glob("stdout.*"):
            file.unlink()
            DAMAGES[how](file)
        async with asyncio.timeout(PATIENCE):
            assert [piece async for piece in driver.output(TASK, "stdout", tail=None, follow=False)] == []
            assert [piece async for piece in driver.output(TASK, "stdout", tail=3, follow=False)] == []


async def test_what_a_killed_keeper_left_beside_a_damaged_record_is_ended(
    pids: list[int], options: Options
) -> None:
    task, daemon, keeper = pids
    os.kill(keeper, signal.SIGKILL)
    await until(lambda: not alive(keeper) and not alive(task))
    assert alive(daemon)
    await only_the_other_is_found(options, damage(options))
    assert not alive(daemon)


async def test_a_stopped_keeper_with_a_damaged_record_is_ended(pids: list[int], options: Options) -> None:
    os.kill(pids[-1], signal.SIGSTOP)
    await until(lambda: is_stopped(pids[-1]))
    await only_the_other_is_found(options, damage(options))
    await until(lambda: not any(map(alive, pids)))


@as_root
async def test_a_daemon_that_hides_does_not_keep_the_other_tasks(options: Options) -> None:
    driver = await opened(options)
    await driver.start(launch("exec sleep 1000", task=OTHER))
    await driver.start(launch("env -i setsid sleep 1000 & echo $!; exec sleep 1000"))
    daemon, keeper = int(await hears(driver, "\n")), started(options).keeper
    await driver.close()
    os.kill(keeper, signal.SIGKILL)
    record = damage(options)
    await until(lambda: not record.locked())
    await only_the_other_is_found(options, record)
    assert not alive(daemon)


async def test_what_cannot_be_taken_away_concerns_its_own_task_only(pids: list[int], options: Options) -> None:
    """Its control is a folder, which no one unlinks as a file."""
    os.kill(pids[-1], signal.SIGKILL)
    record = Record(options.folder / TASK)
    await until(lambda: not record.locked())
    record.control.unlink()
    record.control.mkdir()
    (options.folder / "stray").write_text("no task's")
    driver = await opened(options)
    try:
        async with asyncio.timeout(PATIENCE):
            found = await driver.found()
        assert {task: each.exit for task, each in found.items()} == {OTHER: None, TASK: None}
    finally:
        record.control.rmdir()
        async with ending_all(driver):
            pass


async def test_a_task_that_takes_its_record_s_start_is_removed_whole(options: Options) -> None:
    driver = await opened(options)
    async with ending_all(driver):
        assert (await run(driver, "rm ../started")).code == 0
        await driver.remove(TASK)
        assert not (options.folder / TASK).exists()


def test_a_cell_heals_and_removes_beside_a_task_that_takes_its_record_s_start(machine: Machine) -> None:
    cell = machine.start()
    small = {"cpus": 0.01, "mem": 32}
    assert machine.ask("PUT", "/v2/apps/calm", {"cmd": "exec sleep 1000", **small})
    assert machine.ask("PUT", "/v2/apps/odd", {"cmd": "rm ../started; exec sleep 1000", **small})
    records = machine.data / "tasks"
    machine.until(lambda: bool(machine.tasks("/calm")) and any(records.glob("odd.*")))
    (odd,), (calm,) = records.glob("odd.*"), machine.tasks("/calm")
    machine.until(lambda: (odd / "stdout.0").exists() and not (odd / "started").exists())
    cell.kill()
    cell.wait()
    machine.start()
    os.kill(machine.pid(calm["id"]), signal.SIGKILL)
    machine.until(lambda: [each["id"] for each in machine.tasks("/calm")] not in ([], [calm["id"]]))
    machine.kato("rm", "odd")
    machine.until(lambda: not odd.exists())
