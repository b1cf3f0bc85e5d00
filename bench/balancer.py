"""What balancing costs: views of many services go in; times to apply changes and see drains end, memory come out.

python -m bench.balancer [SERVICES]
"""

import asyncio
import json
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.figures import about
from kato.border import Border
from kato.drivers.balancer import Options
from kato.drivers.balancer.haproxy import Driver
from kato.drivers.balancer.runtime_socket import RuntimeSocket
from kato.model.frontend import BorderAck, Frontends, Server, Service

ROUNDS = 40


def free_ports(count: int) -> list[int]:
    trials = [socket.socket() for _ in range(count)]
    for each in trials:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in trials]
    for each in trials:
        each.close()
    return ports


class Link:
    """A master with one view at a time; `zero` is set when a draining task is said to have no sessions."""

    def __init__(self) -> None:
        self.views: asyncio.Queue[Frontends] = asyncio.Queue()
        self.zero = asyncio.Event()
        self.seen = asyncio.Event()

    async def frontends(self, node: str) -> AsyncIterator[Frontends]:
        while True:
            yield await self.views.get()

    async def acknowledge(self, ack: BorderAck) -> None:
        self.seen.set()
        if ack.sessions and not any(ack.sessions.values()):
            self.zero.set()


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as root:
        ports = free_ports(count + 2)
        folder = Path(root) / "balancer"
        driver = await Driver.open(Options(folder=folder, node="n1", ingress=f"127.0.0.1:{ports[-1]}"))
        try:
            figures = await changes(driver, ports, count) | await memory(RuntimeSocket(folder))
            figures |= await drains(driver, ports[0])
        finally:
            await driver.close(stop=True)
    print(json.dumps({"bench": "balancer", **figures, **about(), "seed": None}))


def view(seq: int, ports: list[int], count: int, extra: int) -> Frontends:
    """`count` services of three servers each; the first has `extra` more."""
    return Frontends(
        seq,
        tuple(
            Service(
                f"/group/app-{n}",
                0,
                ports[n],
                (f"app-{n}.localhost",),
                servers=tuple(
                    Server(f"app-{n}.instance-{m}._app.{m}", "127.0.0.1", 31000 + m)
                    for m in range(3 + (extra if n == 0 else 0))
                ),
            )
            for n in range(count)
        ),
    )


async def changes(driver: Driver, ports: list[int], count: int) -> dict[str, float]:
    """One server more, one less, nothing, and a service more (a reload); milliseconds."""

    async def timed(made: Frontends) -> float:
        begun = time.perf_counter()
        ack = await driver.apply(made)
        assert ack.problems == ()
        return (time.perf_counter() - begun) * 1000

    start = await timed(view(0, ports, count, 0))
    server, same = [], []
    for n in range(1, ROUNDS + 1):
        made = view(n, ports, count, n % 2)
        server.append(await timed(made))
        same.append(await timed(made))
    reload = []
    for n in range(1, 6):
        await asyncio.sleep(0.3)
        reload.append(await timed(view(ROUNDS + n, ports, count + n % 2, 0)))
    return {
        "services": count,
        "start_ms": round(start, 1),
        "change_of_a_server_ms": round(statistics.median(server), 2),
        "nothing_changed_ms": round(statistics.median(same), 2),
        "reload_ms": round(statistics.median(reload), 1),
    }


async def memory(haproxy: RuntimeSocket) -> dict[str, float]:
    """MiB (PSS) of the master and of its newest worker; the median command in microseconds."""
    found = await haproxy.processes()
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await haproxy.ask_worker(found.workers[0], ["show servers conn none"])
        took.append((time.perf_counter() - begun) * 1e6)

    def pss(pid: int) -> float:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return round(float(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]) / 1024, 1)

    return {
        "master_mib": pss(found.master),
        "worker_mib": pss(found.workers[0]),
        "workers": len(found.workers),
        "command_us": round(statistics.median(took)),
    }


async def drains(driver: Driver, port: int) -> dict[str, float]:
    """From the end of a drained server's last session to the acknowledgement that says so; milliseconds."""
    link = Link()
    border = asyncio.create_task(Border(link, driver, "n1").run())

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    took = []
    for n in range(20):
        for state in ("ready", "drain"):
            servers = (Server(f"t{n}", "127.0.0.1", target, state),)
            link.seen.clear()
            link.zero.clear()
            link.views.put_nowait(
                Frontends(1000 + 2 * n + (state == "drain"), (Service("/d", 0, port, servers=servers),))
            )
            await link.seen.wait()
            if state == "ready":
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await reader.readexactly(1)
        await asyncio.sleep(0.1 + n * 0.05)
        begun = time.perf_counter()
        writer.close()
        await link.zero.wait()
        took.append((time.perf_counter() - begun) * 1000)
    border.cancel()
    await asyncio.gather(border, return_exceptions=True)
    server.close()
    return {"sessions_over_median_ms": round(statistics.median(took)), "sessions_over_worst_ms": round(max(took))}


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
