"""Keepers with real processes: the cell is killed, a keeper is killed, a task is hostile; the truth comes out."""

import asyncio
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.keeper import KEEPER
from kato.drivers.runtime.limits import Limits, hierarchies, room, unified_mount
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.record import Record, Started
from kato.drivers.runtime.sandbox import identity
from kato.model.app import AppVolume, Container, External, Persistent
from kato.model.errors import DriverError
from runtimes import alive, ended, ending_all, folders, hears, launch, run, said, until

TASK = "web.instance-1"
ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root may change users and set limits")
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


@pytest.fixture
def options() -> Iterator[Options]:
    with folders() as options:
        yield options


@pytest.fixture
async def driver(options: Options) -> AsyncIterator[Driver]:
    driver = await Driver.open(options)
    async with ending_all(driver):
        yield driver


@pytest.fixture(params=["cgroups", "no cgroups"])
async def either(request: pytest.FixtureRequest, options: Options) -> AsyncIterator[Driver]:
    """A driver as the machine permits, and one as on a machine that permits no cgroups."""
    limits = None if request.param == "cgroups" else Limits({}, ())
    driver = await Driver.open(options, limits=limits)
    async with ending_all(driver):
        yield driver


def command(*words: str) -> None:
    subprocess.run(words, check=True)


def started(options: Options, task: str = TASK) -> Started:
    start = Record(options.folder / task).started()
    assert start is not None
    return start


def cgroup(options: Options, controller: str) -> Path:
    """The cgroup of the task in one hierarchy."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    mount = unified_mount(mountinfo)
    offered = (mount / "cgroup.controllers").read_text() if mount else ""
    return hierarchies(mountinfo, offered)[controller].path / "kato" / room(options.folder) / TASK


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


@contextmanager
def no_descriptors() -> Iterator[None]:
    """No file can be opened."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
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
    assert await driver.execute(TASK, ("/bin/sh", "-c", "exit 7"), 10) == 7
    await driver.stop(TASK, 10)
    assert (await ended(driver)).code == 4
    await driver.remove(TASK)
    assert await said(driver) == "ready\n"


async def test_descriptors_of_a_task_are_as_many_as_was_said(options: Options) -> None:
    theirs = msgspec.structs.replace(options, descriptors=300)
    async with ending_all(await Driver.open(theirs)) as driver:
        await run(driver, "ulimit -Sn; ulimit -Hn")
        soft, hard = (await said(driver)).split()
    assert soft == "300"
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert hard == ("unlimited" if most == resource.RLIM_INFINITY else str(most))


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


async def test_without_cgroups_it_says_what_outlives_a_killed_keeper(options: Options) -> None:
    driver = await Driver.open(options, limits=Limits({}, ()))
    await driver.close()
    assert any("clears its environment outlives" in note for note in driver.notes)


async def test_output_is_told_though_the_task_closed_its_sandbox(driver: Driver) -> None:
    await run(driver, "echo said; chmod 000 .", user="nobody" if ROOT else None)
    assert await said(driver) == "said\n"
    await driver.remove(TASK)
    assert await said(driver) == "said\n"


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


@as_root
async def test_a_check_is_under_the_task_s_limits(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000"))
    assert await driver.execute(TASK, ("/bin/sh", "-c", "cat /proc/self/cgroup > check"), 10) == 0
    memberships = (options.folder / TASK / "sandbox" / "check").read_text().splitlines()
    assert sum(line.endswith(f"/kato/{room(options.folder)}/{TASK}") for line in memberships) >= 1


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


async def test_output_is_rotated_and_keeps_its_offsets(options: Options) -> None:
    async with ending_all(await Driver.open(options, rotate=1000)) as driver:
        await driver.start(launch("for i in $(seq 1000); do printf 'line %04d\\n' $i; done"))
        await ended(driver)
        files = sorted(os.listdir(options.folder / TASK))
        assert [name for name in files if name.startswith("stdout")] == [
            "stdout.10000",
            "stdout.8000",
            "stdout.9000",
        ]
        pieces = [piece async for piece in driver.output(TASK, "stdout", tail=None, follow=False)]
        assert pieces[0].offset == 8000
        text = b"".join(piece.data for piece in pieces).decode()
        assert text == "".join(f"line {n:04d}\n" for n in range(801, 1001))
        assert await said(driver, tail=150) == "".join(f"line {n:04d}\n" for n in range(851, 1001))


async def test_output_is_followed_across_rotation(options: Options) -> None:
    async with ending_all(await Driver.open(options, rotate=1000)) as driver:
        await driver.start(launch("for i in $(seq 400); do printf 'line %04d\\n' $i; sleep 0.001; done"))
        async with asyncio.timeout(20):
            offset, text = 0, b""
            async for piece in driver.output(TASK, "stdout", tail=None, follow=True):
                assert piece.offset == offset
                offset += len(piece.data)
                text += piece.data
        assert text.decode() == "".join(f"line {n:04d}\n" for n in range(1, 401))


async def test_fast_output_arrives_whole(driver: Driver) -> None:
    assert (await run(driver, "head -c 8000000 /dev/zero | tr '\\0' x")).code == 0
    assert len(await said(driver)) == 8_000_000


async def test_a_removed_task_leaves_no_secret_and_no_cgroup(driver: Driver, options: Options) -> None:
    await run(driver, "true", env={"PASSWORD": "opensesame"})
    await driver.remove(TASK)
    kept = [path for path in options.folder.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"opensesame" in path.read_bytes() for path in kept)
    assert not cgroup(options, "memory").exists()


async def test_secrets_are_on_no_command_line(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000", env={"PASSWORD": "opensesame"}))
    start = started(options)
    for pid in (start.pid, start.keeper):
        assert b"opensesame" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"opensesame" not in Path(f"/proc/{start.keeper}/environ").read_bytes()
    spec = options.folder / TASK / "spec"
    assert b"opensesame" in spec.read_bytes()
    assert spec.stat().st_mode & 0o077 == 0


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
    assert sorted(os.listdir(f"/proc/{start.pid}/fd")) == ["0", "1", "2"]


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
    source = KEEPER.with_suffix(".c")
    command("cc", *flags, "-Wall", "-Wextra", "-Werror", "-o", str(checked), str(source))
    async with ending_all(await Driver.open(options, rotate=1000, program=checked)) as driver:
        await driver.start(launch("trap 'exit 4' TERM; seq 2000; echo ready; while :; do sleep 0.02; done"))
        await hears(driver, "ready")
        assert await driver.execute(TASK, ("/bin/sh", "-c", "exit 7"), 10) == 7
        await driver.stop(TASK, 10)
        assert (await ended(driver)).code == 4
        with pytest.raises(DriverError, match="cannot be run"):
            await driver.start(launch(args=("/no/such",), task="b.instance-1"))
        with pytest.raises(DriverError, match="cannot be entered"):
            await driver.start(launch("true", task="b.instance-1", labels={"KATO_WORKDIR": "/no/such"}))


async def test_volumes_outlive_tasks(driver: Driver, options: Options) -> None:
    volumes = (
        AppVolume(container_path="/var/data", external=External(name="shared", provider="kato")),
        AppVolume(container_path="own", persistent=Persistent(size=1)),
        AppVolume(container_path="/host", host_path="/etc"),
    )
    container = Container(type="MESOS", volumes=volumes)
    write = "echo kept > var/data/file; echo mine > own/file; test -e host/passwd"
    assert (await run(driver, write, container=container)).code == 0
    await driver.remove(TASK)
    again = await run(driver, "cat var/data/file own/file", task="web.instance-2", container=container)
    assert again.code == 0
    assert await said(driver, "web.instance-2") == "kept\nmine\n"
    assert (options.volumes / "shared" / "file").read_text() == "kept\n"


async def test_it_runs_where_the_label_says(driver: Driver) -> None:
    await run(driver, "pwd", labels={"KATO_WORKDIR": "/usr"})
    assert await said(driver) == "/usr\n"


async def test_a_folder_that_is_not_there_is_named(driver: Driver, options: Options) -> None:
    with pytest.raises(DriverError, match=r"/no/such cannot be entered: No such file or directory"):
        await driver.start(launch("true", labels={"KATO_WORKDIR": "/no/such"}))
    assert [name for name in os.listdir(options.folder) if not name.startswith(".")] == []


@as_root
async def test_a_task_runs_as_its_user_in_its_own_sandbox(driver: Driver, options: Options) -> None:
    groups = os.getgroups()
    os.setgroups([*groups, 4])  # which it must not be given
    try:
        exit = await run(driver, "id -un; id -G; pwd; touch mine; echo $HOME; cat ../spec", user="nobody")
    finally:
        os.setgroups(groups)
    assert exit.code != 0
    who = identity("nobody")
    name, its_groups, where, home = (await said(driver)).splitlines()
    assert (name, its_groups) == ("nobody", " ".join(map(str, who.groups)))
    assert (where, home) == (str(options.folder / TASK / "sandbox"), who.home)
    sandbox = (options.folder / TASK / "sandbox").stat()
    assert (sandbox.st_uid, sandbox.st_mode & 0o777) == (who.uid, 0o700)


@as_root
async def test_the_caller_s_user_is_who_tasks_run_as(options: Options) -> None:
    theirs = msgspec.structs.replace(options, user="nobody")
    async with ending_all(await Driver.open(theirs)) as driver:
        await run(driver, "id -un")
        await run(driver, "id -un", task="b.instance-1", user="root")
        assert await said(driver) == "nobody\n"
        assert await said(driver, "b.instance-1") == "root\n"


@as_root
async def test_a_closed_way_to_the_sandbox_is_named(driver: Driver, options: Options) -> None:
    options.folder.parent.chmod(0o700)
    with pytest.raises(DriverError, match=rf"chmod o\+x {options.folder.parent}\."):
        await driver.start(launch("true", user="nobody"))


@as_root
@pytest.mark.parametrize("user", ["99999999999", "0:99999999999", "4294967295", "\u0663", "a\0b"])
async def test_a_user_that_there_cannot_be_is_named(driver: Driver, user: str) -> None:
    with pytest.raises(DriverError, match=r"user|group"):
        await driver.start(launch("true", user=user))
    assert await driver.found() == {}


@pytest.mark.parametrize(
    "odd",
    [
        {"cmd": "a\0b"},
        {"args": ("a\0b",)},
        {"cmd": "true", "env": {"A": "\0"}},
        {"cmd": "true", "labels": {"KATO_WORKDIR": "\0"}},
        {"cmd": "\ud800"},
    ],
)
async def test_words_that_no_process_can_be_given_are_refused(driver: Driver, odd: Any) -> None:
    with pytest.raises(DriverError, match=r"NUL byte|surrogates"):
        await driver.start(launch(**odd))
    assert await driver.found() == {}


async def test_a_check_with_a_nul_byte_is_refused(driver: Driver) -> None:
    await driver.start(launch("sleep 1000"))
    with pytest.raises(DriverError, match="NUL byte"):
        await driver.execute(TASK, ("a\0b",), 10)


async def test_no_folder_is_made_through_a_link(driver: Driver, options: Options, tmp_path: Path) -> None:
    nested = Container(
        type="MESOS",
        volumes=(
            AppVolume(container_path="app", host_path=str(tmp_path)),
            AppVolume(container_path="app/deep/cache", external=External(name="cache")),
        ),
    )
    with pytest.raises(DriverError, match="lie one within the other"):
        await driver.start(launch("true", container=nested))
    assert os.listdir(tmp_path) == []
    assert await driver.found() == {}


@as_root
async def test_folders_of_a_sandbox_are_its_user_s(driver: Driver, options: Options) -> None:
    deep = Container(type="MESOS", volumes=(AppVolume(container_path="a/b/c", external=External(name="d")),))
    exit = await run(driver, "touch a/x a/b/y a/b/c/z", user="nobody", container=deep)
    assert exit.code == 0
    assert [each.name for each in (options.volumes / "d").iterdir()] == ["z"]


async def test_an_unknown_user_is_named(driver: Driver) -> None:
    with pytest.raises(DriverError, match="no user 'nosuchuser'"):
        await driver.start(launch("true", user="nosuchuser"))
    assert await driver.found() == {}


@as_root
async def test_a_hostile_task_reaches_no_one_else(driver: Driver, options: Options) -> None:
    await driver.start(launch("sleep 1000", task="other.instance-1", env={"PASSWORD": "opensesame"}))
    victim = started(options, "other.instance-1")
    other = options.folder / "other.instance-1"
    attacks = f"""
        ls {options.folder}; ls {other}; cat {other}/spec {other}/started {other}/stdout.0; ls {other}/sandbox
        echo stop 0 > {other}/control; kill -9 {victim.keeper} {victim.pid}; cat /proc/{victim.pid}/environ
        rm -rf {options.folder}/{TASK}; ln -s /etc/passwd ../ended; echo x > ../ended; rm -f ../control ../lock
        ln -s / loop; mkdir -p a/b; chmod 000 a; head -c 100000 /dev/urandom > garbage; exit 3
    """
    exit = await run(driver, attacks, user="nobody")
    assert exit.code == 3
    assert await said(driver) == ""
    assert "opensesame" not in await said(driver, stream="stderr")
    assert alive(victim.pid)
    await driver.remove(TASK)


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
async def test_a_full_disk_costs_output_but_neither_task_nor_truth(options: Options) -> None:
    options.folder.mkdir()
    command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(options.folder))
    try:
        async with ending_all(await Driver.open(options)) as driver:
            exit = await run(driver, "head -c 1000000 /dev/zero; exit 3")
            assert exit.code == 3
            with pytest.raises(DriverError, match="No space left"):
                await driver.start(launch("true", task="b.instance-1"))
            assert list(await driver.found()) == [TASK]
    finally:
        command("umount", str(options.folder))


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
    memory, cpu, pids, user = text.splitlines()
    assert memory.startswith("No memory limits: ")
    assert cpu.startswith("No cpu limits: ")
    assert pids.startswith("No pids limits: ")
    assert "only root can start processes of others" in user
