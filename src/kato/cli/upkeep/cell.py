"""Starting and ending a cell: a configuration goes in; a process of its own session runs, or has gone."""

import asyncio
import errno
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kato.access import Access
from kato.cli.upkeep.systemd import NAME, service_of
from kato.config import LOGS, Config, apart
from kato.folder import held
from kato.model.errors import Conflict, InvalidInput, Unavailable

if TYPE_CHECKING:
    from kato.client import Client

START = 30.0
"""Seconds that a cell may take to answer after its start: ours, or one that was quicker to take the folder."""
WINNER = 3.0
"""Seconds that it may still take where ours has ended and nobody is seen to hold the folder."""
PATIENCE = 10.0
"""Seconds that a cell may take to end."""
POLL = 0.05
LAST_LINES = 15


async def ensure(client: "Client", config: Config) -> subprocess.Popen[bytes] | None:
    """Makes sure that the cell of this folder answers; the process, if it was started here and is no service.

    Raises Conflict if another folder's cell answers, Unavailable, with the end of its log, if none comes up.
    """
    if await client.ping():
        if not client.elsewhere:
            same_folder(await client.cell(), config)
        return None
    if client.elsewhere:
        raise Unavailable(f"No cell answers at {client.address} (--api, KATO_API). Start it there: kato serve.")
    if (manager := service_of(config.data)) is not None:
        manager.ask("start", NAME)
        return None
    before = size(log_file(config))
    process = spawn(config)
    try:
        await until_answering(client, config, process, before)
        cell = await client.cell()
        same_folder(cell, config)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process if cell["pid"] == process.pid else None


async def until_answering(
    client: "Client", config: Config, process: subprocess.Popen[bytes], before: int = 0
) -> None:
    """Returns when a cell answers. Unavailable where none does in time, with the end of its log.

    before: bytes of the log that are of earlier cells.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START
    while not await client.ping():
        if process.poll() is not None and not held(config.data):
            deadline = min(deadline, loop.time() + WINNER)
        if loop.time() >= deadline:
            raise _did_not_start(process, config, before)
        await asyncio.sleep(POLL)


def lives(config: Config) -> bool:
    """Whether a cell has its store in the folder. InvalidInput where that cannot be told."""
    try:
        config.store_file.stat()  # `exists` would hide why it cannot be told
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InvalidInput(
            f"{config.data} cannot be looked into: {error.strerror}. Choose another one with --data or "
            "KATO_DATA, or ask as the user whose cell it is."
        ) from error


def make_folder(config: Config) -> None:
    """Makes the folder of a cell where there is none. InvalidInput where it cannot be one."""
    try:
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(config.data, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise InvalidInput(
            f"{config.data} cannot be the folder of a cell: {why}. Choose another one with --data or KATO_DATA."
        ) from error


def spawn(config: Config) -> subprocess.Popen[bytes]:
    """Starts `kato serve` detached: a session of its own, its output in `cell.log` of the data folder."""
    apart(config)
    make_folder(config)
    Access.open(config)
    descriptor = os.open(log_file(config), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            words(config),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(descriptor)


def words(config: Config) -> list[str]:
    """The command line of a cell."""
    flags = ["--api", config.listens, "--ingress", config.ingress, "--data", str(config.data)]
    flags += ["--dns", config.dns] if config.dns else []
    flags += ["--log", config.log] if config.log != LOGS[0] else []
    flags += ["--ship", ":".join(config.ship)] if config.ship else []
    flags += ["--dns-own"] if config.owns_names else ["--dns-forward"] if config.resolvers else []
    return [sys.executable, "-m", "kato", "serve", *flags]


async def end(client: "Client", process: subprocess.Popen[bytes] | None = None) -> None:
    """Stops the cell and waits until its process has gone. Its tasks would go on; remove them first."""
    pid = int((await client.cell())["pid"])
    if client.elsewhere:
        await _end_elsewhere(client)
        return
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


async def _end_elsewhere(client: "Client") -> None:
    """Its process is another machine's: it has ended when it answers no more."""
    await client.stop()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while await client.ping():
        if loop.time() >= deadline:
            raise Unavailable(f"The cell was asked to stop and has not ended within {PATIENCE:.0f} s.")
        await asyncio.sleep(POLL)


def last_lines(path: Path, count: int = LAST_LINES, *, before: int = 0) -> str:
    """The end of a text file, indented, but nothing of its first bytes; empty if there is none."""
    try:
        with path.open("rb") as file:
            end = size(path)
            file.seek(max(before if before <= end else 0, end - 16_384))  # smaller: it was rotated
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-count:])


def size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def log_file(config: Config) -> Path:
    """Where a detached cell writes."""
    return config.data / "cell.log"


def _wait_gone(handle: int) -> bool:
    """Whether the process behind a pidfd has ended within the time it is given (pidfd_open(2): readable then)."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(PATIENCE * 1000))


def same_folder(cell: dict[str, Any], config: Config) -> None:
    """Conflict where the cell that answers is another folder's."""
    if Path(cell["data"]) != config.data:
        raise Conflict(
            f"The cell at {config.url} lives in {cell['data']}, not in {config.data}. To use that cell, "
            f"say --data {cell['data']} (or KATO_DATA). To start one of your own, give it another --api and "
            "--ingress too."
        )


def _did_not_start(process: subprocess.Popen[bytes], config: Config, before: int) -> Unavailable:
    code = process.poll()
    how = f"does not answer after {START:.0f} s" if code is None else f"ended at once (exit code {code})"
    lines = last_lines(log_file(config), before=before)
    said = (
        f"The end of its log, {log_file(config)}:\n{lines}"
        if lines
        else f"It wrote nothing to {log_file(config)}."
    )
    return Unavailable(f"The cell {how}. {said}")
