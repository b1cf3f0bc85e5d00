"""Containers go in, started by Káto on Docker's engine and without, by the engine's bare API and by Docker Swarm;
how long that takes comes out, and how long until a killed one is replaced.

PYTHONPATH=tests python -m bench.containers

The engines are our own, in networks of their own, with one image of busybox; containers are on the host's network,
so that the orchestrator is measured, not the kernel's bridges. All times are the engine's own; without an engine,
those of the files with the containers' pids. It needs root.
"""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from bench.figures import SHORT, absent, say
from bench.probe import until
from engine import IMAGE, Dockerd, dockerd
from kato.drivers.runtime.docker.engine import Engine
from machine import Machine
from oci import bring

CROWD = 20 if SHORT else 50
ROUNDS = 2 if SHORT else 5
SINGLES = 5 if SHORT else 20
PARALLEL = 12
HEALS = 5
FORGIVEN = 62.0
"""Seconds of running after which a task's first failure delays nothing, and a margin."""


def main() -> None:
    if os.geteuid() != 0:
        absent("start_containers", "kato", "run it as root: an engine of our own needs it")
        return
    with dockerd() as engine, engine.network():
        bare = [by_api(engine, CROWD) for _ in range(ROUNDS)]
        single = [by_api(engine, 1) for _ in range(SINGLES)]
        with cell(engine) as machine:
            ours = [by_kato(machine, engine, f"/crowd-{n}", CROWD) for n in range(ROUNDS)]
            alone = [by_kato(machine, engine, f"/one-{n}", 1) for n in range(SINGLES)]
            for n in range(HEALS):
                wish(machine, engine, f"/old-{n}", 1)
            since = time.monotonic()
            swarmed, healed = by_swarm()
            time.sleep(max(0.0, since + FORGIVEN - time.monotonic()))
            old = [replaced(engine, f"label=kato.app=/old-{n}") for n in range(HEALS)]
        with cell(engine) as machine:
            crowds, bare_of_engine, mended = without_engine(machine)
    note = f"{CROWD} containers, from the request to the start of the last"
    say("start_containers", "s", ours, target=1.1 * statistics.median(bare), note=note)
    say("start_containers", "s", crowds, by="kato oci", target=statistics.median(bare) / 2, note=note)
    say("start_containers", "s", bare, by="docker's API", note=f"{note}; {PARALLEL} at a time")
    say("start_containers", "s", swarmed, by="docker swarm", note="a service of as many replicas")
    say("start_container", "s", alone, target=statistics.median(single) + 0.05, note="one container")
    say(
        "start_container",
        "s",
        bare_of_engine,
        by="kato oci",
        target=statistics.median(single),
        note="one container",
    )
    say("start_container", "s", single, by="docker's API", note="one container")
    say("heal_container", "s", old, target=0.6, note="SIGKILL to the start of the next; ran for > 60 s")
    say("heal_container", "s", mended, by="kato oci", target=0.3, note="SIGKILL to the start of the next")
    say(
        "heal_container",
        "s",
        healed,
        by="docker swarm",
        note="SIGKILL to the start of the next; --restart-delay 0s",
    )


@contextmanager
def cell(engine: Dockerd) -> Iterator[Machine]:
    machine = Machine()
    machine.env["DOCKER_HOST"] = engine.url
    try:
        machine.start()
        until(lambda: any("docker" in node["runtimes"] for node in machine.get("/v1/nodes")["nodes"]))
        yield machine
    finally:
        machine.close()


def by_api(engine: Dockerd, count: int) -> float:
    """As many containers, made and started by the engine's own API, and removed."""
    body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "host"}}

    async def start(client: Engine, n: int) -> None:
        await client.ask("POST", "/containers/create", body, name=f"bare-{n}")
        await client.ask("POST", f"/containers/bare-{n}/start")

    async def remove(client: Engine, n: int) -> None:
        await client.ask("DELETE", f"/containers/bare-{n}", force=1)

    async def each(act: Callable[[Engine, int], Awaitable[None]]) -> None:
        client, gate = Engine(engine.url), asyncio.Semaphore(PARALLEL)

        async def one(n: int) -> None:
            async with gate:
                await act(client, n)

        await asyncio.gather(*map(one, range(count)))
        await client.close()

    began = time.time()
    asyncio.run(each(start))
    took = started(engine, began, count) - began
    asyncio.run(each(remove))
    return took


def by_kato(machine: Machine, engine: Dockerd, id: str, count: int) -> float:
    """An app of as many instances, until the engine has started the last; it is removed."""
    took = wish(machine, engine, id, count)
    machine.kato("rm", id)
    until(lambda: engine.ask("ps", "--all", "--quiet") == "")
    return took


def wish(machine: Machine, engine: Dockerd, id: str, count: int) -> float:
    began = ask(machine, id, count, "DOCKER")
    return started(engine, began, count) - began


def ask(machine: Machine, id: str, count: int, type: str) -> float:
    """Wishes for an app of containers on the host's network; when, in epoch seconds."""
    app = {
        "id": id,
        "args": ["sleep", "1000"],
        "instances": count,
        "cpus": 0.01,
        "mem": 16,
        "container": {"type": type, "docker": {"image": IMAGE}},
        "networks": [{"mode": "host"}],
        "taskKillGracePeriodSeconds": 0,
    }
    began = time.time()
    assert machine.ask("POST", "/v2/apps", app) is not None
    return began


def without_engine(machine: Machine) -> tuple[list[float], list[float], list[float]]:
    """The same without a daemon: crowds, single ones, and those that were killed after they had run for long."""
    bring(machine.data / "oci", IMAGE)
    unengined(machine, "/first", 1)  # unpacks the image, which docker's engine did when it was imported
    for n in range(HEALS):
        unengined(machine, f"/old-{n}", 1)
    since = time.monotonic()
    crowds = [unengined(machine, f"/crowd-{n}", CROWD, keep=False) for n in range(ROUNDS)]
    alone = [unengined(machine, f"/one-{n}", 1, keep=False) for n in range(SINGLES)]
    time.sleep(max(0.0, since + FORGIVEN - time.monotonic()))
    return crowds, alone, [mended(machine, f"/old-{n}") for n in range(HEALS)]


def unengined(machine: Machine, id: str, count: int, *, keep: bool = True) -> float:
    began = ask(machine, id, count, "MESOS")
    until(lambda: len(inits(machine, id)) == count)
    took = max(inits(machine, id).values()) - began
    if not keep:
        machine.kato("rm", id)
        until(lambda: not inits(machine, id))
    return took


def inits(machine: Machine, id: str) -> dict[str, float]:
    """When the containers of an app were running, by task."""
    found = {}
    for file in (machine.data / "oci").glob(f"{id[1:]}.*/oci/init"):
        with suppress(FileNotFoundError):
            found[file.parent.parent.name] = file.stat().st_mtime
    return found


def mended(machine: Machine, id: str) -> float:
    """From SIGKILL of one container's process to the start of another."""
    (victim,) = inits(machine, id)
    pid = int((machine.data / "oci" / victim / "oci/init").read_text())
    began = time.time()
    os.kill(pid, signal.SIGKILL)
    until(lambda: bool(inits(machine, id).keys() - {victim}))
    return max(inits(machine, id).values()) - began


def by_swarm() -> tuple[list[float], list[float]]:
    """The same by Docker Swarm, on an engine of its own, since it wants no live-restore."""
    with dockerd(live_restore=False) as engine, engine.network():
        engine.ask("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1:2377")
        crowds = []
        for n in range(ROUNDS):
            began = time.time()
            service(engine, f"crowd-{n}", CROWD)
            crowds.append(started(engine, began, CROWD) - began)
            engine.ask("service", "rm", f"crowd-{n}")
            until(lambda: engine.ask("ps", "--all", "--quiet") == "")
        began = time.time()
        service(engine, "old", HEALS)
        started(engine, began, HEALS)
        time.sleep(2)
        return crowds, [replaced(engine, "label=com.docker.swarm.service.name=old") for _ in range(HEALS)]


def service(engine: Dockerd, name: str, count: int) -> None:
    options = ["--detach", "--network=host", "--restart-delay=0s", "--stop-grace-period=0s"]
    words = ["service", "create", *options, f"--name={name}", f"--replicas={count}"]
    engine.ask(*words, "--no-resolve-image", IMAGE, "sleep", "1000")


def replaced(engine: Dockerd, which: str) -> float:
    """From SIGKILL of one container's process to the start of another."""
    victim = engine.ask("ps", "--quiet", f"--filter={which}").split()[0]
    pid = int(engine.ask("inspect", "--format={{.State.Pid}}", victim))
    began = time.time()
    os.kill(pid, signal.SIGKILL)
    took = started(engine, began, 1) - began
    time.sleep(1)
    return took


def started(engine: Dockerd, since: float, count: int) -> float:
    """When the engine started the last of `count` containers, by its own events; epoch seconds."""

    async def last() -> float:
        client = Engine(engine.url)
        query = {"since": f"{since:.9f}", "filters": '{"event":["start"],"type":["container"]}'}
        times: list[int] = []
        try:
            async with asyncio.timeout(60), client.open("GET", "/events", query=query) as events:
                async for line in events.content:
                    times.append(msgspec.json.decode(line)["timeNano"])
                    if len(times) == count:
                        break
        finally:
            await client.close()
        return max(times) / 1e9

    return asyncio.run(last())


if __name__ == "__main__":
    main()
