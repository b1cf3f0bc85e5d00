"""Keepers with real processes: the cell is killed, a keeper is killed, a task is stopped; the truth comes out."""

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kato.drivers.runtime import Executed, Options
from kato.drivers.runtime.keepers.keeper import KEEPER, until_gone
from kato.drivers.runtime.keepers.record import Record, Started, is_ending, start_time
from kato.drivers.runtime.process import Driver
from kato.model.errors import DriverError
from runtimes import (
    TASK,
    alive,
    as_root,
    cgroup,
    command,
    ended,
    ending_all,
    folders,
    hears,
    launch,
    run,
    said,
    started,
    until,
)

CELL = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
from kato.drivers.runtime import Options
from kato.drivers.runtime.process import Driver
from runtimes import launch

async def cell():
    driver = await Driver.open(Options(folder=Path({folder!r}), volumes=Path({volumes!r})))
    for n, cmd in enumerate({commands!r}):
        await driver.start(launch(cmd, task=f"web.instance-{{n}}"))
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(cell())
"""


def killed_cell(options: Options, *commands: str) -> None:
    """A cell in a process of its own that starts these and is killed with SIGKILL."""
    program = CELL.format(
        path=sys.path, folder=str(options.folder), volumes=str(options.volumes), commands=commands
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as cell:
        assert cell.stdout is not None
        assert cell.stdout.readline() == b"started\n"
        cell.kill()


async def test_a_killed_cell_finds_every_task_again(options: Options) -> None:
    killed_cell(
        options,
        "sleep 1000",
        "exit 3",
        "exit 137",
        "kill -9 $$",
        "kill -TERM $$",
        f"until test -e {options.volumes}/now; do sleep 0.01; done; exit 6",
    )
    before = {task: started(options, task) for task in os.listdir(options.folder) if not task.startswith(".")}
    (options.volumes / "now").touch()
    await until(lambda: not Record(options.folder / "web.instance-5").locked())
    async with ending_all(await Driver.open(options)) as driver:
        found = await driver.found()
        assert len(found) == 6
        assert found["web.instance-0"].pid == before["web.instance-0"].pid
        assert alive(before["web.instance-0"].pid)
        ends = [(end.code, end.signal) for n in range(1, 6) if (end := await ended(driver, f"web.instance-{n}"))]
        assert ends == [(3, None), (137, None), (None, 9), (None, 15), (6, None)]
        assert {task: started(options, task) for task in found} == before
        await driver.stop("web.instance-0", 5)
        assert (await ended(driver, "web.instance-0")).signal == signal.SIGTERM


@as_root
async def test_the_cgroups_of_a_killed_cell_go_with_the_next_cell_but_not_those_of_tasks(options: Options) -> None:
    with folders() as gone, folders() as busy:
        killed_cell(gone, "true")
        killed_cell(busy, "sleep 1000")
        task = "web.instance-0"
        await until(lambda: not Record(gone.folder / task).locked())
        async with ending_all(await Driver.open(options)):
            assert not cgroup(gone, "pids").parent.exists()
            assert (
                str(started(busy, task).pid) in (cgroup(busy, "pids").parent / task / "cgroup.procs").read_text()
            )
            async with ending_all(await Driver.open(busy)):
                assert cgroup(options, "pids").parent.exists(), "somebody lives there"
            assert not cgroup(busy, "pids").parent.exists()
        assert not cgroup(options, "pids").parent.exists()


async def test_a_stop_is_carried_out_though_the_cell_is_killed(options: Options) -> None:
    killed_cell(options, "trap '' TERM; echo ready; while :; do sleep 0.02; done")
    task = "web.instance-0"
    await until(lambda: (options.folder / task / "stdout.0").read_bytes() == b"ready\n")
    driver = await Driver.open(options)
    await driver.stop(task, 0.2)
    await driver.close()
    await until(lambda: not Record(options.folder / task).locked())
    async with ending_all(await Driver.open(options)) as later:
        assert (await ended(later, task)).signal == signal.SIGKILL


async def test_code_137_is_not_signal_9(driver: Driver) -> None:
    code = await run(driver, "exit 137", task="a.instance-1")
    sign = await run(driver, "kill -9 $$", task="b.instance-1")
    assert (code.code, code.signal) == (137, None)
    assert (sign.code, sign.signal) == (None, 9)
    assert sign.message == "It was ended by signal 9 (SIGKILL)."


async def test_a_stop_ends_daemons_in_sessions_of_their_own(either: Driver) -> None:
    daemon = "setsid sh -c 'trap \"\" TERM HUP; echo daemon $$; while :; do sleep 0.05; done'"
    await either.start(launch(f"trap '' TERM; ({daemon} &); sleep 1000 & echo child $!; wait; sleep 1000"))
    text = await hears(either, "daemon")
    text = text if "child" in text else await hears(either, "child")
    pids = [int(pid) for pid in re.findall(r"\d+", text)]
    assert len(pids) == 2
    await either.stop(TASK, 0.2)
    assert (await ended(either)).signal == signal.SIGKILL
    assert not any(map(alive, pids))


async def test_what_a_task_leaves_behind_ends_with_it(either: Driver) -> None:
    exit = await run(either, "setsid sleep 1000 & echo $!; exit 2")
    assert exit.code == 2
    assert not alive(int(await said(either)))


async def test_a_server_behind_a_shell_has_its_whole_grace(driver: Driver) -> None:
    server = "trap 'sleep 0.2; echo drained; exit' TERM; echo ready; while :; do sleep 0.02; done"
    await driver.start(launch(f'sh -c "{server}"; true'))
    await hears(driver, "ready")
    await driver.stop(TASK, 15)
    await ended(driver)
    assert await said(driver) == "ready\ndrained\n"


async def test_no_stop_is_lost_though_many_wait_for_the_keeper(driver: Driver, options: Options) -> None:
    """The keeper reads what fits, and a wish may be cut there."""
    await driver.start(launch("trap '' TERM; echo ready; while :; do sleep 0.02; done"))
    await hears(driver, "ready")
    keeper = started(options).keeper
    os.kill(keeper, signal.SIGSTOP)
    try:
        for _ in range(18):
            await driver.stop(TASK, 1000)
        await driver.stop(TASK, 0.2)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert (await ended(driver)).signal == signal.SIGKILL


async def test_many_tasks_are_removed_at_once(driver: Driver, options: Options) -> None:
    """Each removal looks whether what is kept has become too much."""
    tasks = [f"web.instance-{n}" for n in range(60)]
    await asyncio.gather(*(driver.start(launch("true", task=task)) for task in tasks))
    await asyncio.gather(*(ended(driver, task) for task in tasks))
    for n in range(400):
        (options.folder / ".kept" / f"web.instance-old{n}" / "sandbox").mkdir(parents=True)
    await asyncio.gather(*(driver.remove(task) for task in tasks))
    assert await driver.found() == {}
    assert len(os.listdir(options.folder / ".kept")) == 20


async def test_a_stopped_process_hears_the_end(driver: Driver) -> None:
    await driver.start(launch("trap 'exit 4' TERM; echo ready; kill -STOP $$; while :; do sleep 0.02; done"))
    await hears(driver, "ready")
    await driver.stop(TASK, 15)
    assert (await ended(driver)).code == 4


async def test_a_keeper_asked_to_end_stops_its_task(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000"))
    os.kill(started(options).keeper, signal.SIGTERM)
    assert (await ended(driver)).signal == signal.SIGTERM


async def test_a_grace_beyond_all_counting_is_a_long_one(driver: Driver) -> None:
    await driver.start(launch("trap 'exit 4' TERM; echo ready; while :; do sleep 0.02; done"))
    await hears(driver, "ready")
    await driver.stop(TASK, 1e300)
    assert (await ended(driver)).code == 4


async def test_a_killed_keeper_is_an_honest_unknown(either: Driver, options: Options) -> None:
    daemon = "setsid sh -c 'trap \"\" TERM HUP PIPE; while :; do sleep 0.05; done' & echo $!"
    await either.start(launch(f"{daemon}; exec sleep 1000"))
    pids = [int(await hears(either, "\n")), started(options).pid]
    os.kill(started(options).keeper, signal.SIGKILL)
    exit = await ended(either)
    assert (exit.code, exit.signal, exit.ended, exit.rebooted) == (None, None, None, False)
    assert "Nobody knows" in exit.message
    assert not any(map(alive, pids))


@as_root
async def test_a_killed_keeper_leaves_no_daemon_that_hides(driver: Driver, options: Options) -> None:
    await driver.start(launch("env -i setsid sleep 1000 & echo $!; exec sleep 1000"))
    daemon = int(await hears(driver, "\n"))
    await until(lambda: Path(f"/proc/{daemon}/environ").read_bytes() == b"")
    os.kill(started(options).keeper, signal.SIGKILL)
    await ended(driver)
    assert not alive(daemon)


async def test_a_keeper_killed_while_no_cell_ran(options: Options) -> None:
    killed_cell(options, "setsid sleep 1000 & echo $!; wait")
    record = Record(options.folder / "web.instance-0")
    output = record.folder / "stdout.0"
    await until(lambda: output.read_bytes().endswith(b"\n"))
    start, daemon = started(options, "web.instance-0"), int(output.read_bytes())
    os.kill(start.keeper, signal.SIGKILL)
    await until(lambda: not record.locked() and not alive(start.pid))
    assert alive(daemon)
    async with ending_all(await Driver.open(options)) as driver:
        exit = (await driver.found())["web.instance-0"].exit
        assert exit is not None
        assert (exit.code, exit.signal) == (None, None)
        assert not alive(daemon)


async def test_another_boot_means_lost_at_reboot(options: Options) -> None:
    driver = await Driver.open(options)
    await driver.start(launch("sleep 1000"))
    keeper = started(options)
    os.kill(keeper.keeper, signal.SIGKILL)
    await ended(driver)
    await driver.close()
    other = msgspec.structs.replace(keeper, boot="00000000-0000-0000-0000-000000000000")
    (options.folder / TASK / "started").write_bytes(msgspec.json.encode(other))
    async with ending_all(await Driver.open(options)) as later:
        exit = (await later.found())[TASK].exit
        assert exit is not None
        assert exit.rebooted


async def test_a_start_cut_off_before_the_task_ran_leaves_nothing(options: Options) -> None:
    driver = await Driver.open(options)
    async with ending_all(driver):
        half = options.folder / TASK
        (half / "sandbox").mkdir(parents=True)
        (half / "spec").write_text("half a sp")
        assert await driver.found() == {}
        assert not half.exists()
        assert (await run(driver, "exit 8")).code == 8


async def test_two_cells_do_not_share_a_folder(driver: Driver, options: Options) -> None:
    with pytest.raises(DriverError, match="Another cell runs its tasks"):
        await Driver.open(options)


async def test_the_keeper_is_detached(driver: Driver, options: Options) -> None:
    strange = os.dup2(0, 90, inheritable=True)
    try:
        await driver.start(launch("sleep 1000"))
    finally:
        os.close(strange)
    start = started(options)
    assert os.getsid(start.keeper) == start.keeper
    assert os.getsid(start.pid) == os.getpgid(start.pid) == start.pid
    assert os.readlink(f"/proc/{start.keeper}/cwd") == "/"
    files = [os.readlink(f"/proc/{start.keeper}/fd/{fd}") for fd in os.listdir(f"/proc/{start.keeper}/fd")]
    foreign = [file for file in files if not file.startswith((str(options.folder / TASK), "/dev/null", "pipe:"))]
    assert foreign == ["anon_inode:[signalfd]"]
    # A shell that has just begun may be reading a library.
    await until(lambda: sorted(os.listdir(f"/proc/{start.pid}/fd")) == ["0", "1", "2"])


async def test_keepers_that_a_cell_inherits_are_reaped(driver: Driver, options: Options) -> None:
    """As process 1 of a container has to; here it is a subreaper that inherits."""
    libc = ctypes.CDLL(None)
    subreaper = 36
    libc.prctl(subreaper, 1)
    try:
        await run(driver, "true")
        await driver.start(launch("true", task="b.instance-1"))
        keepers = [started(options).keeper, started(options, "b.instance-1").keeper]
        await until(lambda: not Record(options.folder / "b.instance-1").locked())
        await ended(driver, "b.instance-1")
        assert not any(Path(f"/proc/{keeper}").exists() for keeper in keepers)
    finally:
        libc.prctl(subreaper, 0)


def killed_with_much() -> Started:
    """As of a keeper that is ending, which takes a while: its memory goes first, and that is much."""
    much = "import sys; much = bytearray(256 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", much], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None and keeper.stdout.readline()
        since = start_time(keeper.pid)
        assert since is not None and not is_ending(keeper.pid)
        keeper.kill()
        keeper.returncode = -signal.SIGKILL  # it is not waited for here
    return Started(pid=1, start=1, keeper=keeper.pid, keeper_start=since, boot="b", time=1.0)


async def test_a_keeper_that_is_ending_is_waited_for_and_reaped(tmp_path: Path) -> None:
    """Its lock is free before it has ended."""
    record = Record(tmp_path / TASK)
    record.folder.mkdir()
    start = killed_with_much()
    await until(lambda: is_ending(start.keeper))
    await until_gone(record, start)
    assert not Path(f"/proc/{start.keeper}").exists()


async def test_a_check_that_is_given_up_ends(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000"))
    check = asyncio.create_task(driver.execute(TASK, ("/bin/sh", "-c", "echo $$ > check; exec sleep 1000"), 1000))
    note = options.folder / TASK / "sandbox" / "check"
    await until(lambda: note.exists() and note.read_text().endswith("\n"))
    pid = int(note.read_text())
    assert alive(pid)
    check.cancel()
    await asyncio.wait([check])
    assert not alive(pid)


async def test_fifty_tasks_at_once_and_what_a_keeper_costs(driver: Driver, options: Options) -> None:
    tasks = [f"web.instance-{n}" for n in range(50)]
    found = await asyncio.gather(*(driver.start(launch("exec sleep 1000", task=task)) for task in tasks))
    assert len({each.pid for each in found}) == 50
    rollups = [Path(f"/proc/{started(options, task).keeper}/smaps_rollup").read_text() for task in tasks]
    pss = [int(match[1]) for text in rollups if (match := re.search(r"^Pss:\s+(\d+) kB", text, re.M))]
    assert len(pss) == 50
    assert max(pss) <= 2048
    await asyncio.gather(*(driver.stop(task, 5) for task in tasks))
    ends = await asyncio.gather(*(ended(driver, task) for task in tasks))
    assert {end.signal for end in ends} == {signal.SIGTERM}


async def test_the_keeper_has_no_memory_faults(options: Options, tmp_path: Path) -> None:
    checked = tmp_path / "keeper"
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = map(str, (KEEPER.parent / "keepers").glob("*.c"))
    command("cc", *flags, "-Wall", "-Wextra", "-Werror", "-o", str(checked), *sources)
    async with ending_all(await Driver.open(options, rotate=1000, program=checked)) as driver:
        await driver.start(launch("trap 'exit 4' TERM; seq 2000; echo ready; while :; do sleep 0.02; done"))
        await hears(driver, "ready")
        assert await driver.execute(TASK, ("/bin/sh", "-c", "exit 7"), 10) == Executed(7)
        await driver.stop(TASK, 10)
        assert (await ended(driver)).code == 4
        with pytest.raises(DriverError, match="cannot be run"):
            await driver.start(launch(args=("/no/such",), task="b.instance-1"))
        with pytest.raises(DriverError, match="cannot be entered"):
            await driver.start(launch("true", task="b.instance-1", labels={"KATO_WORKDIR": "/no/such"}))
