"""What only the oci runtime promises: images without an engine, what is in a container and what is not, and that
nothing is left of one, whatever was killed."""

import asyncio
import base64
import contextlib
import http.server
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import Relay, Room, logins, shelves
from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.oci import Driver, resized
from kato.drivers.runtime.oci.images import Images
from kato.drivers.runtime.resources.cgroups import Limits
from kato.model.app import AppVolume, Container, Docker, External, Parameter, SecretRef, SecretSource
from kato.model.conversation import Size
from kato.model.errors import DriverError, DriverMissing
from kato.model.secret import Secret
from oci import IMAGE, bring, build, busybox, mounts, needs_root, supplied
from oci import run as run_tool
from runtimes import (
    FLAGS,
    FLAGS_TOLD,
    PATIENCE,
    TASK,
    TELLS_FLAGS,
    alive,
    comes,
    ended,
    ending_all,
    folders,
    hears,
    launch,
    reached_by_others,
    said,
    started,
    until,
)

WEEK = 7.1 * 86_400


@contextlib.asynccontextmanager
async def runtime(**more: Any) -> AsyncIterator[tuple[Driver, Options]]:
    with supplied() as options:
        options = msgspec.structs.replace(options, **more)
        driver = await Driver.open(options)
        async with ending_all(driver):
            yield driver, options


def contained(cmd: str | None, *, task: str = TASK, image: str = IMAGE, **more: Any) -> Launch:
    """A launch of a shell line in a container; what `more` says of its image, its container and its app."""
    words: dict[str, Any] = {name: more.pop(name) for name in ("parameters", "privileged") if name in more}
    container = Container(
        type="MESOS", docker=Docker(image=image, **words), volumes=tuple(more.pop("volumes", ()))
    )
    return launch(cmd, task=task, container=container, **more)


async def run(driver: Driver, cmd: str | None, **more: Any) -> str:
    """What a container says until its end."""
    what = contained(cmd, **more)
    await driver.start(what)
    await ended(driver, what.task)
    return await said(driver, what.task)


async def test_a_registry_that_keeps_silent_holds_up_no_other_image(tmp_path: Path) -> None:
    needs_root()
    heard = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    bring(tmp_path)
    images = Images(tmp_path / ".images", None, set, silence=0.5)
    name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}/shop/web:1"
    async with server, asyncio.timeout(PATIENCE):
        pull = asyncio.create_task(images.have(Docker(image=name)))
        await heard.wait()
        await images.have(Docker(image=IMAGE))
        with pytest.raises(DriverError, match=r"its registry has sent nothing for 0\.5 s"):
            await pull


class _Shelf(http.server.BaseHTTPRequestHandler):
    """A registry of a layout. Blobs of the image `trickle` come a byte now and then, until it is over."""

    layout: Path
    over: threading.Event

    def do_GET(self) -> None:
        name, kind, which = (*self.path.split("/")[2:], "", "", "")[:3]
        index = json.loads((self.layout / "index.json").read_bytes())["manifests"][0]
        digest = index["digest"] if kind == "manifests" else which
        told = (self.layout / "blobs" / digest.replace(":", "/")).read_bytes() if digest else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", index["mediaType"])
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        while told and not ((name, kind) == ("trickle", "blobs") and self.over.wait(0.05)):
            much = 1 if (name, kind) == ("trickle", "blobs") else len(told)
            self.wfile.write(told[:much])
            told = told[much:]

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def shelf(layout: Path) -> Iterator[str]:
    """The address of such a registry."""
    over = threading.Event()
    kind = type("Shelf", (_Shelf,), {"layout": layout, "over": over})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()


async def test_images_are_pulled_side_by_side_and_one_of_them_once(tmp_path: Path) -> None:
    needs_root()
    images = Images(tmp_path, None, set)
    with shelf(busybox()) as address:
        async with asyncio.timeout(PATIENCE):
            slow = [asyncio.create_task(images.have(Docker(image=f"{address}/trickle:1"))) for _ in range(3)]
            await until(lambda: bool(images.coming().get(f"{address}/trickle:1")))
            await images.have(Docker(image=f"{address}/quick:1"))
            assert images.known(f"{address}/quick:1") is not None
            assert len(list((tmp_path / "coming").iterdir())) == 1
        for each in slow:
            each.cancel()
        await images.close()
    assert not list((tmp_path / "coming").iterdir())


async def test_a_registry_that_trickles_is_given_up(tmp_path: Path) -> None:
    needs_root()
    images = Images(tmp_path, None, set, silence=2)
    with shelf(busybox()) as address, pytest.raises(DriverError, match=r"has sent (\d+ bytes|nothing) for 2 s"):
        async with asyncio.timeout(PATIENCE):
            await images.have(Docker(image=f"{address}/trickle:1"))


LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
said, file = os.dup(1), os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
for number in (0, 1, 2):
    os.dup2(file, number)
os.write(said, b"held")
signal.pause()
"""


async def test_a_command_in_place_of_its_terminal_holds_up_nobody(tmp_path: Path) -> None:
    """Who opens a file that somebody has a lease on waits for 45 s, and the whole cell with it."""
    words = [sys.executable, "-c", LEASE, str(tmp_path / "file")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None and process.stdout.read(4) == b"held"
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        began = time.monotonic()
        await resized(tmp_path / "pid", Size(50, 132))
        process.kill()
    assert time.monotonic() - began < 30


def inhabitants(options: Options) -> set[int]:
    """The processes of the task, in its cgroups."""
    limits = Limits.open(options.folder)
    try:
        return limits.members(TASK)
    finally:
        limits.close()


async def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    with folders() as options:
        driver = await Driver.open(msgspec.structs.replace(options, environ={"PATH": str(tmp_path)}))
        with pytest.raises(DriverMissing, match=r"crun, skopeo, umoci, .* Run: apt-get install crun skopeo umoci"):
            await driver.found()
        await driver.close()


async def test_an_image_that_cannot_be_had_is_named() -> None:
    async with runtime() as (driver, options):
        with pytest.raises(DriverError, match=r"Its image localhost:1/nobody/has:1 cannot be pulled: .*refused"):
            await driver.start(contained("true", image="localhost:1/nobody/has:1"))
        assert await driver.found() == {}
        assert {each.name for each in options.folder.iterdir()} == {".kept", ".images", ".lock"}


async def test_a_private_image_is_pulled_by_who_has_logged_in_and_goes_when_it_is_long_unused(
    tmp_path: Path,
) -> None:
    needs_root()
    room = Room()
    try:
        with room.network(), shelves(room, tmp_path) as address:
            image, logins = f"{address}/test:1", tmp_path / "config.json"
            await until(lambda: pushed(address))
            async with runtime() as (stranger, _):
                with pytest.raises(DriverError, match=rf"Its image {image} cannot be pulled: .*(auth|denied)"):
                    await stranger.start(contained("true", image=image))
            secret = base64.b64encode(b"kato:secret").decode()
            logins.write_text(json.dumps({"auths": {address: {"auth": secret}}}))
            async with runtime() as (stranger, options):
                await pull_by_secret(stranger, options, image, logins.read_bytes())
            async with runtime(logins=logins) as (driver, options):
                await run_and_outdate(driver, options, image)
                by_digest = f"{address}/test@{digest(address, logins)}"
                assert await run(driver, "echo again", task="b.1", image=by_digest) == "again\n"
    finally:
        room.end()


async def test_how_far_a_pull_is_can_be_asked(tmp_path: Path) -> None:
    needs_root()
    room = Room()
    try:
        with room.network(), shelves(room, tmp_path) as address, Relay(address, 500_000) as relay:
            (tmp_path / "chance").write_bytes(os.urandom(1_000_000))
            other = build(tmp_path)
            run_tool(["umoci", "insert", "--image", "layout:1", "chance", "/chance"], tmp_path)
            await until(lambda: pushed(address, other))
            (tmp_path / "logins").write_bytes(logins(relay.address))
            image = f"{relay.address}/test:1"
            async with runtime(logins=tmp_path / "logins") as (driver, _):
                fetching = asyncio.create_task(driver.fetch(contained("true", image=image).app, {}))
                await comes(driver, image, 200_000)
                relay.released.set()
                async with asyncio.timeout(PATIENCE):
                    await fetching
                assert await driver.pulls() == []
    finally:
        room.end()


async def pull_by_secret(driver: Driver, options: Options, image: str, logins: bytes) -> None:
    """Nobody has logged in, and the app brings what is asked for; no copy of that stays."""
    own = Docker(image=image, pull_config=SecretRef(secret="shelves"))
    container = Container(type="MESOS", docker=own)
    what = launch("true", container=container, secrets={"shelves": SecretSource(source="a")})
    useless = {"shelves": Secret(value=b"{}", since=0.0)}
    with pytest.raises(DriverError, match="secret 'shelves' for pulling has no login for 127"):
        await driver.start(msgspec.structs.replace(what, secrets=useless))
    given = {"shelves": Secret(value=logins, since=0.0)}
    await driver.start(msgspec.structs.replace(what, secrets=given))
    assert (await ended(driver)).code == 0
    files = [each for each in options.folder.rglob("*") if each.is_file() and not each.is_symlink()]
    assert files and not [each for each in files if b"a2F0bzpzZWNyZXQ=" in each.read_bytes()]


async def run_and_outdate(driver: Driver, options: Options, image: str) -> None:
    """A pulled image stays while a task is laid over it, and goes with the last; what somebody brought stays."""
    await driver.start(contained("echo ready; sleep 1000", image=image))
    await hears(driver, "ready")
    used = driver._way._digests
    later = Images(options.folder / ".images", None, used, clock=lambda: time.time() + WEEK)
    await later.tidy()
    assert later._read(image) is not None, "a task is laid over it"
    await driver.stop(TASK, 0)
    await ended(driver)
    await driver.remove(TASK)
    await later.tidy()
    assert later._read(image) is None
    assert later._read(IMAGE) is not None
    assert await run(driver, "echo still", task="c.1") == "still\n"


def pushed(address: str, layout: Path | None = None) -> bool:
    words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-creds=kato:secret"]
    done = subprocess.run(
        [*words, f"oci:{layout or busybox()}:1", f"docker://{address}/test:1"], capture_output=True
    )
    return done.returncode == 0


def digest(address: str, logins: Path) -> str:
    words = ["skopeo", "inspect", "--tls-verify=false", f"--authfile={logins}", "--format={{.Digest}}"]
    return subprocess.check_output([*words, f"docker://{address}/test:1"], text=True).strip()


async def test_what_an_image_says_of_its_containers_is_kept(tmp_path: Path) -> None:
    said_of_it = (
        "--config.user=web",
        "--config.workingdir=/data",
        "--config.env=WORD=image",
        "--config.entrypoint=/bin/echo",
        "--config.entrypoint=said",
        "--config.cmd=nothing",
    )
    async with runtime() as (driver, options):
        layout = await asyncio.to_thread(build, tmp_path, *said_of_it)
        await asyncio.to_thread(bring, options.folder, "own:1", layout)
        assert await run(driver, None, image="own:1") == "said nothing\n"
        assert await run(driver, None, image="own:1", args=("a  b",), task="a.2") == "said a  b\n"
        line = "id -u; id -G; pwd; echo $WORD $HOME"
        assert await run(driver, line, image="own:1", task="a.3") == "77\n88 99\n/data\nimage /data\n"
        assert await run(driver, "id -u", image="own:1", task="a.4", user="0") == "0\n"
        await driver.start(contained("sleep 1000", task="b.1", image="own:1", labels={"KATO_WORKDIR": "/made"}))
        beside = await driver.execute("b.1", ("/bin/sh", "-c", "id -u; id -G; pwd; echo $WORD"), 10)
        assert beside.output == b"77\n88 99\n/made\nimage\n"


async def test_two_containers_of_one_image_do_not_see_each_other_s_files_or_processes() -> None:
    async with runtime() as (driver, _):
        await driver.start(contained("echo mine > /mine; echo ready; sleep 1000"))
        await hears(driver, "ready")
        assert await run(driver, "ls /mine; ps | grep -c 'sleep 100[0]'; exit 0", task="b.1") == "0\n"


async def test_it_can_neither_make_a_device_nor_leave_its_room() -> None:
    async with runtime() as (driver, _):
        tries = (
            "mknod /sda b 8 0 || echo no device; mount -t tmpfs x /tmp || echo no mount;"
            "echo 1 > /proc/sys/kernel/sysrq || echo no kernel; ls /sys/firmware | wc -l;"
            "grep CapEff /proc/self/status"
        )
        text = await run(driver, tries)
        assert text.startswith("no device\nno mount\nno kernel\n0\n")
        assert int(text.split()[-1], 16) == 0xA80425FB & ~(1 << 27), "Docker's, but CAP_MKNOD"


async def test_it_may_not_ask_of_the_kernel_what_reaches_beyond_it() -> None:
    """A filter of system calls; what a capability opens that the cell allows is open."""
    tries = (
        "grep Seccomp: /proc/self/status; unshare -U true || echo no user; unshare -n true || echo no net;"
        "dmesg > /dev/null || echo no log"
    )
    async with runtime(privileged=True) as (driver, _):
        assert await run(driver, tries) == "Seccomp:\t2\nno user\nno net\nno log\n"
        more = (Parameter(key="cap-add", value="SYS_ADMIN"), Parameter(key="cap-add", value="SYSLOG"))
        assert await run(driver, tries, task="b.1", parameters=more) == "Seccomp:\t2\n"
        none = (Parameter(key="security-opt", value="seccomp=unconfined"),)
        assert (await run(driver, tries, task="c.1", parameters=none)).startswith("Seccomp:\t0\nno net")
        kept = (Parameter(key="security-opt", value="no-new-privileges"),)
        assert (
            await run(driver, "grep NoNewPrivs /proc/self/status", task="d.1", parameters=kept)
            == "NoNewPrivs:\t1\n"
        )


async def test_it_is_asked_to_end_as_its_image_says_or_its_app(tmp_path: Path) -> None:
    hear = 'for s in TERM QUIT USR1; do trap "echo $s; exit 3" $s; done; echo ready; while :; do sleep 0.05; done'
    async with runtime() as (driver, options):
        layout = await asyncio.to_thread(build, tmp_path, "--config.stopsignal=SIGQUIT")
        await asyncio.to_thread(bring, options.folder, "own:1", layout)
        other = (Parameter(key="stop-signal", value="usr1"),)
        for task, parameters, word in (("a.1", (), "QUIT"), ("a.2", other, "USR1")):
            await driver.start(contained(hear, task=task, image="own:1", parameters=parameters))
            await hears(driver, "ready", task)
            await driver.stop(task, 1000)
            assert (await ended(driver, task)).code == 3
            assert await said(driver, task) == f"ready\n{word}\n"


async def test_a_first_process_of_its_own_hears_for_it_and_buries_orphans() -> None:
    """A command that handles no signal would not end: the kernel spares a first process."""
    first = (Parameter(key="init", value="true"),)
    async with runtime() as (driver, _):
        await driver.start(contained("echo ready; exec sleep 1000", parameters=first))
        await hears(driver, "ready")
        await driver.stop(TASK, 1000)
        assert (await ended(driver)).code == 128 + signal.SIGTERM
        orphan = "(sleep 0.01 & echo $! > /pid) ; while test -e /proc/$(cat /pid); do sleep 0.01; done; exit 7"
        await driver.start(contained(orphan, task="b.1", parameters=first))
        assert (await ended(driver, "b.1")).code == 7


async def test_volumes_outlive_their_containers_and_begin_with_what_the_image_has() -> None:
    async with runtime() as (driver, _):
        volume = AppVolume(container_path="/data", external=External(name="votes", provider="kato"))
        first = "cat /data/seed; stat -c %u /data; echo 1 > /data/count"
        assert await run(driver, first, volumes=(volume,)) == "grown\n77\n"
        await driver.remove(TASK)
        assert await run(driver, "cat /data/count", task="web.instance-2", volumes=(volume,)) == "1\n"


async def test_a_volume_without_a_name_is_a_task_s_own_and_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    async with runtime() as (driver, options):
        source = AppVolume(container_path="/code", host_path=str(tmp_path))
        named = AppVolume(container_path="/code/named", external=External(name="within"))
        own = [Parameter(key="volume", value=place) for place in ("/code/data", "/data")]
        leave = "echo 3 > /code/named/kept; cat /data/seed; stat -c %u /data; ls /code/data; "
        leave += "echo 1 > /code/data/left; echo 2 > /data/seed"
        for task in (TASK, "web.instance-2"):
            what = {
                "task": task,
                "volumes": (named, source),
                "parameters": (*own, Parameter(key="read-only", value="")),
            }
            assert await run(driver, leave, **what) == "grown\n77\n", "what the image has, not the task before"
            await driver.remove(task)
            assert not list(options.folder.rglob("left")), "it went with its task"
            assert (options.volumes / "within/kept").exists(), "and what is named, within another, stays"
    assert not [*(tmp_path / "data").iterdir()], "it hides the folder that it lies in"


async def test_what_an_image_declares_as_volumes_is_a_task_s_own(tmp_path: Path) -> None:
    places = ("/data", "/not/there", "/named")
    layout = build(tmp_path / "image", *(f"--config.volume={place}" for place in places))
    async with runtime() as (driver, options):
        bring(options.folder, "declared:1", layout)
        named = AppVolume(container_path="/named", external=External(name="votes", provider="kato"))
        line = "cat /data/seed && echo 1 > /data/new && echo 2 > /not/there/new && echo 3 > /named/new"
        read_only = (Parameter(key="read-only", value="true"),)
        what = {"image": "declared:1", "volumes": (named,), "parameters": read_only}
        assert await run(driver, line, **what) == "grown\n"
        assert (options.volumes / "votes/new").read_text() == "3\n", "a named one stands before it"
        await driver.remove(TASK)
        assert not [*options.folder.glob("*/oci")]


async def test_a_place_that_is_no_path_of_a_container_is_refused() -> None:
    async with runtime() as (driver, _):
        with pytest.raises(DriverError, match="'volume' has the value '/etc:/host': write an absolute path"):
            await driver.start(contained("true", parameters=(Parameter(key="volume", value="/etc:/host"),)))


async def test_a_folder_of_the_host_may_be_read_only(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("hello")
    async with runtime() as (driver, _):
        volume = AppVolume(container_path="/in", host_path=str(tmp_path), mode="RO")
        assert await run(driver, "cat /in/page; touch /in/other || echo ' no'", volumes=(volume,)) == "hello no\n"


async def test_what_is_mounted_within_a_folder_of_the_host_is_bound_no_less(tmp_path: Path) -> None:
    """Nothing on it is a device or gives rights, and it is read-only where the folder is."""
    (within := tmp_path / "within").mkdir()
    run_tool(["mount", "-t", "tmpfs", "tmpfs", str(within)], tmp_path)
    try:
        os.mknod(within / "null", 0o20666, os.makedev(1, 3))
        os.chmod(within / "null", 0o666)
        asked = "touch /in/within/new || echo no; cat /in/within/null || echo no device"
        async with runtime() as (driver, _):
            volume = AppVolume(container_path="/in", host_path=str(tmp_path), mode="RO")
            assert await run(driver, asked, volumes=(volume,)) == "no\nno device\n"
            volume = AppVolume(container_path="/in", host_path=str(tmp_path))
            task = "web.instance-2"
            assert await run(driver, asked, task=task, volumes=(volume,)) == "no device\n"
    finally:
        run_tool(["umount", str(within)], tmp_path)


async def test_parameters_are_flags_of_docker_run() -> None:
    async with runtime() as (driver, _):
        assert await run(driver, TELLS_FLAGS, parameters=FLAGS) == FLAGS_TOLD


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"privileged": True}, "runs nothing privileged"),
        ({"tty": True}, "gives no terminal"),
        ({"parameters": (Parameter(key="publish-all", value=""),)}, "'publish-all' is not taken"),
        ({"parameters": (Parameter(key="cap-add", value="SYS_ADMIN"),)}, "KATO_PRIVILEGED=1"),
        ({"parameters": (Parameter(key="security-opt", value="seccomp=unconfined"),)}, "KATO_PRIVILEGED=1"),
        ({"volumes": (AppVolume(container_path="/s", host_path="/proc", mode="RO"),)}, "KATO_PRIVILEGED=1"),
        ({"parameters": (Parameter(key="stop-signal", value="SIGNONE"),)}, "'SIGNONE': write a signal"),
        ({"user": "nobody-knows"}, "no user 'nobody-knows'"),
    ],
)
async def test_what_it_cannot_give_is_refused_with_what_to_do(more: dict[str, Any], words: str) -> None:
    async with runtime() as (driver, _):
        with pytest.raises(DriverError, match=words):
            await driver.start(contained("true", **more))
        assert await driver.found() == {}


async def test_memory_beyond_its_limit_is_told_apart() -> None:
    async with runtime() as (driver, _):
        await driver.start(contained("tail /dev/zero", mem=16.0))
        exit = await ended(driver)
        assert (exit.oom, exit.code) == (True, 137)


async def test_a_command_that_is_given_up_is_ended_inside() -> None:
    async with runtime() as (driver, options):
        await driver.start(contained("echo ready; sleep 1000"))
        await hears(driver, "ready")
        before = inhabitants(options)
        with pytest.raises(TimeoutError):
            await driver.execute(TASK, ("/bin/sh", "-c", "sleep 999; true"), 0.5)
        await until(lambda: inhabitants(options) == before)


async def test_a_killed_keeper_leaves_nothing_and_nobody_knows_the_end() -> None:
    before = mounts()
    async with runtime() as (driver, options):
        await driver.start(contained("trap '' TERM; sleep 999 & echo ready; sleep 1000"))
        await hears(driver, "ready")
        members = inhabitants(options)
        assert len(members) == 3, "crun, and two that sleep"
        os.kill(started(options).keeper, signal.SIGKILL)
        exit = await ended(driver)
        assert (exit.code, exit.signal) == (None, None) and "Nobody knows" in exit.message
        assert not any(map(alive, members))
        await driver.remove(TASK)
        left = {each.name for each in (options.folder / ".kept" / TASK).iterdir()}
        assert "oci" not in left and {"stdout.0", "sandbox"} <= left
    assert mounts() == before


async def test_a_killed_crun_takes_its_container_with_it() -> None:
    async with runtime() as (driver, options):
        running = await driver.start(contained("trap '' TERM; sleep 999 & echo ready; sleep 1000"))
        await hears(driver, "ready")
        members = inhabitants(options)
        assert running.pid is not None
        os.kill(running.pid, signal.SIGKILL)
        assert (await ended(driver)).signal == signal.SIGKILL
        assert not any(map(alive, members))


async def test_no_mount_of_a_container_is_seen_outside_and_none_is_left() -> None:
    before = mounts()
    async with runtime() as (driver, options):
        await driver.start(contained("echo ready; sleep 1000"))
        await hears(driver, "ready")
        assert mounts() == before
        assert Record(options.folder / TASK).locked()
    assert mounts() == before


async def test_of_a_start_that_was_cut_off_nothing_is_left() -> None:
    async with runtime() as (driver, options):
        await driver.start(contained("echo ready; sleep 1000"))
        await hears(driver, "ready")
        half = options.folder / "half.instance-1"
        run_tool(["cp", "-a", str(options.folder / TASK / "oci"), str(half)], options.folder)
        assert set(await driver.found()) == {TASK}
        assert not half.exists()


async def test_what_a_container_s_root_leaves_makes_nobody_else_root() -> None:
    volume = AppVolume(container_path="/v", external=External(name="v"))
    leave = 'for d in /v "$MESOS_SANDBOX"; do cp /bin/busybox $d/root; chmod 777 $d; chmod 4755 $d/root; done'
    async with runtime() as (driver, options):
        await run(driver, leave, volumes=(volume,))
        left = [options.folder / TASK / "sandbox/root", options.volumes / "v/root"]
        for path in left:
            assert path.stat().st_mode & stat.S_ISUID and not reached_by_others(path)
