"""Real tasks that want too much go in: memory, processes, files; what they get, and what is told, comes out."""

import asyncio
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import pytest

from kato.drivers.balancer.runtime_socket import RuntimeSocket
from kato.drivers.runtime import Executed, Options
from kato.drivers.runtime.folders.sandbox import identity
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.resources.cgroups import Limits, room
from kato.model.conversation import Command
from kato.model.errors import DriverError
from person import Person
from runtimes import PATIENCE, TASK, alive, as_root, cgroup, ended, ending_all, hears, launch, run, said, until

BOMB = """
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        if os.fork() == 0:
            os.setsid()
    except BlockingIOError:
        pass
"""


@contextmanager
def no_descriptors(but: int = 0) -> Iterator[None]:
    """No more files can be opened than so many."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + but, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_without_descriptors_every_verb_says_so_and_works_again_with_them(
    driver: Driver, options: Options
) -> None:
    await driver.start(launch("trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done"))
    await hears(driver, "ready")
    await driver.start(launch("sleep 1000", task="b.instance-1"))
    with no_descriptors():
        for verb in (
            driver.found,
            lambda: driver.start(launch("true", task="c.instance-1")),
            lambda: driver.wait("b.instance-1"),
            lambda: driver.stop(TASK, 10),
            lambda: driver.remove(TASK),
            lambda: driver.execute(TASK, ("true",), 10),
            lambda: said(driver),
        ):
            with pytest.raises(DriverError, match="Too many open files"):
                await verb()
    assert sorted(await driver.found()) == ["b.instance-1", TASK]
    assert await driver.execute(TASK, ("/bin/sh", "-c", "exit 7"), 10) == Executed(7)
    await driver.stop(TASK, 10)
    assert (await ended(driver)).code == 4
    await driver.remove(TASK)
    assert await said(driver) == "ready\n"


async def test_what_fails_for_want_of_descriptors_takes_none_along(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000"))
    before = open_ends()
    for terminal in (False, True):
        for but in range(9):
            with no_descriptors(but), suppress(DriverError):
                await Person(driver, Command(("true",), terminal=terminal)).leaves()
            assert open_ends() == before, (terminal, but)
    for but in (0, 1):
        with no_descriptors(but), pytest.raises(OSError):
            await RuntimeSocket(options.folder).ask("show info")
        assert open_ends() == before


def open_ends() -> list[str]:
    return os.listdir("/proc/self/fd")


async def test_descriptors_of_a_task_are_as_many_as_was_said(options: Options) -> None:
    theirs = msgspec.structs.replace(options, descriptors=300)
    async with ending_all(await Driver.open(theirs)) as driver:
        await run(driver, "ulimit -Sn; ulimit -Hn")
        soft, hard = (await said(driver)).split()
    assert soft == "300"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == ("unlimited" if most == resource.RLIM_INFINITY else str(most))


async def test_without_cgroups_it_says_what_outlives_a_killed_keeper(options: Options) -> None:
    driver = await Driver.open(options, limits=Limits({}, ()))
    await driver.close()
    assert any("clears its environment can outlive" in note for note in driver.notes)


@as_root
async def test_a_check_is_under_the_task_s_limits(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000"))
    assert await driver.execute(TASK, ("/bin/sh", "-c", "cat /proc/self/cgroup > check"), 10) == Executed(0)
    memberships = (options.folder / TASK / "sandbox" / "check").read_text().splitlines()
    assert sum(line.endswith(f"/kato/{room(options.folder)}/{TASK}") for line in memberships) >= 1


@as_root
async def test_a_fork_bomb_stays_in_its_room_and_ends(options: Options) -> None:
    async with ending_all(await Driver.open(options, limits=Limits.open(options.folder, pids=40))) as driver:
        await driver.start(launch(args=(sys.executable, "-c", BOMB), mem=256.0))
        folder = cgroup(options, "pids")
        await until(lambda: len((folder / "cgroup.procs").read_text().split()) >= 40)
        pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
        assert len(pids) <= 40
        await driver.stop(TASK, 0)
        await ended(driver)
        assert not any(map(alive, pids))


@as_root
async def test_a_memory_hog_is_ended_and_told(driver: Driver) -> None:
    hog = "import sys; data = bytearray(200 << 20); print('survived')"
    exit = await run(driver, args=(sys.executable, "-c", hog), mem=32.0)
    assert exit.oom
    assert exit.signal == signal.SIGKILL
    assert "more memory" in exit.message
    fits = await run(
        driver, args=(sys.executable, "-c", hog), mem=32.0, resource_limits={"mem": 300.0}, task="b.1"
    )
    assert (fits.code, fits.oom) == (0, False)


@as_root
def test_without_root_it_says_what_it_cannot_do(options: Options) -> None:
    """In a process of its own that gives root up."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            notes = Limits.open(options.folder).notes
            os.write(write, "\n".join(notes).encode())
            identity("root")
        except DriverError as error:
            os.write(write, f"\n{error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as heard:
        text = heard.read()
    os.waitpid(child, 0)
    *limits, user = text.splitlines()
    assert sorted(re.findall(r"(memory|cpu|pids)[, ]", "".join(limits))) == ["cpu", "memory", "pids"]
    whys = [re.fullmatch(r"No [\w, ]+ limits: (.+)\. They need root\.", each) for each in limits]
    assert all(whys) and len({why[1] for why in whys if why}) == len(limits), limits  # a cause is told once
    assert "only root can start processes of others" in user


async def test_what_a_task_uses_is_told_without_cgroups_too(options: Options) -> None:
    """By its processes: a daemon that it left behind is one, and the time of those that ended is not lost."""
    hold = "(dd if=/dev/zero bs=32M 2>/dev/null | sleep 1000 &); "
    spent = "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; echo once; while :; do :; done"
    async with ending_all(await Driver.open(options, limits=Limits({}, ()))) as driver:
        assert isinstance(driver, Driver)
        pid = (await driver.start(launch(hold + spent, mem=256.0))).pid
        assert pid is not None
        await hears(driver, "once")
        first = (await driver.stats({TASK: pid}))[TASK]
        async with asyncio.timeout(PATIENCE):
            while (last := (await driver.stats({TASK: pid}))[TASK]).cpu < first.cpu + 0.3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert first.cpu > 0.03 and 32 << 20 <= last.memory < 48 << 20
