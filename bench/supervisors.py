"""One program goes in, run by Káto's keeper and by its rivals in turn; each one's memory comes out.

python -m bench.supervisors
"""

import asyncio
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.figures import SHORT, absent, say
from bench.probe import pss, rss
from bench.rivals import Small
from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.process import Driver
from kato.model.app import App

FIGURE = "keeper_pss"
TASKS = 5 if SHORT else 20
LIMIT = 2.0


async def ours(root: Path) -> None:
    """Several keepers at once, as in a cell, and a single one, which shares its pages with nobody."""
    options = Options(folder=root / "tasks", volumes=root / "volumes")
    driver = await Driver.open(options)
    app = App(id="/sleep", args=("sleep", "1000"))
    tasks = [f"sleep.instance-{n}" for n in range(TASKS)]
    try:
        keepers = []
        for task in tasks:
            await driver.start(Launch(task=task, app=app, env={}))
            started = Record(options.folder / task).started()
            assert started is not None
            keepers.append(started.keeper)
            if len(keepers) == 1:
                say(f"{FIGURE}_alone", "MiB", [pss(keepers[0])], target=LIMIT, rss=rss(keepers[0]))
        say(FIGURE, "MiB", [pss(keeper) for keeper in keepers], target=LIMIT, rss=rss(keepers[0]))
    finally:
        for task in tasks:
            await driver.stop(task, 1.0)
            await driver.wait(task)
            await driver.remove(task)
        await driver.close()


def theirs(root: Path, kind: str) -> None:
    """The same of a rival."""
    if shutil.which(kind) is None:
        absent(FIGURE, kind, f"apt-get install {Small.kinds[kind]}")
        return
    by = Small.version(kind)
    with ExitStack() as stack:
        pids = [stack.enter_context(Small(root / f"{kind}-0", kind))]
        say(f"{FIGURE}_alone", "MiB", [pss(pids[0])], by=by, rss=rss(pids[0]))
        pids += [stack.enter_context(Small(root / f"{kind}-{n}", kind)) for n in range(1, TASKS)]
        say(FIGURE, "MiB", [pss(pid) for pid in pids], by=by, rss=rss(pids[0]))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as folder:
        asyncio.run(ours(Path(folder)))
        for kind in Small.kinds:
            theirs(Path(folder), kind)


if __name__ == "__main__":
    main()
