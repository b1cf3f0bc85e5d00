"""Starting and ending a cell: a configuration goes in; a process of its own session runs, or has gone."""

import asyncio
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato.config import Config
from kato.model.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from kato.client import Client

PATIENCE = 10.0
"""Seconds that a cell may take to answer after its start, and to end."""
WINNER = 3.0
"""Seconds that another's cell, which was quicker to take the folder, may still take to answer."""
POLL = 0.05
LAST_LINES = 15


async def ensure(client: "Client", config: Config) -> subprocess.Popen[bytes] | None:
    """Makes sure that the cell of this folder answers; the process, if it was started here.

    Raises Conflict if another folder's cell answers, Unavailable, with the end of its log, if none comes up.
    """
    if await client.ping():
        _same_folder(await client.cell(), config)
        return None
    process = spawn(config)
    try:
        await _until_answering(client, config, process)
        cell = await client.cell()
        _same_folder(cell, config)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process if cell["pid"] == process.pid else None


async def _until_answering(client: "Client", config: Config, process: subprocess.Popen[bytes]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not await client.ping():
        if process.poll() is not None:
            # Another `kato up` may have been quicker: its cell holds the folder and is about to answer.
            deadline = min(deadline, loop.time() + WINNER)
        if loop.time() >= deadline:
            raise _did_not_start(process, config)
        await asyncio.sleep(POLL)


def spawn(config: Config) -> subprocess.Popen[bytes]:
    """Starts `kato serve` detached: a session of its own, its output in `cell.log` of the data folder."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.user is not None:
        # Tasks run as the caller, who must pass through root's folder to their sandboxes; nothing can be listed.
        config.data.chmod(0o711)
    flags = ["--api", config.api, "--ingress", config.ingress, "--data", str(config.data)]
    descriptor = os.open(log_file(config), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "kato", "serve", *flags],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(descriptor)


async def end(client: "Client", process: subprocess.Popen[bytes] | None = None) -> None:
    """Stops the cell and waits until its process has gone. Its tasks would go on; remove them first."""
    pid = int((await client.cell())["pid"])
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        handle = -1
    try:
        await client.stop()
        gone = handle < 0 or await asyncio.to_thread(_wait_gone, handle)
    finally:
        if handle >= 0:
            os.close(handle)
    if not gone:
        raise Unavailable(f"The cell (process {pid}) was asked to stop and has not ended within {PATIENCE:.0f} s.")
    if process is not None:
        process.wait()


def last_lines(path: Path, count: int = LAST_LINES) -> str:
    """The end of a text file, indented; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-count:])


def log_file(config: Config) -> Path:
    """Where a detached cell writes."""
    return config.data / "cell.log"


def _wait_gone(handle: int) -> bool:
    """Whether the process behind a pidfd has ended within the time it is given (pidfd_open(2): readable then)."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))


def _same_folder(cell: dict[str, Any], config: Config) -> None:
    if Path(cell["data"]) != config.data:
        raise Conflict(
            f"The cell at http://{config.api} lives in {cell['data']}, not in {config.data}. To use that cell, "
            f"say --data {cell['data']} (or KATO_DATA). To start one of your own, give it another --api and "
            "--ingress too."
        )


def _did_not_start(process: subprocess.Popen[bytes], config: Config) -> Unavailable:
    code = process.poll()
    how = f"does not answer after {PATIENCE:.0f} s" if code is None else f"ended at once (exit code {code})"
    return Unavailable(f"The cell {how}. The end of its log, {log_file(config)}:\n{last_lines(log_file(config))}")
