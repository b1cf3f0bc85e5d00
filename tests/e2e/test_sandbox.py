"""Real tasks with users, folders, volumes and secrets go in; what they reach, and who reaches them, comes out."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.folders.sandbox import identity
from kato.drivers.runtime.process import Driver
from kato.model.app import AppVolume, Container, External, Persistent
from kato.model.errors import DriverError
from runtimes import TASK, alive, as_root, cgroup, ending_all, launch, run, said, started


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


async def test_a_check_of_a_program_that_is_not_there_says_so(driver: Driver) -> None:
    await driver.start(launch("sleep 1000"))
    with pytest.raises(DriverError, match="There is no program no-such-check in task "):
        await driver.execute(TASK, ("no-such-check", "-q"), 10)


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
