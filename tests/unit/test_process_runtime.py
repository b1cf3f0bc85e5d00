"""The pure parts of the process runtime: specs, limits, volumes, environments, ends, and streams on disk."""

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from builders import app
from kato.drivers.runtime.folders.removed import PER_APP, RemovedTasks, surplus
from kato.drivers.runtime.folders.sandbox import (
    Identity,
    VolumeLink,
    command,
    delete,
    environment,
    identity,
    links,
    mounted_in,
    working_folder,
)
from kato.drivers.runtime.folders.streams import Changes, Stream
from kato.drivers.runtime.keepers.record import Ended, Spec, Started, exit_of, signal_name
from kato.drivers.runtime.resources.cgroups import Hierarchy, hierarchies, unified_mount
from kato.drivers.runtime.resources.limits import memory_limit, settings
from kato.model.app import AppVolume, Container, External, Persistent
from kato.model.errors import DriverError
from runtimes import as_root

HYBRID = """\
25 24 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
"""
UNIFIED = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
NOBODY = Identity(65534, 65534, (65534,), "/nonexistent")
STARTED = Started(pid=7, start=100, keeper=6, keeper_start=99, boot="this", time=1.0)


def spec(**more: Any) -> Spec:
    given: dict[str, Any] = {
        "argv": ("a",),
        "env": {"B": "c"},
        "cwd": "/d",
        "rotate": 10,
        "files": 2,
        "grace": 3.0,
    }
    return Spec(**(given | more))


def test_a_spec_is_pairs_of_words() -> None:
    words = spec(user=(1, 2, (2, 3)), cgroups=("/x",), events="/x/e").encode().split(b"\0")
    assert b" ".join(words) == (
        b"cwd /d rotate 10 files 2 grace 3.0 arg a env B=c cgroup /x events /x/e uid 1 gid 2 group 2 group 3 "
    )


def test_a_spec_tells_the_limit_of_descriptors_where_there_is_one() -> None:
    assert b"descriptors\0001024\0" in spec(descriptors=1024).encode()


def test_a_spec_tells_the_signal_that_asks_for_an_end_where_it_is_another() -> None:
    assert b"stop\0003\0" in spec(stop=3).encode()


def test_a_spec_refuses_what_no_process_can_be_given() -> None:
    with pytest.raises(ValueError, match="NUL"):
        spec(env={"B": "c\0uid\x000"}).encode()


def test_controllers_of_version_1_are_found_beside_version_2() -> None:
    assert unified_mount(HYBRID) == Path("/sys/fs/cgroup/unified")
    assert hierarchies(HYBRID, "hugetlb\n") == {
        "cpu": Hierarchy(1, Path("/sys/fs/cgroup/cpu,cpuacct")),
        "cpuacct": Hierarchy(1, Path("/sys/fs/cgroup/cpu,cpuacct")),
        "memory": Hierarchy(1, Path("/sys/fs/cgroup/memory")),
    }


def test_controllers_of_version_2_are_found() -> None:
    found = hierarchies(UNIFIED, "cpuset cpu io memory pids\n")
    assert found == dict.fromkeys(("memory", "cpu", "pids"), Hierarchy(2, Path("/sys/fs/cgroup")))


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        (1, (("memory.limit_in_bytes", "33554432"), ("memory.memsw.limit_in_bytes", "33554432"))),
        (2, (("memory.max", "33554432"), ("memory.swap.max", "0"))),
    ],
)
def test_memory_is_a_hard_limit_without_swap(version: int, wanted: object) -> None:
    assert settings(app(mem=32.0), "memory", version) == wanted


@pytest.mark.parametrize(("limits", "mib"), [(None, 32), ({"mem": 64}, 64), ({"mem": 1}, 32), ({"cpus": 1}, 32)])
def test_a_memory_limit_is_never_below_what_was_asked(limits: Any, mib: float) -> None:
    assert memory_limit(app(mem=32.0, resource_limits=limits)) == mib


@pytest.mark.parametrize("of", [app(mem=0.0), app(resource_limits={"mem": "unlimited"})])
def test_no_memory_limit(of: Any) -> None:
    assert memory_limit(of) is None
    assert settings(of, "memory", 1) == settings(of, "memory", 2) == ()


def test_cpus_are_a_share_and_no_quota() -> None:
    assert settings(app(cpus=0.5), "cpu", 1) == (("cpu.shares", "512"),)
    assert settings(app(cpus=0.5), "cpu", 2) == (("cpu.weight", "50"),)
    assert settings(app(cpus=0.0001), "cpu", 1) == (("cpu.shares", "2"),)


def test_cpus_are_a_quota_where_the_app_limits_them() -> None:
    of = app(cpus=0.5, resource_limits={"cpus": 1.5})
    assert settings(of, "cpu", 1)[1:] == (("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000"))
    assert settings(of, "cpu", 2)[1:] == (("cpu.max", "150000 100000"),)
    assert settings(app(resource_limits={"cpus": "unlimited"}), "cpu", 1) == (("cpu.shares", "102"),)


@pytest.mark.parametrize("cpus", [0.001, 0.009, 1e7, 1e300])
def test_a_quota_of_cpus_that_the_kernel_does_not_take_is_refused_with_the_range(cpus: float) -> None:
    of = app(cpus=0.001, resource_limits={"cpus": cpus})
    for version in (1, 2):
        with pytest.raises(DriverError, match=r"resourceLimits\.cpus is .* takes 0\.01 to 1e\+06"):
            settings(of, "cpu", version)
    assert settings(app(resource_limits={"cpus": 0.01}), "cpu", 1)[2] == ("cpu.cfs_quota_us", "1000")


@pytest.mark.parametrize("mem", [1e12, 1e300, 1.7e308])
def test_a_memory_limit_beyond_any_machine_stays_a_number_that_the_kernel_can_read(mem: float) -> None:
    for version in (1, 2):
        assert int(settings(app(resource_limits={"mem": mem}), "memory", version)[0][1]) <= 2**62


def test_shares_end_where_the_kernel_s_do() -> None:
    assert settings(app(cpus=1e20), "cpu", 1) == (("cpu.shares", "262144"),)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("99999999999", "as user 99999999999, and numbers go from 0 to 4294967294"),
        ("4294967295", "as user 4294967295, and numbers"),
        ("9" * 5000, "and numbers go from 0"),
        ("0:99999999999", "as group 99999999999, and numbers"),
        ("0:4294967295", "as group 4294967295, and numbers"),
        ("\u0663", "There is no user '\u0663'"),
        ("0:\u0663", "There is no group '\u0663'"),
        ("a\0b", r"There is no user 'a\\x00b'"),
        ("0:a\0b", r"There is no group 'a\\x00b'"),
        ("\ud800", "There is no user"),
        ("-1", "There is no user '-1'"),
        (":0", "There is no user ''"),
    ],
)
def test_users_that_there_cannot_be_are_refused(user: str, why: str) -> None:
    with pytest.raises(DriverError, match=why):
        identity(user)


def test_a_command_goes_to_the_shell_and_args_do_not() -> None:
    assert command(app(cmd="a | b")) == ("/bin/sh", "-c", "a | b")
    assert command(app(cmd=None, args=("a", "|", "b"))) == ("a", "|", "b")
    with pytest.raises(DriverError, match="neither `cmd` nor `args`"):
        command(app(cmd=None))


def test_an_environment_is_what_is_given_and_three_defaults() -> None:
    cell = {"PATH": "/cell", "HOME": "/home/cell", "LANG": "C", "SECRET": "of the cell"}
    assert environment({"A": "1", "PATH": "/app"}, cell, NOBODY, Path("/box")) == {
        "A": "1",
        "PATH": "/app",
        "HOME": "/nonexistent",
        "LANG": "C",
        "MESOS_SANDBOX": "/box",
        "MESOS_DIRECTORY": "/box",
    }


def test_home_is_the_cell_s_for_the_cell_s_user() -> None:
    own = Identity(os.geteuid(), os.getegid(), (), "/passwd")
    assert environment({}, {"HOME": "/home/cell"}, own, Path("/box"))["HOME"] == "/home/cell"


@pytest.mark.parametrize(("label", "folder"), [("/srv", "/srv"), ("sub", "/box/sub"), (None, "/box")])
def test_where_it_runs(label: str | None, folder: str) -> None:
    labels = {} if label is None else {"KATO_WORKDIR": label}
    assert working_folder(app(labels=labels), Path("/box")) == Path(folder)


def linked(*volumes: AppVolume, id: str = "/web") -> tuple[VolumeLink, ...]:
    return links(app(id, container=Container(type="MESOS", volumes=volumes)), Path("/volumes"), Path("/secrets"))


def test_volumes_are_links_inside_the_sandbox() -> None:
    named = AppVolume(container_path="/var/lib/data", external=External(name="data"))
    host = AppVolume(container_path="etc", host_path="/etc")
    secret = AppVolume(container_path="run/secrets/pw", secret="pw")
    assert linked(named, host, secret) == (
        VolumeLink(PurePosixPath("var/lib/data"), Path("/volumes/data"), True),
        VolumeLink(PurePosixPath("etc"), Path("/etc"), False),
        VolumeLink(PurePosixPath("run/secrets/pw"), Path("/secrets/2"), False),
    )


def test_persistent_volumes_of_apps_and_paths_are_apart() -> None:
    volume = AppVolume(container_path="data", persistent=Persistent(size=1))
    other = AppVolume(container_path="more/data", persistent=Persistent(size=1))
    targets = [link.target for id in ("/a/b", "/a_b") for link in linked(volume, other, id=id)]
    assert len(set(targets)) == 4
    assert all(target.parent == Path("/volumes") for target in targets)


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        (AppVolume(container_path="../up", host_path="/etc"), "inside the sandbox"),
        (AppVolume(container_path="/", host_path="/etc"), "inside the sandbox"),
        (AppVolume(container_path="a", host_path="etc"), "not absolute"),
        (AppVolume(container_path="a", external=External(name="../../etc")), "has no '/'"),
        (AppVolume(container_path="a", external=External(name=".kept")), "begins with no '.'"),
        (AppVolume(container_path="a", external=External()), "is called None"),
        (AppVolume(container_path="a", external=External(name="a\0b")), "none of them NUL"),
        (AppVolume(container_path="a", external=External(name="a" * 256)), "at most 255 bytes"),
        (AppVolume(container_path="a", external=External(name="\u00e4" * 128)), "at most 255 bytes"),
        (AppVolume(container_path="a\0b", host_path="/etc"), "without '..' and NUL bytes"),
        (AppVolume(container_path="b/" + "a" * 256, host_path="/etc"), "255 bytes at most"),
        (AppVolume(container_path="a", host_path="/etc\0"), "a host path with a NUL byte"),
    ],
)
def test_volumes_that_a_process_cannot_have_are_refused(volume: AppVolume, why: str) -> None:
    with pytest.raises(DriverError, match=why):
        linked(volume)


@pytest.mark.parametrize(
    "places", [("app", "app/cache"), ("app/cache", "app"), ("a", "./a//b/c"), ("a", "a"), ("x", "a/b", "a")]
)
def test_volumes_one_within_the_other_are_refused(places: tuple[str, ...]) -> None:
    volumes = [AppVolume(container_path=place, host_path="/etc") for place in places]
    with pytest.raises(DriverError, match=r"lie one within the other, .* Give each a place of its own"):
        linked(*volumes)


def test_volumes_beside_each_other_share_a_folder() -> None:
    volumes = [AppVolume(container_path=place, host_path="/etc") for place in ("a/b", "a/bc", "a/c/d", "ab")]
    assert [str(link.place) for link in linked(*volumes)] == ["a/b", "a/bc", "a/c/d", "ab"]


def test_a_written_end_is_the_truth_on_any_boot() -> None:
    for boot in ("this", "other"):
        exit = exit_of(STARTED, Ended(code=3, signal=None, ended=2.0, oom=False), boot)
        assert (exit.code, exit.signal, exit.ended, exit.rebooted) == (3, None, 2.0, False)


def test_without_a_written_end_a_boot_tells_lost_from_unknown() -> None:
    assert exit_of(STARTED, None, "other").rebooted
    unknown = exit_of(STARTED, None, "this")
    assert (unknown.code, unknown.signal, unknown.rebooted) == (None, None, False)


def test_signals_have_names() -> None:
    assert (signal_name(15), signal_name(64)) == ("SIGTERM", "SIGRTMAX")
    assert signal_name(40) == "SIG40"


def test_removed_tasks_are_kept_a_day_and_20_an_app() -> None:
    young = [(f"web.instance-{n}", float(n)) for n in range(21)]
    old = [("db.instance-1", 86_401.0)]
    assert surplus(young + old, full=False) == ["web.instance-20", "db.instance-1"]
    assert len(surplus(young, full=True)) == 21


DEEP = 2500


def dig(folder: Path) -> None:
    """Nested folders, longer than any path and deeper than any stack, with a file at the bottom."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(DEEP):
        os.mkdir("nested", dir_fd=here)
        below = os.open("nested", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_a_folder_is_deleted_however_deep_it_is() -> None:
    root = tempfile.mkdtemp(prefix="kato-test-")
    try:
        dig(Path(root, "box"))
        Path(root, "box", "beside").mkdir()
        delete(Path(root, "box"))
        assert os.listdir(root) == []
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # Python's own cannot


def test_no_link_is_followed_when_a_folder_is_deleted(tmp_path: Path) -> None:
    box, other = tmp_path / "box", tmp_path / "other"
    (box / "sub").mkdir(parents=True)
    (other / "precious").mkdir(parents=True)
    (box / "link").symlink_to(other)
    (box / "sub" / "up").symlink_to("../../other")
    delete(box)
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(OSError, match="link"):
        delete(tmp_path / "link")
    assert (other / "precious").is_dir()


def test_where_something_is_mounted_is_found() -> None:
    info = "36 27 254:0 /srv /a/b/with\\040blank\\134 rw - ext4 /dev/vda rw\n"
    for folder in ("/a", "/a/b", "/a/b/with blank\\"):
        assert mounted_in(Path(folder), info) == Path("/a/b/with blank\\")
    for folder in ("/a/bc", "/a/b/with", "/a/b/with blank\\/in", "/srv"):
        assert mounted_in(Path(folder), info) is None


@as_root
def test_what_is_mounted_in_a_folder_is_not_deleted_with_it(tmp_path: Path) -> None:
    """As a process that root runs may do in its sandbox, and leave there."""
    precious, place = tmp_path / "precious", tmp_path / "box/sub/mnt"
    (precious / "sub").mkdir(parents=True)
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", precious, place], check=True)
    try:
        with pytest.raises(OSError, match=f"something is mounted there.*{place}"):
            delete(tmp_path / "box")
    finally:
        subprocess.run(["umount", place], check=True)
    assert (precious / "sub").is_dir()
    delete(tmp_path / "box")


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400, 0o500])
def test_what_is_closed_to_its_own_user_is_deleted(mode: int) -> None:
    """Root may enter any folder, so it is someone else for that."""
    with tempfile.TemporaryDirectory() as root:
        inner = Path(root) / "box" / "closed" / "inner"
        inner.mkdir(parents=True)
        (inner / "file").touch()
        cell, user = os.geteuid(), os.geteuid() or NOBODY.uid
        for folder in (Path(root), inner.parent.parent, inner.parent, inner):
            os.chown(folder, user, -1)
        for folder in (inner, inner.parent, inner.parent.parent):
            folder.chmod(mode)
        os.seteuid(user)
        try:
            delete(Path(root) / "box")
        finally:
            os.seteuid(cell)
        assert os.listdir(root) == []


def test_one_removed_task_that_cannot_be_deleted_keeps_no_other(tmp_path: Path) -> None:
    kept = RemovedTasks(tmp_path)
    kept.folder.mkdir()
    for n in range(PER_APP + 3):
        task = kept.of(f"web.instance-{n}")
        task.write_text("no folder") if n == PER_APP else task.mkdir()
        os.utime(task, (1e9 - n, 1e9 - n))
    young = tmp_path / "db.instance-1"
    young.mkdir()
    kept.take(young)
    assert sorted(path.name for path in kept.all()) == ["db.instance-1", f"web.instance-{PER_APP}"]


@how(deadline=None)
@given(
    lines=st.lists(st.text("ab", max_size=9), max_size=30),
    ends=st.booleans(),
    size=st.integers(1, 40),
    tail=st.integers(0, 32),
)
def test_the_tail_of_a_stream_is_its_last_lines_however_it_was_cut(
    lines: list[str], ends: bool, size: int, tail: int
) -> None:
    text = "\n".join(lines).encode() + (b"\n" if ends else b"")
    with tempfile.TemporaryDirectory() as folder:
        for base in range(0, len(text) + 1, size):
            (Path(folder) / f"stdout.{base}").write_bytes(text[base : base + size])
        with Stream(Path(folder), "stdout") as stream:
            start = stream.tail(tail)
            pieces = list(stream.read(start))
    wanted = text.splitlines(keepends=True)
    assert b"".join(data for _, data in pieces) == b"".join(wanted[len(wanted) - min(tail, len(wanted)) :])
    assert all(data == text[at : at + len(data)] for at, data in pieces)


async def test_where_the_kernel_drops_changes_every_follower_looks_again(tmp_path: Path) -> None:
    noisy, quiet = tmp_path / "noisy", tmp_path / "quiet"
    noisy.mkdir()
    quiet.mkdir()
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    changes = Changes()
    try:
        with changes.of(noisy), changes.of(quiet) as changed:
            with (noisy / "a").open("wb", buffering=0) as one, (noisy / "b").open("wb", buffering=0) as other:
                for _ in range(queue // 2 + 1):  # in turn, for the kernel makes one of two alike
                    one.write(b"x")
                    other.write(b"x")
            (quiet / "stdout.0").write_bytes(b"last words")
            async with asyncio.timeout(60):
                await changed.wait()
    finally:
        changes.close()


def test_a_reader_that_comes_too_late_skips_to_what_is_kept() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stdout.20").write_bytes(b"0123456789")
        (Path(folder) / "stdout.30").write_bytes(b"abc")
        with Stream(Path(folder), "stdout") as stream:
            assert list(stream.read(5)) == [(20, b"0123456789"), (30, b"abc")]
