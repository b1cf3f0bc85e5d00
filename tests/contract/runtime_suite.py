"""What every runtime driver promises: a driver flows in by name, the same tests come out for each."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kato.drivers.load import load
from kato.drivers.runtime import LAST, Executed, Exit, Launch, Options, Runtime, Stats
from kato.model.app import AppVolume, Artifact, Container
from kato.model.conversation import Command, Size
from kato.model.errors import DriverError, NotFound, NotRun
from kato.model.link import Used
from kato.model.secret import Secret
from person import Person
from runtimes import PATIENCE, ended, ending_all, folders, hears, launch, said
from shop import Shop, packed

TASK = "web.instance-1"
SITE = packed({"www/page": b"hello\n"})
PIECE = 64 << 20
"""Bytes of memory that a task is made to hold."""
CANARY = b"canary-5d0e77b2"


def holding(folder: Path) -> Iterator[Path]:
    """The files that hold the canary, but for what a task wrote of it."""
    for file in folder.rglob("*"):
        theirs = file.is_file() and not file.is_symlink() and not file.name.startswith("stdout")
        if theirs and CANARY in file.read_bytes():
            yield file


def as_root_here() -> bool:
    """Whether a task may be another user's."""
    return os.geteuid() == 0


class RuntimeContract:
    """One suite, every driver: a subclass names the driver."""

    driver: str
    container: Container | None = None

    def launch(self, cmd: str | None = None, **more: Any) -> Launch:
        return launch(cmd, container=self.container, **more)

    async def run(self, runtime: Runtime, cmd: str | None = None, **more: Any) -> Exit:
        what = self.launch(cmd, **more)
        await runtime.start(what)
        return await ended(runtime, what.task)

    @pytest.fixture
    def options(self) -> Iterator[Options]:
        with folders() as options:
            yield options

    @pytest.fixture
    async def runtime(self, options: Options) -> AsyncIterator[Runtime]:
        async with ending_all(await self.open(options)) as runtime:
            yield runtime

    async def open(self, options: Options) -> Runtime:
        opened: Runtime = await load("runtime", self.driver).open(options)
        return opened

    async def test_an_exit_code_is_told(self, runtime: Runtime) -> None:
        exit = await self.run(runtime, "exit 3")
        assert (exit.code, exit.signal) == (3, None)
        assert exit.ended is not None

    async def test_success_is_told(self, runtime: Runtime) -> None:
        assert (await self.run(runtime, "true")).code == 0

    async def test_args_are_run_without_a_shell(self, runtime: Runtime) -> None:
        assert (await self.run(runtime, args=("echo", "$HOME", "a  b"))).code == 0
        assert await said(runtime) == "$HOME a  b\n"

    async def test_starting_twice_starts_once(self, runtime: Runtime) -> None:
        both = await asyncio.gather(
            runtime.start(self.launch("echo once; sleep 1000")), runtime.start(self.launch("false"))
        )
        again = await runtime.start(self.launch("echo twice"))
        assert both[0].pid == both[1].pid == again.pid is not None
        assert await hears(runtime, "once") == "once\n"

    async def test_a_start_that_fails_leaves_nothing(self, runtime: Runtime) -> None:
        with pytest.raises(DriverError, match=r"/no/such/program"):
            await runtime.start(self.launch(args=("/no/such/program",)))
        assert await runtime.found() == {}
        assert (await self.run(runtime, "exit 4")).code == 4

    async def test_the_environment_is_what_was_given(self, runtime: Runtime) -> None:
        await self.run(runtime, "env", env={"ONE": "1", "TWO": "a=b c\nd"})
        text = await said(runtime)
        assert "ONE=1\n" in text
        assert "TWO=a=b c\nd\n" in text
        assert "MESOS_SANDBOX=" in text

    async def test_a_stop_lets_it_end_by_itself(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"))
        await hears(runtime, "ready")
        await runtime.stop(TASK, 15)
        assert (await ended(runtime)).code == 5
        assert await said(runtime) == "ready\nbye\n"

    async def test_a_stop_ends_what_does_not_listen(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("trap '' TERM; echo ready; while :; do sleep 0.05; done"))
        await hears(runtime, "ready")
        await runtime.stop(TASK, 0.2)
        exit = await ended(runtime)
        assert exit.signal == 9 or exit.code == 137

    async def test_a_shorter_grace_overtakes_a_longer_one(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("trap '' TERM; echo ready; while :; do sleep 0.05; done"))
        await hears(runtime, "ready")
        await runtime.stop(TASK, 1000)
        await runtime.stop(TASK, 0.1)
        await ended(runtime)

    async def test_stopping_the_ended_or_unknown_is_no_error(self, runtime: Runtime) -> None:
        await self.run(runtime, "true")
        await runtime.stop(TASK, 1)
        await runtime.stop("stranger.instance-1", 1)

    async def test_both_streams_are_kept_apart(self, runtime: Runtime) -> None:
        await self.run(runtime, "echo out; echo err >&2")
        assert await said(runtime) == "out\n"
        assert await said(runtime, stream="stderr") == "err\n"

    @pytest.mark.parametrize(("tail", "text"), [(0, ""), (1, "3\n"), (2, "2\n3\n"), (9, "1\n2\n3\n")])
    async def test_the_last_lines_of_output(self, runtime: Runtime, tail: int, text: str) -> None:
        await self.run(runtime, "printf '1\\n2\\n3\\n'")
        assert await said(runtime, tail=tail) == text

    async def test_output_is_followed_to_the_end(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("for i in $(seq 50); do echo line $i; sleep 0.002; done"))
        assert await said(runtime, follow=True) == "".join(f"line {n}\n" for n in range(1, 51))

    async def test_output_says_when_it_came_and_goes_on_from_there(self, runtime: Runtime) -> None:
        began = time.time_ns()
        heard_it = "until test -e heard{0}; do sleep 0.01; done"
        await runtime.start(
            self.launch(f"echo one; {heard_it.format(1)}; echo two; {heard_it.format(2)}; echo three")
        )
        heard = []
        between = [began]
        async for piece in runtime.output(TASK, "stdout", tail=None, follow=True):
            heard.append(piece)
            between.append(time.time_ns())
            if len(heard) < 3:
                assert (await runtime.execute(TASK, ("touch", f"heard{len(heard)}"), 30)).code == 0
        assert [piece.data for piece in heard] == [b"one\n", b"two\n", b"three\n"]
        for n, piece in enumerate(heard):
            assert between[n] < (piece.time or 0) < between[n + 1]
        for n, piece in enumerate(heard):
            rest = [
                each async for each in runtime.output(TASK, "stdout", tail=None, follow=False, since=piece.end)
            ]
            assert rest == heard[n + 1 :]

    async def test_output_of_the_unknown_is_not_found(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            await said(runtime, "stranger.instance-1")

    async def test_waiting_for_the_unknown_is_an_error(self, runtime: Runtime) -> None:
        with pytest.raises(DriverError, match=r"stranger\.instance-1"):
            await runtime.wait("stranger.instance-1")

    async def test_a_command_runs_in_the_task_s_surroundings(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("echo here > mark; echo ready; sleep 1000", env={"ONE": "1"}))
        await hears(runtime, "ready")
        check = 'test "$ONE" = 1 && grep -q here mark && exit 7'
        assert await runtime.execute(TASK, ("/bin/sh", "-c", check), PATIENCE) == Executed(7)

    async def test_a_command_s_last_output_is_told(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        both = "printf out; echo ' err' >&2; exit 1"
        done = await runtime.execute(TASK, ("/bin/sh", "-c", both), PATIENCE)
        assert done.code == 1 and done.output in (b"out err\n", b" err\nout"), "an engine may hear of one first"
        much = "seq 100000; exit 1"
        assert await runtime.execute(TASK, ("/bin/sh", "-c", much), PATIENCE) == Executed(
            1, "".join(f"{n}\n" for n in range(1, 100_001)).encode()[-LAST:]
        )

    async def test_a_command_has_ended_though_a_daemon_of_it_has_not(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        leaves = "sleep 1000 & echo left; exit 1"
        assert await runtime.execute(TASK, ("/bin/sh", "-c", leaves), PATIENCE) == Executed(1, b"left\n")

    async def test_a_command_that_takes_too_long_is_ended(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        with pytest.raises(TimeoutError):
            await runtime.execute(TASK, ("/bin/sh", "-c", "sleep 1000; true"), 0.2)

    async def test_no_command_runs_beside_an_ended_task(self, runtime: Runtime) -> None:
        await self.run(runtime, "true")
        with pytest.raises(DriverError):
            await runtime.execute(TASK, ("true",), PATIENCE)

    async def test_a_running_task_is_not_removed(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        with pytest.raises(DriverError, match="still runs"):
            await runtime.remove(TASK)

    async def test_a_removed_task_is_forgotten_and_its_output_kept(self, runtime: Runtime) -> None:
        await self.run(runtime, "echo last words; exit 3")
        assert list(await runtime.kept()) == []
        await runtime.remove(TASK)
        await runtime.remove(TASK)
        assert await runtime.found() == {}
        assert await said(runtime) == "last words\n"
        (kept,) = await runtime.kept()
        assert kept.task == TASK and kept.message == "It exited with code 3."
        assert kept.started is not None and kept.ended is not None and kept.started <= kept.ended

    async def test_secrets_are_files_that_nobody_else_reads_and_that_go_with_the_task(
        self, runtime: Runtime, options: Options
    ) -> None:
        """Of the task's user and of who is root; what is kept of the task has none of them."""
        volumes = (
            AppVolume(container_path="/run/secrets/pw", secret="pw"),
            AppVolume(container_path="own/key", secret="key"),
        )
        container = msgspec.structs.replace(self.container or Container(type="MESOS"), volumes=volumes)
        root = "" if self.container else "$MESOS_SANDBOX"
        read = (
            f"cat {root}/run/secrets/pw $MESOS_SANDBOX/own/key; echo; echo x >> {root}/run/secrets/pw || echo shut"
        )
        what = launch(f"{read}; sleep 1000", container=container, user="65534:65534" if as_root_here() else None)
        secrets = {"pw": Secret(value=CANARY, since=0.0), "key": Secret(value=b"\x00\xffkey", since=0.0)}
        await runtime.start(msgspec.structs.replace(what, secrets=secrets))
        assert await hears(runtime, "shut") == f"{CANARY.decode()}\0\ufffdkey\nshut\n"
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                with contextlib.suppress(OSError):
                    assert CANARY not in (process / "cmdline").read_bytes()
        assert list(holding(options.folder)), "where else would it be"
        for file in holding(options.folder):
            ways = [file, *(each for each in file.parents if each.is_relative_to(options.folder))]
            assert not all(way.stat().st_mode & 0o005 for way in ways), f"others read {file}"
        await runtime.stop(TASK, 0)
        await ended(runtime)
        await runtime.remove(TASK)
        assert not list(holding(options.folder))

    async def test_files_are_there_before_it_starts_and_are_its_user_s(self, runtime: Runtime, shop: Shop) -> None:
        shop.files = {"/conf.txt": b"red\n", "/tool": b"#!/bin/sh\necho tool runs\n", "/site.tgz": SITE}
        fetch = (
            Artifact(uri=shop.url("/conf.txt"), dest_path="etc/conf.txt"),
            Artifact(uri=shop.url("/tool"), executable=True),
            Artifact(uri=shop.url("/site.tgz"), cache=True),
        )
        look = "cd $MESOS_SANDBOX && cat etc/conf.txt && ./tool && cat www/page && echo more >> www/page && ls"
        assert (await self.run(runtime, look, fetch=fetch)).code == 0
        assert await said(runtime) == "red\ntool runs\nhello\netc\ntool\nwww\n"

    async def test_without_its_files_it_does_not_start_and_nothing_is_left(
        self, runtime: Runtime, options: Options, shop: Shop
    ) -> None:
        fetch = (Artifact(uri=shop.url("/none?token=secret")),)
        with pytest.raises(DriverError, match=r"none fetched: .*/none was answered with 404 Not Found") as told:
            await runtime.start(self.launch("true", fetch=fetch))
        assert "secret" not in str(told.value)
        assert await runtime.found() == {}
        assert not (options.folder / TASK).exists() and not list((options.folder / ".fetched/tasks").iterdir())
        shop.files = {"/none": b""}
        assert (await self.run(runtime, "exit 4", fetch=fetch)).code == 4

    async def test_what_a_task_uses_is_told(self, runtime: Runtime) -> None:
        """The time of all its processes, ended ones too; and what it holds of memory, by a known piece of it."""
        assert isinstance(runtime, Stats) and "stats" in runtime.powers
        hold = f"dd if=/dev/zero bs={PIECE >> 20}M 2>/dev/null | sleep 1000 & "
        busy = "sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; echo once; while :; do :; done"
        pid = (await runtime.start(self.launch(hold + busy, mem=256.0))).pid
        assert pid is not None
        await hears(runtime, "once")

        async def look() -> Used:
            return (await runtime.stats({TASK: pid}))[TASK]

        begun = time.monotonic()
        async with asyncio.timeout(3 * PATIENCE):
            first = await look()
            while (last := await look()).cpu < first.cpu + 0.4 or last.memory < PIECE:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert first.cpu > 0.03, "the time of what has ended is forgotten"
        assert PIECE <= last.memory < PIECE + (24 << 20)
        assert last.cpu - first.cpu <= 1.3 * (time.monotonic() - begun), "more than the one core that a loop takes"
        await runtime.stop(TASK, 0)
        await ended(runtime)
        assert await runtime.stats({TASK: pid}) == {}

    async def test_tasks_outlive_the_driver(self, options: Options) -> None:
        first = await self.open(options)
        running = await first.start(self.launch("sleep 1000", task="a.instance-1"))
        await first.start(self.launch("exit 3", task="b.instance-1"))
        await ended(first, "b.instance-1")
        await first.close()
        async with ending_all(await self.open(options)) as second:
            found = await second.found()
            assert found["a.instance-1"] == running
            assert (end := found["b.instance-1"].exit) is not None
            assert end.code == 3
            await second.stop("a.instance-1", 0)
            await ended(second, "a.instance-1")


class ExecContract(RuntimeContract):
    """And what those promise that have the power `exec`."""

    async def test_a_terminal_is_the_command_s_own(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000", env={"ONE": "1"}))
        shell = Command(("/bin/sh",), terminal=True, interactive=True, rows=33, columns=99, kind="vt100")
        person = Person(runtime, shell)
        person.type("stty size; echo $TERM-$ONE-$((40+2))\n")
        await person.hears("vt100-1-42\r\n")
        assert b"33 99\r\n" in person.heard["stdout"]
        person.type(Size(50, 132), "until test $(stty size | cut -c-2) = 50; do :; done; echo now-$((1+1))\n")
        await person.hears("now-2\r\n")
        loop = "trap 'echo caught-$((1+2)); exit' INT; echo set-$((2+2)); while :; do sleep 0.05; done"
        person.type(f'sh -c "{loop.replace("$", chr(92) + "$")}"\n')
        await person.hears("set-4\r\n")
        person.type("\x03")
        await person.hears("caught-3\r\n")
        person.type("exit 7\n")
        assert await person.leaves() == 7

    async def test_pipes_keep_streams_and_bytes_apart(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        command = Command(("/bin/sh", "-c", "cat; echo err >&2; exit 3"), interactive=True)
        person = Person(runtime, command)
        person.type("one\0two\n" * 20_000, None)
        assert await person.leaves() == 3
        assert person.heard == {"stdout": b"one\0two\n" * 20_000, "stderr": b"err\n"}

    async def test_without_an_input_its_end_is_read_at_once(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        person = Person(runtime, Command(("/bin/sh", "-c", "cat; seq 20000; kill -9 $$")))
        assert await person.leaves() == 137
        assert person.heard["stdout"].endswith(b"\n20000\n")

    async def test_what_cannot_be_run_is_an_error(self, runtime: Runtime) -> None:
        await runtime.start(self.launch("sleep 1000"))
        for terminal in (False, True):
            for program, code, words in (
                ("/no/such/program", 127, "There is no program /no/such/program in task web.instance-1."),
                ("nosuch", 127, "There is no program nosuch in task web.instance-1."),
                ("/etc", 126, "/etc may not be executed in task web.instance-1: "),
            ):
                with pytest.raises(NotRun) as told:
                    await Person(runtime, Command((program,), terminal=terminal)).leaves()
                assert told.value.code == code and str(told.value).startswith(words)
        await runtime.stop(TASK, 0)
        await ended(runtime)
        with pytest.raises(DriverError):
            await Person(runtime, Command(("true",))).leaves()

    async def test_a_command_ends_when_its_person_has_gone(self, runtime: Runtime) -> None:
        await runtime.start(
            self.launch("while sleep 0.05; do test -e begun && ! kill -0 $(cat begun) && echo gone; done")
        )
        for terminal in (True, False):
            person = Person(
                runtime, Command(("/bin/sh", "-c", "echo $$ > begun; echo up; exec sleep 1000"), terminal)
            )
            await person.hears("up")
            await person.hangs_up()
            await hears(runtime, "gone")
