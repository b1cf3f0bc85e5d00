"""Health and readiness: a task's checks and what a probe sees flow in; its Health, check by check, flows out.

Times are Marathon's: the first check after `delaySeconds`, then one each `intervalSeconds`, counted from start to
start. Three things are ours. A task that has not been healthy yet and is in its grace period is asked again after
a tenth of the time that it has had, so that a quick one is seen quickly and a slow one costs little. The second
steady check comes early, by a part of the interval that is the task's own, so that tasks started together are not
checked together. And a task that was adopted is checked at once, since its health is already public.
"""

import asyncio
import errno
import os
import re
import socket
import zlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec

from kato.agent.edge import Edge
from kato.drivers.runtime import Executed, Runtime
from kato.model.app import App, Command, HealthCheck, ReadinessCheck
from kato.model.errors import DriverError, DriverSilent
from kato.model.health import count
from kato.model.link import Assignment
from kato.model.task import Health, Response

SHORTEST_PAUSE = 0.1
"""Seconds between two checks of a task that has not been healthy yet, at least."""
HURRY = 0.1
"""Of the time that such a task has had: the pause before it is asked again."""

LONGEST_LINE = 200
"""Characters of what a check's command wrote that are told."""
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What a terminal takes for a colour and the like (ECMA-48, control sequences)."""


class Probe(Protocol):
    """How a check reaches a task. Raises OSError where it does not; the caller sets the time limit."""

    async def inside(self, pid: int) -> socket.socket | None:
        """A socket in the network of a process, for the others to use; None where that cannot be had."""
        ...

    async def http(self, host: str, port: int, path: str, *, tls: bool, sock: socket.socket | None = None) -> int:
        """GETs a path; the status code of the answer's first line. Certificates are not verified."""
        ...

    async def response(self, host: str, port: int, path: str, *, tls: bool) -> Response:
        """As `http`; the whole answer. Of whose check it is, nothing is said."""
        ...

    async def tcp(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Returns once a connection stands."""
        ...


class Verdict(NamedTuple):
    """What one check saw. ok is None where it tells nothing of the task (an ignored HTTP 1xx; it could not be
    made). cause: why not ok.
    """

    ok: bool | None
    cause: str = ""


class CheckedTask(NamedTuple):
    """A running task as its checks see it. born: its start on the loop's clock, so that no step of the wall clock
    makes it older or younger; adopted: it ran before this agent did.
    """

    wish: Assignment
    runtime: Runtime
    address: str
    born: float
    adopted: bool
    probe: Probe
    clock: Callable[[], float]
    edge: Edge
    pid: int | None = None

    @property
    def app(self) -> App:
        return self.wish.app

    @property
    def age(self) -> float:
        """Seconds since it started."""
        return asyncio.get_running_loop().time() - self.born


async def watch_health(task: CheckedTask, index: int, hear: Callable[[int, Health], None]) -> None:
    """Performs one health check of a task until cancelled; `hear` gets every result."""
    check = task.app.health_checks[index]
    part = spread(task.wish.task.id, index)
    health = Health()
    if not task.adopted:
        await asyncio.sleep(check.delay_seconds - task.age)
    now = asyncio.get_running_loop().time
    steady = False
    while True:
        began = now()
        verdict = await examine(task, check)
        if verdict.ok is not None:
            wall = task.clock()
            health = count(check, health, verdict.ok, verdict.cause, wall - task.age, wall)
        if verdict.ok is not None or not verdict.cause:
            hear(index, health)
        if health.first_success is None and task.age < check.grace_period_seconds:
            pause = hurried(check.interval_seconds, task.age)
        else:
            pause = check.interval_seconds * (1.0 if steady else part)
            steady = True
        await asyncio.sleep(began + pause - now())


async def watch_readiness(
    task: CheckedTask, latch: Callable[[], Awaitable[bool]], hear: Callable[[tuple[Response, ...]], None]
) -> None:
    """Performs the readiness checks until each has passed once and `latch` says that it holds; `hear` is told,
    after each round, what was last answered to those that want it kept.
    """
    kept: dict[str, Response] = {}
    waiting = checks = task.app.readiness_checks
    while True:
        waiting = tuple([check for check in waiting if not await is_ready(task, check, kept)])
        latched = not waiting and await latch()
        hear(tuple(kept.values()))
        if latched:
            return
        await asyncio.sleep(hurried(min(check.interval_seconds for check in waiting or checks), task.age))


def hurried(interval: float, age: float) -> float:
    """Seconds until a task that was not well yet is asked again. age: seconds since its start."""
    return min(interval, max(SHORTEST_PAUSE, HURRY * age))


def spread(task: str, index: int) -> float:
    """A share between a half and one that is this check's own, by a stable hash."""
    return 0.5 + zlib.crc32(f"{task}/{index}".encode()) / 2**33


async def examine(task: CheckedTask, check: HealthCheck) -> Verdict:
    """One health check, within its timeout."""
    try:
        with task.edge.guard(OSError):
            if check.protocol == "COMMAND":
                return await _execute(task, check)
            async with asyncio.timeout(check.timeout_seconds):
                return await _probe(task, check)
    except TimeoutError:
        return Verdict(False, f"no answer within {check.timeout_seconds:g} s")
    except OSError as error:
        return Verdict(None if _ours(error) else False, _words(error))
    except DriverError as error:
        return Verdict(None if isinstance(error, DriverSilent) or _ours(error.__cause__) else False, str(error))


async def _execute(task: CheckedTask, check: HealthCheck) -> Verdict:
    command = check.command or Command()
    argv = command.argv or ("/bin/sh", "-c", command.value or "")
    done = await task.runtime.execute(task.wish.task.id, argv, check.timeout_seconds)
    return Verdict(True) if done.code == 0 else Verdict(False, _failed(done))


def _failed(done: Executed) -> str:
    """How a check's command failed, with the last line that it wrote."""
    text = _ESCAPE.sub("", done.output.decode(errors="replace"))
    lines = ["".join(filter(str.isprintable, line)).strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    if len(last) > LONGEST_LINE:
        last = f"{last[: LONGEST_LINE - 1]}…"
    return f"the check's command exited with status {done.code}{': ' if last else ''}{last}"


async def _probe(task: CheckedTask, check: HealthCheck) -> Verdict:
    kind = check.protocol.removeprefix("MESOS_")
    host, port, path = _host(task, check), _port(task, check), check.path or "/"
    sock = None
    if (inner := _inner_port(task, check)) and task.pid is not None:
        sock = await task.probe.inside(task.pid)
        if sock is not None:
            host, port = "127.0.0.1", inner
    if kind == "TCP":
        await task.probe.tcp(host, port, sock=sock)
        return Verdict(True)
    status = await task.probe.http(host, port, path, tls=kind == "HTTPS", sock=sock)
    if check.ignore_http1xx and 100 <= status < 200:
        return Verdict(None)
    return Verdict(True) if 200 <= status < 400 else Verdict(False, f"GET {path} answered {status}")


async def is_ready(task: CheckedTask, check: ReadinessCheck, kept: dict[str, Response]) -> bool:
    """One readiness check, within its timeout; its answer is kept where the check says so."""
    names = [port.name for port in task.app.ports]
    index = names.index(check.port_name) if check.port_name in names else 0
    if index >= len(task.wish.task.ports):
        return False
    port = task.wish.task.ports[index]
    try:
        with task.edge.guard(OSError):
            async with asyncio.timeout(check.timeout_seconds):
                tls = check.protocol == "HTTPS"
                if check.preserve_last_response:
                    answer = await task.probe.response(task.address, port, check.path, tls=tls)
                    kept[check.name] = msgspec.structs.replace(answer, check=check.name)
                    status = answer.status
                else:
                    status = await task.probe.http(task.address, port, check.path, tls=tls)
    except (OSError, DriverError):
        return False
    return status in check.http_status_codes_for_ready


def _port(task: CheckedTask, check: HealthCheck) -> int:
    if check.port is not None:
        return check.port
    ports = task.wish.task.ports
    index = check.port_index or 0
    if index >= len(ports):
        raise OSError(f"there is no port {index} to check: the task has {len(ports)}")
    return ports[index]


def _inner_port(task: CheckedTask, check: HealthCheck) -> int:
    """Where a check of Mesos' own asks, in the network of the task; 0 where that is the host's. IPv6 goes to the
    host's port."""
    networks = task.app.networks
    if not check.protocol.startswith("MESOS_") or check.ip_protocol == "IPv6" or task.app.container is None:
        return 0
    if not networks or networks[0].mode == "host":
        return 0
    return check.port or task.app.ports[check.port_index or 0].container or _port(task, check)


def _host(task: CheckedTask, check: HealthCheck) -> str:
    if check.ip_protocol == "IPv6" and task.address.startswith("127."):
        return "::1"
    return task.address


def _ours(error: BaseException | None) -> bool:
    """Whether a check failed for want of what the agent itself needs, which is no fault of the task."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def _words(error: OSError) -> str:
    """An error of the network without addresses, so that the same trouble has the same words."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
