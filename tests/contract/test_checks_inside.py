"""Checks of Mesos' own kind in the network of a container: real engine, real namespaces, real TLS."""

import ssl
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from builders import task
from engine import IMAGE, Dockerd, Room, needs_root
from kato.agent.checks import CheckedTask, Verdict, examine
from kato.agent.edge import Edge
from kato.agent.probe import Prober
from kato.drivers.runtime.docker import Driver
from kato.model.app import Container, Docker, HealthCheck, Network, PortMapping
from kato.model.link import Assignment
from runtimes import ending_all, folders, hears, launch
from serving import pair, serving

BRIDGE = Container(docker=Docker(image=IMAGE), port_mappings=(PortMapping(container_port=8080),))


@pytest.fixture
async def contained(engine: Dockerd) -> AsyncIterator[CheckedTask]:
    """A container whose server listens on its own loopback alone: nobody reaches it from outside."""
    serve = "mkdir /tmp/w; echo hi > /tmp/w/up; busybox httpd -p 127.0.0.1:8080 -h /tmp/w; echo ready; sleep 1000"
    with folders() as options:
        driver = await Driver.open(msgspec.structs.replace(options, engine=engine.url, node=uuid.uuid4().hex))
        async with ending_all(driver):
            what = launch(serve, container=BRIDGE, networks=(Network(mode="container/bridge"),))
            what = msgspec.structs.replace(what, ports=(31999,))
            found = await driver.start(what)
            await hears(driver, "ready")
            of = msgspec.structs.replace(task(what.app), id=what.task, ports=(31999,))
            wish = Assignment(of, what.app, {})
            yield CheckedTask(
                wish, driver, "127.0.0.1", 0.0, False, Prober(), lambda: 0.0, Edge("web"), pid=found.pid
            )


async def test_they_ask_the_container_s_port_in_its_own_network(contained: CheckedTask) -> None:
    assert await examine(contained, HealthCheck(protocol="MESOS_HTTP", path="/up")) == Verdict(True)
    assert await examine(contained, HealthCheck(protocol="MESOS_TCP")) == Verdict(True)
    missing = await examine(contained, HealthCheck(protocol="MESOS_HTTP", path="/none"))
    assert missing == Verdict(False, "GET /none answered 404")
    shut = await examine(contained, HealthCheck(protocol="MESOS_TCP", port=8081))
    assert shut == Verdict(False, "connection refused")
    outside = await examine(contained, HealthCheck(protocol="HTTP", path="/up"))
    assert outside.ok is False, "others go to the port of the host"


async def test_where_its_network_cannot_be_entered_they_ask_the_host_s_port(contained: CheckedTask) -> None:
    gone = contained._replace(pid=2**22 + 1)
    assert (await examine(gone, HealthCheck(protocol="MESOS_HTTP", path="/up"))).ok is False
    assert await Prober().inside(2**22 + 1) is None


async def test_tls_works_there_and_certificates_are_not_verified(tmp_path: Path) -> None:
    needs_root()
    room = Room()
    try:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair(tmp_path))
        with room.network():
            answering = serving(b"HTTP/1.1 200 OK\r\n\r\n", tls)
            port, _ = await answering.__aenter__()
        try:
            with pytest.raises(ConnectionRefusedError):
                await Prober().tcp("127.0.0.1", port)
            sock = await Prober().inside(room._room.pid)
            assert sock is not None
            assert await Prober().http("127.0.0.1", port, "/", tls=True, sock=sock) == 200
        finally:
            await answering.__aexit__(None, None, None)
    finally:
        room.end()
