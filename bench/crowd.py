"""One wish for a group of many apps without tasks goes into a whole cell; how long it takes comes out, in seconds
and in seconds of processor time, with the longest time for which the event loop stood still.

python -m bench.crowd [APPS]
"""

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import structlog

from bench.figures import SHORT, say
from fakes import FakeProbe, FakeRuntime
from kato.config import Config
from kato.drivers.balancer import Options
from kato.machine import Drivers
from kato.model.frontend import BorderAck, Frontends
from kato.model.node import Node as Facts
from kato.model.node import Resources
from kato.node import Node
from kato.store.local import LocalStore
from load import free_ports

APPS = 10_000
ROUNDS = 1 if SHORT else 3
TICK = 0.01
"""Seconds between two looks at how late the event loop is."""

AFTER = 2.0
"""Seconds of looking on after the deployment: old versions go then."""


class Balancer:
    """Takes every view, and serves none."""

    name = "none"

    @classmethod
    async def open(cls, options: Options) -> "Balancer":
        return cls()

    async def apply(self, view: Frontends) -> BorderAck:
        return BorderAck(node="n1", seq=view.seq)

    async def close(self, *, stop: bool) -> None:
        """There is nothing to let go."""


class Run(NamedTuple):
    """What one wish took. pause: seconds that the event loop was late at most. leaders: terms in all."""

    answered: float
    over: float
    cpu: float
    pause: float
    leaders: int


@contextlib.asynccontextmanager
async def cell(folder: Path) -> AsyncIterator[tuple[Node, str]]:
    """A node of all roles over a store on disk, and its address; only its hands are made up."""
    api, ingress = free_ports(2)
    config = Config(data=folder, api=f"127.0.0.1:{api}", ingress=f"127.0.0.1:{ingress}")
    facts = Facts(id="n1", hostname="n1", resources=Resources(cpus=4, mem=4096), runtimes=("process",))
    drivers = Drivers(
        runtimes={"process": FakeRuntime()}, balancer=Balancer(), probe=FakeProbe(), facts=lambda: facts
    )
    store = await LocalStore.open(str(folder / "cell.sqlite"))
    node = Node(config, store, drivers, memory=folder)
    running = asyncio.create_task(node.run())
    try:
        await node.mirror.reached(1)
        while not (node.mirror.leader and node.mirror.world().borders):
            await node.mirror.reached(node.mirror.revision + 1)
        yield node, f"http://{config.api}"
    finally:
        node.stop()
        await running
        await store.close()


async def latest(most: list[float]) -> None:
    """Keeps how late the event loop was at most."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + TICK
        await asyncio.sleep(TICK)
        most[0] = max(most[0], clock() - due)


async def run(count: int, folder: Path) -> Run:
    """One wish in a cell of its own."""
    apps = [{"id": f"app-{n}", "cmd": "sleep 1000", "instances": 0, "ports": []} for n in range(count)]
    body = json.dumps({"id": "/crowd", "apps": apps}).encode()
    async with cell(folder) as (node, base), aiohttp.ClientSession() as session:
        epochs = {node.mirror.created("leader")}
        pause = [0.0]
        watching = asyncio.create_task(latest(pause))
        began, used = time.perf_counter(), time.process_time()
        headers = {"Content-Type": "application/json"}
        async with session.put(f"{base}/v2/groups", data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        answered = time.perf_counter() - began
        while node.mirror.world().deployments:
            await node.mirror.reached(node.mirror.revision + 1)
            epochs.add(node.mirror.created("leader"))
        over = time.perf_counter() - began
        await asyncio.sleep(AFTER)
        watching.cancel()
        return Run(answered, over, time.process_time() - used, pause[0], len(epochs - {0}))


def main(count: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    runs = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="kato-bench-") as folder:
            runs.append(asyncio.run(run(count, Path(folder))))
    leaders = max(each.leaders for each in runs)
    say("crowd_answered", "s", [each.answered for each in runs], apps=count, leaders=leaders)
    say("crowd_over", "s", [each.over for each in runs], apps=count, leaders=leaders)
    say("crowd_cpu", "s", [each.cpu for each in runs], apps=count, leaders=leaders)
    say("crowd_longest_pause", "s", [each.pause for each in runs], target=0.5, apps=count, leaders=leaders)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else APPS)
