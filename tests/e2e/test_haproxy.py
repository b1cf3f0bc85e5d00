"""Real traffic through the real HAProxy while servers come, go and die: how many requests fail."""

import asyncio
import contextlib
import os
import pwd
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kato.drivers.balancer import Options, process, silence
from kato.drivers.balancer.haproxy import Driver
from kato.drivers.balancer.runtime_socket import ANSWER, MASTER, SOCKET, RuntimeSocket
from kato.drivers.balancer.silence import Patience
from kato.model.errors import DriverError
from kato.model.frontend import Frontends, Server, Service
from load import Answering, ask, free_port, once, pressing, until, until_answers
from runtimes import alive

HOST = "vote.localhost"


class Scene:
    """A driver, and one service of which a test says the servers."""

    def __init__(self, driver: Driver, folder: Path, ingress: int) -> None:
        self.driver = driver
        self.folder = folder
        self.socket = RuntimeSocket(folder)
        self.ingress = ingress
        self.port = free_port()
        self.seq = 0

    async def serve(self, ready: list[Answering], drain: list[Answering] | None = None, more: int = 0) -> int:
        """Applies; the open sessions of all that drain. more: further services, each with a port of its own."""
        ack = await self.driver.apply(self.view(ready, drain, more))
        assert ack.seq == self.seq and ack.problems == ()
        return sum(ack.sessions.values())

    def view(self, ready: list[Answering], drain: list[Answering] | None = None, more: int = 0) -> Frontends:
        """A view newer than any before."""
        self.seq += 1
        servers = [Server(each.name, "127.0.0.1", each.port) for each in ready]
        servers += [Server(each.name, "127.0.0.1", each.port, "drain") for each in drain or []]
        others = [Service(f"/other{n}", 0, port) for n, port in enumerate(self.others(more))]
        service = Service("/voting/vote", 0, self.port, (HOST,), "/", tuple(servers))
        return Frontends(self.seq, (service, *others))

    def others(self, count: int) -> list[int]:
        """Ports of the further services, the same ones every time."""
        known: list[int] = self.__dict__.setdefault("_others", [])
        while len(known) < count:
            known.append(free_port())
        return known[:count]

    async def drained(self, ready: list[Answering], drain: list[Answering], more: int = 0) -> None:
        """Returns once nothing is open for what drains, as the planner sees it."""

        async def over() -> bool:
            return await self.serve(ready, drain, more) == 0

        await until(over)

    async def workers(self) -> tuple[int, ...]:
        return (await self.socket.processes()).workers


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    ingress = free_port()
    options = Options(folder=tmp_path / "balancer", node="n1", ingress=f"127.0.0.1:{ingress}")
    driver = await Driver.open(options)
    try:
        yield Scene(driver, options.folder, ingress)
    finally:
        await driver.close(stop=True)


@contextlib.asynccontextmanager
async def answering(*names: str) -> AsyncIterator[list[Answering]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Answering(name)) for name in names]


@contextlib.asynccontextmanager
async def losing(folder: Path, words: str) -> AsyncIterator[list[str]]:
    """While open, commands that have `words` in them are lost on their way to HAProxy; yields those that were."""
    front, back = folder / SOCKET, folder / "aside.sock"
    lost: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = (await reader.read()).decode().strip().split(";")
        lost.extend(each for each in commands if words in each)
        answers, asks = await asyncio.open_unix_connection(back)
        asks.write((";".join(each for each in commands if words not in each) + "\n").encode())
        asks.write_eof()
        writer.write(await answers.read())
        asks.close()
        writer.close()

    front.rename(back)
    server = await asyncio.start_unix_server(pass_on, front)
    try:
        yield lost
    finally:
        server.close()
        await server.wait_closed()
        back.rename(front)


@pytest.mark.parametrize(("http", "keep_alive"), [(True, True), (True, False), (False, False)])
async def test_an_upgrade_under_load_fails_no_request(scene: Scene, http: bool, keep_alive: bool) -> None:
    async with answering("a1", "a2", "a3") as old, answering("b1", "b2", "b3") as new:
        await scene.serve(old)
        workers = await scene.workers()
        port = scene.ingress if http else scene.port
        async with pressing(port, HOST, keep_alive=keep_alive) as tally:
            await until_answers(tally, 200)
            for n in range(3):
                await scene.serve(new[: n + 1] + old[n:])
                await until_answers(tally, 10, new[n].name)
                await scene.drained(new[: n + 1] + old[n + 1 :], [old[n]])
                old[n].die()
                await scene.serve(new[: n + 1] + old[n + 1 :])
                await until_answers(tally, 50)
        assert tally.failures == []
        assert await scene.workers() == workers


@pytest.mark.parametrize("keep_alive", [True, False])
async def test_reloads_under_load_fail_no_request(scene: Scene, keep_alive: bool) -> None:
    async with answering("a1", "a2") as servers:
        await scene.serve(servers)
        first = await scene.workers()
        async with pressing(scene.ingress, HOST, keep_alive=keep_alive) as tally:
            for more in (1, 2, 3, 0):
                await scene.serve(servers, more=more)
                await until_answers(tally, 100)
        assert tally.failures == []
        assert not set(first) & set(await scene.workers())


async def test_a_server_added_at_run_time_survives_a_reload(scene: Scene) -> None:
    async with answering("a1", "a2") as (one, two):
        await scene.serve([one])
        await scene.serve([one, two])
        await scene.serve([one, two], more=1)
        async with pressing(scene.ingress, HOST, keep_alive=False, clients=2) as tally:
            await until_answers(tally, 5, "a1")
            await until_answers(tally, 5, "a2")
        assert tally.failures == []


async def test_an_upgrade_just_after_a_reload_waits_for_the_clients_of_before(scene: Scene) -> None:
    """A worker of before the reload cannot drain; a client that idles there may still come with one request."""
    async with answering("old") as (old,), answering("new") as (new,):
        await scene.serve([old])
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.ingress)
        assert (await ask(reader, writer, HOST)).body == "old"
        await scene.serve([old], more=1)
        assert await scene.serve([new], [old], more=1) > 0
        last = await ask(reader, writer, HOST)
        assert (last.status, last.closes) == (200, True)
        writer.close()
        await scene.drained([new], [old], more=1)


@pytest.mark.parametrize("http", [True, False])
async def test_a_killed_server_is_passed_by_before_kato_knows(scene: Scene, http: bool) -> None:
    async with answering("a1", "a2", "a3") as servers:
        await scene.serve(servers)
        port = scene.ingress if http else scene.port
        async with pressing(port, HOST, keep_alive=http) as tally:
            await until_answers(tally, 200)
            servers[1].die()
            await until_answers(tally, 500)
        # TCP cannot ask again: what was under way on the dead server is lost, one request of each client at most.
        assert len(tally.failures) <= (0 if http else 8)


async def test_a_slow_request_holds_its_session_and_is_answered(scene: Scene) -> None:
    async with answering("slow", "b") as (slow, other):
        slow.delay = 0.5
        await scene.serve([slow])
        asking = asyncio.create_task(once(scene.ingress, HOST))
        await until(lambda: bool(slow.heads))
        assert await scene.serve([other], [slow]) == 1
        assert (await once(scene.ingress, HOST)).body == "b"
        await scene.drained([other], [slow])
        assert slow.answered == 1 and (await asking).body == "slow"


async def test_a_drain_that_was_not_taken_is_not_acknowledged_and_soon_tried_again(scene: Scene) -> None:
    async with answering("a", "b") as (one, two):
        await scene.serve([one, two])
        view = scene.view([two], [one])
        async with losing(scene.folder, "state drain") as lost:
            ack = await scene.driver.apply(view)
            assert lost and (ack.seq, len(ack.problems)) == (view.seq - 1, 1)
            assert "HAProxy did not take" in ack.problems[0] and "state drain" in ack.problems[0]
            assert {(await once(scene.port)).body for _ in range(6)} == {"a", "b"}
            async with asyncio.timeout(4):  # before its pulse is looked at anyway
                await scene.driver.due()
        ack = await scene.driver.apply(view)
        assert (ack.seq, ack.sessions, ack.problems) == (view.seq, {"a": 0}, ())
        assert {(await once(scene.port)).body for _ in range(6)} == {"b"}


async def test_a_tcp_session_drains_over_a_reload(scene: Scene) -> None:
    async with answering("a", "b") as (one, two):
        await scene.serve([one])
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        assert (await ask(reader, writer, "x")).body == "a"
        assert await scene.serve([two], [one], more=1) == 1
        assert (await ask(reader, writer, "x")).body == "a"
        assert (await once(scene.port)).body == "b"
        writer.close()
        await scene.drained([two], [one], more=1)


SLOW = """#!/bin/sh
sleep 1000 & echo $! $$ > pids.new; mv pids.new pids
setsid sleep 1000 & wait
"""


@pytest.mark.parametrize("cancelled", [True, False])
async def test_what_does_not_come_up_is_ended(tmp_path: Path, cancelled: bool) -> None:
    haproxy = tmp_path / "haproxy"
    haproxy.write_text(SLOW)
    haproxy.chmod(0o700)
    starting = asyncio.create_task(process.start(haproxy, tmp_path, 20.0 if cancelled else 4.0))
    await until(lambda: (tmp_path / "pids").exists())
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    if cancelled:
        starting.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else DriverError):
        await starting
    await until(lambda: not any(map(alive, pids)))


async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    for milliseconds in range(0, 60, 3):
        options = Options(folder=tmp_path / str(milliseconds), node="n1", ingress=f"127.0.0.1:{free_port()}")
        driver = await Driver.open(options)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(milliseconds / 1000):
                await driver.apply(Frontends())
        await driver.close(stop=True)
        assert inhabitants(options.folder) == [], f"cancelled after {milliseconds} ms"


@contextlib.asynccontextmanager
async def posing(folder: Path, words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that is started as HAProxy is, and runs."""
    words = f"import time; print(flush=True); {words}"
    found = await asyncio.create_subprocess_exec(
        sys.executable, "-c", words, MASTER, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert found.stdout is not None
        await found.stdout.readline()
        yield found
    finally:
        with contextlib.suppress(ProcessLookupError):
            found.kill()
        await found.wait()


async def test_what_is_merely_slow_is_not_taken_for_stuck(tmp_path: Path) -> None:
    async with posing(tmp_path, "exec('while True: pass')") as busy:
        patience = Patience(tmp_path)
        assert not any(patience.stuck(ANSWER) for _ in range(10)), "it waits for its turn"
        os.kill(busy.pid, signal.SIGSTOP)
        await until(lambda: Path(f"/proc/{busy.pid}/stat").read_text().split()[2] == "T")
        assert patience.stuck(ANSWER)
        patience.answered()
        assert not patience.stuck(1000.0), (
            "one question is no proof: it may be the cell that was stopped meanwhile"
        )
        assert patience.stuck(ANSWER)


async def test_what_sleeps_though_it_is_asked_is_stuck(tmp_path: Path) -> None:
    async with posing(tmp_path, "time.sleep(1000)") as asleep:
        await until(lambda: Path(f"/proc/{asleep.pid}/stat").read_text().split()[2] == "S")
        patience = Patience(tmp_path)
        assert [patience.stuck(ANSWER) for _ in range(2)] == [False, True]
        await silence.end(tmp_path)
        assert await asleep.wait() == -signal.SIGKILL


async def test_where_nobody_is_seen_nobody_is_stuck(tmp_path: Path) -> None:
    patience = Patience(tmp_path)
    assert not any(patience.stuck(ANSWER) for _ in range(4))


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root's HAProxy becomes another user: run the tests as root.")
async def test_a_worker_is_of_a_user_that_nobody_else_is(scene: Scene) -> None:
    await scene.serve([])
    (worker,) = await scene.workers()
    ids = dict(line.split(":", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines())
    uids, gids = ({*map(int, ids[each].split())} for each in ("Uid", "Gid"))
    assert uids == gids and len(uids) == 1 and not uids & {0, 65534}
    with pytest.raises(KeyError):
        pwd.getpwuid(*uids)
    kill = f"import os; os.setgid(65534); os.setuid(65534); os.kill({worker}, 19)"
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", kill, stderr=asyncio.subprocess.PIPE)
    assert b"PermissionError" in (await done.communicate())[1]


def inhabitants(folder: Path) -> list[int]:
    """Who has it for a working folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


async def test_requests_say_for_whom_they_come(scene: Scene) -> None:
    async with answering("a") as (server,):
        await scene.serve([server])
        await once(scene.ingress, HOST)
        assert b"x-forwarded-for: 127.0.0.1" in server.heads[-1].lower()
