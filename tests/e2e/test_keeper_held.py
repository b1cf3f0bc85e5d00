"""Tasks that hold their keepers, with real processes: they end all the same, and nothing of them is left."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.keepers.keeper import spawn, urge
from kato.drivers.runtime.keepers.record import Record, Started, is_stopped
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.resources.cgroups import Limits
from runtimes import PATIENCE, TASK, alive, ended, ending_all, hears, launch, until


@pytest.fixture(params=["cgroups", "no cgroups"])
async def driver(request: pytest.FixtureRequest, options: Options) -> AsyncIterator[Driver]:
    """A driver as the machine permits, and one as on a machine that permits no cgroups; both in a hurry."""
    limits = None if request.param == "cgroups" else Limits({}, ())
    driver = await Driver.open(options, limits=limits, overdue=0.1)
    async with ending_all(driver):
        yield driver


HELD = """#!/bin/sh
sh -c 'echo "{\\"pid\\":1,\\"start\\":1,\\"keeper\\":$$,\\"keeper_start\\":1,\\"boot\\":\\"b\\",\\"time\\":1}" > $0
kill -STOP $$' "$2/started" &
"""
"""A keeper that is stopped between its record and its word."""


def started(options: Options) -> Started:
    start = Record(options.folder / TASK).started()
    assert start is not None
    return start


@pytest.mark.parametrize(
    "hold",
    [
        "kill -STOP $PPID; kill -STOP $$",
        "trap '' TERM; while :; do kill -STOP $PPID; done",
        "trap '' TERM; (while :; do kill -STOP $PPID; done)& while :; do kill -STOP $PPID; done",
    ],
)
async def test_a_task_that_stops_its_keeper_ends_all_the_same(driver: Driver, options: Options, hold: str) -> None:
    """Also where it does so before the keeper has told of its start."""
    async with asyncio.timeout(PATIENCE):
        await driver.start(launch(hold))
    start = started(options)
    await until(lambda: is_stopped(start.keeper))
    await driver.stop(TASK, 0.1)
    assert (await ended(driver)).code is None
    assert not alive(start.pid)
    assert not alive(start.keeper)


async def test_a_keeper_that_is_kept_from_its_word_has_started_its_task(tmp_path: Path) -> None:
    program, record = tmp_path / "keeper", Record(tmp_path / TASK)
    program.write_text(HELD)
    program.chmod(0o700)
    record.folder.mkdir()
    async with asyncio.timeout(PATIENCE):
        start = await asyncio.to_thread(spawn, program, record)
    assert start == record.started()
    os.kill(start.keeper, signal.SIGKILL)


async def test_a_task_that_takes_its_keeper_s_control_away_ends_all_the_same(
    driver: Driver, options: Options
) -> None:
    await driver.start(launch("sleep 1000"))
    (options.folder / TASK / "control").unlink()
    await driver.stop(TASK, 0.1)
    assert (await ended(driver)).signal == signal.SIGTERM


async def test_only_a_stopped_keeper_is_urged(driver: Driver, options: Options) -> None:
    await driver.start(launch("setsid sleep 1000 & echo $!; exec sleep 1000"))
    daemon, start, record = int(await hears(driver, "\n")), started(options), Record(options.folder / TASK)
    assert not urge(record, signal.SIGKILL)
    os.kill(start.keeper, signal.SIGSTOP)
    await until(lambda: is_stopped(start.keeper))
    assert urge(record, signal.SIGKILL)
    assert "Nobody knows" in (await ended(driver)).message
    assert not alive(start.pid)
    assert not alive(daemon)
    assert not urge(record, signal.SIGKILL)
