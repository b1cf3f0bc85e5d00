"""What a keeper costs: real tasks go in; times to start and to see an end, output carried, CPU, memory come out.

python -m bench.keeper [TASKS] [MIB]
"""

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.figures import about
from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.process import Driver
from kato.model.app import App

TICK = os.sysconf("SC_CLK_TCK")


async def main(tasks: int, mib: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as root:
        options = Options(folder=Path(root) / "tasks", volumes=Path(root) / "volumes")
        driver = await Driver.open(options)
        try:
            figures = await life(driver, options, tasks) | await throughput(driver, options, mib)
        finally:
            await driver.close()
    print(json.dumps({"bench": "keeper", **figures, **about(), "seed": None}))


async def life(driver: Driver, options: Options, tasks: int) -> dict[str, float]:
    """Starts tasks one after another, then kills each from outside and sees its end; milliseconds, KiB."""
    starts, ends, pss = [], [], []
    for n in range(tasks):
        task = f"life.instance-{n}"
        begun = time.perf_counter()
        found = await driver.start(Launch(task=task, app=App(id="/life", args=("sleep", "1000")), env={}))
        starts.append(time.perf_counter() - begun)
        waiting = asyncio.create_task(driver.wait(task))
        await asyncio.sleep(0)
        started = Record(options.folder / task).started()
        assert started is not None and found.pid is not None
        rollup = Path(f"/proc/{started.keeper}/smaps_rollup").read_text()
        pss.append(float(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0]))
        begun = time.perf_counter()
        os.kill(found.pid, 9)
        await waiting
        ends.append(time.perf_counter() - begun)
        await driver.remove(task)
    return {
        "start_ms_median": round(statistics.median(starts) * 1000, 2),
        "start_ms_p95": round(statistics.quantiles(starts, n=20)[-1] * 1000, 2),
        "end_seen_ms_median": round(statistics.median(ends) * 1000, 2),
        "end_seen_ms_p95": round(statistics.quantiles(ends, n=20)[-1] * 1000, 2),
        "keeper_pss_kib_max": max(pss),
    }


async def throughput(driver: Driver, options: Options, mib: int) -> dict[str, float]:
    """Carries output through a keeper, and the same bytes into a plain file for comparison; MiB/s, CPU s a GiB."""
    words = ("sh", "-c", f"head -c {mib << 20} /dev/zero; exec cat /proc/$PPID/stat >&2")
    begun = time.perf_counter()
    await driver.start(Launch(task="flow.instance-1", app=App(id="/flow", args=words), env={}))
    await driver.wait("flow.instance-1")
    spent = time.perf_counter() - begun
    stat = b"".join([piece.data async for piece in driver.output("flow.instance-1", "stderr")]).decode()
    ticks = sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    await driver.remove("flow.instance-1")
    plain = timed(lambda: subprocess.run(["sh", "-c", f"head -c {mib << 20} /dev/zero > {options.volumes}/x"]))
    return {
        "output_mib_s": round(mib / spent),
        "output_plain_file_mib_s": round(mib / plain),
        "keeper_cpu_s_per_gib": round(ticks / TICK / mib * 1024, 2),
    }


def timed(act: Callable[[], object]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    asyncio.run(main(*(given + [100, 200][len(given) :])))
