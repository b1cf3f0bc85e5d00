"""The folder of a cell that does not run flows in; all that it left running or brought to this machine has gone,
and the folder alone is left. Its store is not asked: it may be damaged, or newer than this Káto.
"""

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from kato.agent.identity import Identity
from kato.config import Config
from kato.drivers.runtime import Brings, Holds, Runtime
from kato.machine import folder_of, open_balancer, open_runtimes
from kato.model.errors import Conflict, DriverError, DriverMissing
from kato.model.runtimes import RUNTIMES

GRACE = 10.0
"""Seconds that a task has between SIGTERM and SIGKILL."""


def remnants(config: Config, runtime: str) -> Collection[str]:
    """The tasks of a runtime, and what else it remembers to have brought, by the names of their files."""
    folder = folder_of(config, runtime)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    images = {".images"} if (folder / ".images").is_file() else set()
    return {name for name in names if not name.startswith(".")} | images


async def end_all(config: Config, grace: float = GRACE) -> Sequence[str]:
    """Ends every task, container and balancer of the cell; what an engine keeps of its volumes, as sentences.

    Raises Conflict where a cell runs in the folder, Refused where the folder is no cell's or another machine's,
    and DriverError where something could not be ended, or an engine does not answer that may hold something.
    """
    async with contextlib.AsyncExitStack() as stack:
        identity = stack.enter_context(contextlib.closing(Identity.claim(config.data)))
        left = {name: remnants(config, name) for name in RUNTIMES}
        kept: list[str] = []
        for name, runtime in (await open_runtimes(config, identity.id, stack)).items():
            if left.get(name):
                await _end_tasks(runtime, grace)
            kept += await _kept(runtime, config)
        with contextlib.suppress(DriverMissing):  # then none runs
            await (await open_balancer(config, identity.id)).close(stop=True)
        return kept


async def _kept(runtime: Runtime, config: Config) -> Sequence[str]:
    """Why the engine of a runtime does not let go of the cell's volumes."""
    volumes = config.data / "volumes"
    if not isinstance(runtime, Holds) or volumes.is_symlink() or not volumes.is_dir():
        return ()
    kept: list[str] = []
    for name in sorted(each.name for each in volumes.iterdir() if not each.name.startswith(".")):
        try:
            await runtime.let_go(name)
        except DriverMissing:  # no engine has any
            return kept
        except Conflict as conflict:
            kept.append(str(conflict))
        except DriverError as error:  # it may not answer for the others either
            return [*kept, str(error)]
    return kept


async def _end_tasks(runtime: Runtime, grace: float) -> None:
    found = await runtime.found()
    ended = await asyncio.gather(*(_end(runtime, task, grace) for task in found), return_exceptions=True)
    if failed := [each for each in ended if isinstance(each, BaseException)]:
        raise failed[0]
    if isinstance(runtime, Brings):
        await runtime.clear()


async def _end(runtime: Runtime, task: str, grace: float) -> None:
    await runtime.stop(task, grace)
    await runtime.wait(task)
    await runtime.remove(task)
