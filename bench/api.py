"""How fast the API answers: a cell of 1,000 apps of hundreds of shapes in, requests a second, the p99 of
steady writes and the time that `kato ls` takes out, as JSON lines.

python -m bench.api [--seed N] [--apps N] [--seconds N]

The server is a process of its own over a store in memory; a task changes every 20 ms while lists are read. The
client is aiohttp in one process, with and without keep-alive.
"""

import argparse
import asyncio
import itertools
import json
import random
import socket
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import structlog

from bench.figures import SHORT, about, say
from kato.api import Api
from kato.config import Config
from kato.model.app import App, HealthCheck, PortDefinition, VersionInfo
from kato.model.deployment import Record
from kato.model.ids import task_id
from kato.model.node import Node, Resources
from kato.model.task import Health, Status, Task, TaskState
from kato.store import Op, Put, keys
from kato.store.memory import MemoryStore
from kato.store.mirror import Mirror, follow

VERSION = "2026-01-01T00:00:00.000Z"
TASKS = 3
WRITES = 20
"""A second, of those that come steadily."""
CONSTRAINTS = ((("hostname", "UNIQUE"),), (("zone", "GROUP_BY", "3"),), (("rack", "LIKE", "r[0-4]"),))


def make_apps(chance: random.Random, count: int) -> list[App]:
    """Apps of as many shapes; a third of them constrained."""
    info = VersionInfo(last_scaling_at=VERSION, last_config_change_at=VERSION)
    return [
        App(
            id=f"/group-{n % 40}/team-{n % 7}/app-{n}",
            cmd="sleep 1000",
            cpus=chance.choice([0.1, 0.25, 0.5, 1.0]),
            mem=chance.choice([32.0, 64.0, 128.0, 512.0]),
            instances=TASKS,
            env={f"KEY_{k}": "x" * chance.randint(5, 60) for k in range(chance.randint(0, 12))},
            labels={f"label-{k}": "y" * chance.randint(3, 20) for k in range(chance.randint(0, 6))},
            constraints=CONSTRAINTS[n % 3] if n % 9 < 3 else (),
            health_checks=(HealthCheck(protocol="HTTP", path="/health", port_index=0),),
            port_definitions=tuple(PortDefinition(port=10000 + n * 2 + k) for k in range(chance.randint(1, 2))),
            version=VERSION,
            version_info=info,
        )
        for n in range(count)
    ]


def contents(apps: list[App]) -> list[Op]:
    """Everything that stands in the store."""
    node = Node(id="n1", hostname="n1", resources=Resources(cpus=64, mem=262_144), runtimes=("process",))
    ops: list[Op] = [Put(keys.CELL, keys.encode(keys.Cell(id="bench"))), Put(keys.node("n1"), keys.encode(node))]
    for app in apps:
        ops.append(Put(keys.version(app.id, app.version), keys.encode(app)))
        ops.append(Put(keys.app(app.id), keys.encode(Record(app=app.id, version=app.version))))
        for n in range(TASKS):
            id = task_id(app.id, app.version, n)
            task = Task(
                id=id,
                app=app.id,
                version=VERSION,
                config=VERSION,
                node="n1",
                attempt=n,
                created=0.0,
                ports=(31000 + n,),
            )
            ops.append(Put(keys.task("n1", id), keys.encode(task)))
            ops.append(Put(keys.status("n1", id), keys.encode(status(task, 1))))
    return ops


def status(task: Task, seq: int) -> Status:
    """A healthy task."""
    health = (Health(alive=True, first_success=1.0, last_success=float(seq)),)
    return Status(
        task=task.id,
        app=task.app,
        node="n1",
        state=TaskState.RUNNING,
        seq=seq,
        started=1.0,
        ready=True,
        health=health,
    )


async def serve(port: int, seed: int, count: int) -> None:
    """The server's process: until it is told to stop."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    store, mirror, stopped = MemoryStore(), Mirror(), asyncio.Event()
    ops = contents(make_apps(random.Random(seed), count))
    for start in range(0, len(ops), 100):
        await store.txn([], ops[start : start + 100])

    async def change() -> None:
        tasks = [task for tasks in mirror.world().tasks.values() for task in tasks.values()]
        for seq in itertools.count(2):
            task = tasks[seq % len(tasks)]
            await store.txn([], [Put(keys.status("n1", task.id), keys.encode(status(task, seq)))])
            await asyncio.sleep(0.02)

    api = Api(
        config=Config(data=Path(tempfile.gettempdir()), api=f"127.0.0.1:{port}"),
        store=store,
        mirror=mirror,
        calls=None,  # type: ignore[arg-type]  # nobody asks for output
        clock=time.time,
        leader=lambda: f"127.0.0.1:{port}",
        stop=stopped.set,
        uuid=lambda: str(uuid.uuid4()),
    )
    running = [asyncio.create_task(follow(store, mirror))]
    await mirror.reached(1)
    running += [asyncio.create_task(change()), asyncio.create_task(api.run())]
    await stopped.wait()
    running[-1].cancel()
    await asyncio.gather(running[-1], return_exceptions=True)


async def press(call: Callable[[int], Awaitable[int]], clients: int, seconds: float) -> dict[str, float]:
    """`clients` that ask one after another; rate, latency in ms, and bytes of one answer."""
    times: list[float] = []
    sizes: list[int] = []
    numbers = itertools.count()
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (began := time.perf_counter()) < end:
            sizes.append(await call(next(numbers)))
            times.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(clients)))
    times.sort()
    return {
        "per_second": round(len(times) / seconds, 1),
        "median_ms": round(statistics.median(times) * 1000, 2),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2),
        "bytes": max(sizes),
    }


async def measure(base: str, args: argparse.Namespace) -> None:
    """Presses one kind of request after another."""
    apps = [app.id for app in make_apps(random.Random(args.seed), args.apps)]
    given = {"seed": args.seed, "apps": args.apps, "tasks": args.apps * TASKS, "clients": 4, **about()}
    async with (
        aiohttp.ClientSession() as kept,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as fresh,
    ):

        def get(session: aiohttp.ClientSession, path: str) -> Callable[[int], Awaitable[int]]:
            async def call(_number: int) -> int:
                async with session.get(base + path) as response:
                    assert response.status == 200, await response.text()
                    return len(await response.read())

            return call

        async def scale(number: int) -> int:
            body = json.dumps({"instances": 4 + number // len(apps)}).encode()
            path = f"{base}/v2/apps{apps[number % len(apps)]}?force=true"
            async with kept.put(path, data=body, headers={"Content-Type": "application/json"}) as response:
                assert response.status == 200, await response.text()
                return len(await response.read())

        runs = 3 if SHORT else 5
        rates = [(await press(get(kept, "/v2/apps"), 4, args.seconds))["per_second"] for _ in range(runs)]
        say("api_apps", "requests/s", rates, target=50, seed=args.seed, apps=args.apps)
        late = [await write_steadily(scale, 5 if SHORT else 10) for _ in range(runs)]
        slow = [times[int(len(times) * 0.99)] for times in late]
        say("api_writes_p99", "ms", slow, target=50, seed=args.seed, apps=args.apps, writes=len(late[0]))
        listed = [await list_by_hand(base) for _ in range(2 * runs)]
        say("kato_ls", "s", listed, target=0.4, seed=args.seed, apps=args.apps)
        for name, call in (
            ("GET /v2/apps", get(kept, "/v2/apps")),
            ("GET /v2/apps, no keep-alive", get(fresh, "/v2/apps")),
            ("GET /v2/apps?embed=apps.tasks", get(kept, "/v2/apps?embed=apps.tasks")),
            ("GET /v2/groups", get(kept, "/v2/groups")),
            ("GET /v2/apps/{id}", get(kept, f"/v2/apps{apps[0]}")),
            ("GET /ping", get(kept, "/ping")),
            ("PUT /v2/apps/{id} (scale)", scale),
        ):
            print(
                json.dumps({"bench": "api", "what": name, **await press(call, 4, args.seconds), **given}),
                flush=True,
            )


async def write_steadily(call: Callable[[int], Awaitable[int]], seconds: float) -> list[float]:
    """Writes begun at 20 a second, whether or not earlier ones are answered: how long each took, in ms, sorted."""

    async def one(number: int) -> float:
        began = time.perf_counter()
        await call(number)
        return (time.perf_counter() - began) * 1000

    first = time.perf_counter()
    begun: list[asyncio.Task[float]] = []
    for number in range(round(WRITES * seconds)):
        await asyncio.sleep(max(first + number / WRITES - time.perf_counter(), 0.0))
        begun.append(asyncio.create_task(one(number)))
    return sorted(await asyncio.gather(*begun))


async def list_by_hand(base: str) -> float:
    """Seconds of wall time that `kato ls` takes of the cell."""
    words = ("-m", "kato", "ls", "--api", base.removeprefix("http://"))
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0 and b"app-0" in said, said[-300:]
    return time.perf_counter() - began


async def main(args: argparse.Namespace) -> None:
    """Starts the server, waits for it, presses it, ends it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--serve", str(port), "--seed", str(args.seed), "--apps", str(args.apps)]
    server = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.api", *words)
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{base}/ping"):
                    break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)
    try:
        await measure(base, args)
    finally:
        async with aiohttp.ClientSession() as session, session.post(f"{base}/v1/stop"):
            pass
        await server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--serve", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    asyncio.run(serve(given.serve, given.seed, given.apps) if given.serve else main(given))
