"""What every runtime driver promises that gives containers networks of their own: the same tests for each."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from engine import Room
from kato.drivers.runtime import Launch, Options, Runtime
from kato.model.app import Container, Network, Parameter, PortMapping
from runtimes import PATIENCE, ended, ending_all, hears, launch, said, until

BRIDGE = (Network(mode="container/bridge"),)
SHARED = (Network(mode="container", name="default"),)
SERVE = "mkdir /w; echo {word} > /w/index.html; httpd -p {port} -h /w; echo ready; sleep 1000"


def on(*names: str) -> tuple[Network, ...]:
    """Networks that a project has beside its own."""
    return tuple(Network(mode="container", name=name) for name in names)


class NetworkContract:
    """One suite, every driver: a subclass names its container, and what opens it in a room."""

    container: Container
    flags: tuple[Parameter, ...] = ()

    @pytest.fixture
    async def runtime(self, options: Options, room: Room) -> AsyncIterator[Runtime]:
        async with ending_all(await self.open(options)) as runtime:
            yield runtime

    async def open(self, options: Options) -> Runtime:
        raise NotImplementedError

    def networks(self, room: Room) -> Sequence[str]:
        """What of its networks is seen in the room."""
        raise NotImplementedError

    def launch(self, cmd: str | None, task: str, *, aliases: Sequence[str] = (), **more: Any) -> Launch:
        mappings, ports = more.pop("mappings", ()), more.pop("ports", ())
        assert self.container.docker is not None
        parameters = (*self.flags, *(Parameter(key="network-alias", value=each) for each in aliases))
        docker = msgspec.structs.replace(self.container.docker, parameters=parameters)
        container = msgspec.structs.replace(self.container, docker=docker, port_mappings=tuple(mappings))
        return msgspec.structs.replace(launch(cmd, task=task, container=container, **more), ports=tuple(ports))

    async def say(self, runtime: Runtime, cmd: str, task: str, **more: Any) -> str:
        """What a container says until its end."""
        await runtime.start(self.launch(cmd, task, **more))
        await ended(runtime, task)
        return await said(runtime, task)

    async def serve(self, runtime: Runtime, task: str, *, word: str = "found", **more: Any) -> None:
        await runtime.start(self.launch(SERVE.format(word=word, port=80), task, **more))
        await hears(runtime, "ready", task)

    async def test_ports_are_published_where_the_planner_gave_them(self, runtime: Runtime, room: Room) -> None:
        two = (PortMapping(container_port=80), PortMapping(container_port=0))
        page = SERVE.format(word="hello", port="80 -h /w; httpd -p 31502")
        await runtime.start(self.launch(page, "web.1", networks=BRIDGE, mappings=two, ports=(31501, 31502)))
        await hears(runtime, "ready", "web.1")
        for port in (31501, 31502):
            assert (heard := await asked(room, port)) == "hello\n", heard
        await runtime.stop("web.1", 0)
        await ended(runtime, "web.1")
        assert await asked(room, 31501, patience=0) == ""
        await runtime.remove("web.1")
        await self.serve(runtime, "web.2", networks=BRIDGE, mappings=two[:1], ports=(31501,))
        assert await asked(room, 31501) == "found\n"

    async def test_tasks_of_a_group_find_each_other_by_name(self, runtime: Runtime) -> None:
        await self.serve(runtime, "shop_web.1", id="/shop/web", networks=SHARED, aliases=["front", "web"])
        for name in ("web", "front"):
            ask = f"nslookup {name}; wget -qO- http://{name}/"
            heard = await self.say(runtime, ask, f"shop_ask.{name}", id="/shop/ask", networks=SHARED)
            assert f"Name:\t{name}" in heard and heard.endswith("found\n"), heard
        await runtime.start(self.launch("nslookup web", "other_ask.1", id="/other/ask", networks=SHARED))
        assert (await ended(runtime, "other_ask.1")).code != 0

    async def test_a_task_has_names_on_the_networks_that_it_is_on(self, runtime: Runtime) -> None:
        await self.serve(runtime, "shop_db.1", id="/shop/db", networks=on("shop_back"))
        asks = "for n in db web; do wget -qO- http://$n/ || echo no $n; done"
        await self.serve(runtime, "shop_web.1", id="/shop/web", networks=on("shop_front", "shop_back"), word="web")
        beside = await runtime.execute("shop_web.1", ("/bin/sh", "-c", asks), 20)
        assert beside.output == b"found\nweb\n", beside.output
        heard = await self.say(runtime, asks, "shop_proxy.1", id="/shop/proxy", networks=on("shop_front"))
        assert heard == "no db\nweb\n", heard

    async def test_networks_outlive_the_driver_and_go_with_their_last_task(
        self, options: Options, room: Room
    ) -> None:
        before = self.networks(room)
        first = await self.open(options)
        try:
            await self.serve(first, "shop_web.1", id="/shop/web", networks=SHARED)
            running = (await first.found())["shop_web.1"]
        finally:
            await first.close()
        async with ending_all(await self.open(options)) as second:
            assert (await second.found())["shop_web.1"] == running
            ask = "wget -qO- http://web/; nslookup ask"
            heard = await self.say(second, ask, "shop_ask.1", id="/shop/ask", networks=SHARED)
            assert heard.startswith("found\n") and "Name:\task" in heard, heard
            assert len(self.networks(room)) == len(before) + 1
            for task in ("shop_ask.1", "shop_web.1"):
                await second.stop(task, 0)
                await ended(second, task)
                await second.remove(task)
            await until(lambda: self.networks(room) == before)


async def asked(room: Room, port: int, *, patience: float = PATIENCE) -> str:
    """What a server on the room's loopback says; nothing where none answers."""
    words = ["curl", "--silent", "--max-time", "5", f"http://127.0.0.1:{port}/"]
    deadline = time.monotonic() + patience
    while True:
        done = await asyncio.to_thread(subprocess.run, room.inside(*words), capture_output=True, text=True)
        if not done.returncode or time.monotonic() >= deadline:
            return done.stdout
