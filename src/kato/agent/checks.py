"""Health and readiness: a task's checks and what a probe sees flow in; its Health, check by check, flows out.

Times are Marathon's: the first check after `delaySeconds`, then one each `intervalSeconds`, counted from start to
start. Three things are ours. A task that has not been healthy yet and is in its grace period is asked again after
a tenth of the time that it has had, so that a quick one is seen quickly and a slow one costs little. The second
steady check comes early, by a part of the interval that is the task's own, so that tasks started together are not
checked together. And a task that was adopted is checked at once, since its health is already public.
"""

import asyncio
import os
import zlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from kato.drivers.runtime import Runtime
from kato.model.app import App, Command, HealthCheck, ReadinessCheck
from kato.model.errors import DriverError
from kato.model.health import count
from kato.model.link import Assignment
from kato.model.task import Health

SHORTEST_PAUSE = 0.1
"""Seconds between two checks of a task that has not been healthy yet, at least."""
HURRY = 0.1
"""Of the time that such a task has had: the pause before it is asked again."""


class Probe(Protocol):
    """How a check reaches a task. Raises OSError where it does not; the caller sets the time limit."""

    async def http(self, host: str, port: int, path: str, *, tls: bool) -> int:
        """GETs a path; the status code of the answer's first line. Certificates are not verified."""
        ...

    async def tcp(self, host: str, port: int) -> None:
        """Returns once a connection stands."""
        ...


class Verdict(NamedTuple):
    """What one check saw. ok is None where it tells nothing (an ignored HTTP 1xx). cause: why not ok."""

    ok: bool | None
    cause: str = ""


class Patient(NamedTuple):
    """A running task as its checks see it. started: epoch seconds; adopted: it ran before this agent did."""

    wish: Assignment
    runtime: Runtime
    address: str
    started: float
    adopted: bool
    probe: Probe
    clock: Callable[[], float]

    @property
    def app(self) -> App:
        return self.wish.app

    @property
    def age(self) -> float:
        """Seconds since it started."""
        return self.clock() - self.started


async def watch_health(patient: Patient, index: int, hear: Callable[[int, Health], None]) -> None:
    """Performs one health check of a task until cancelled; `hear` gets every result."""
    check = patient.app.health_checks[index]
    part = spread(patient.wish.task.id, index)
    health = Health()
    if not patient.adopted:
        await asyncio.sleep(check.delay_seconds - patient.age)
    now = asyncio.get_running_loop().time
    steady = False
    while True:
        began = now()
        verdict = await examine(patient, check)
        if verdict.ok is not None:
            health = count(check, health, verdict.ok, verdict.cause, patient.started, patient.clock())
        hear(index, health)
        if health.first_success is None and patient.age < check.grace_period_seconds:
            pause = hurried(check.interval_seconds, patient.age)
        else:
            pause = check.interval_seconds * (1.0 if steady else part)
            steady = True
        await asyncio.sleep(began + pause - now())


async def watch_readiness(
    patient: Patient, latch: Callable[[], Awaitable[None]], hear: Callable[[], None]
) -> None:
    """Performs the readiness checks until each has passed once, then latches; `hear` is told of each round."""
    waiting = list(patient.app.readiness_checks)
    while True:
        waiting = [check for check in waiting if not await is_ready(patient, check)]
        if not waiting:
            await latch()
        hear()
        if not waiting:
            return
        await asyncio.sleep(hurried(min(check.interval_seconds for check in waiting), patient.age))


def hurried(interval: float, age: float) -> float:
    """Seconds until a task that was not well yet is asked again. age: seconds since its start."""
    return min(interval, max(SHORTEST_PAUSE, HURRY * age))


def spread(task: str, index: int) -> float:
    """A share between a half and one that is this check's own, by a stable hash."""
    return 0.5 + zlib.crc32(f"{task}/{index}".encode()) / 2**33


async def examine(patient: Patient, check: HealthCheck) -> Verdict:
    """One health check, within its timeout."""
    try:
        if check.protocol == "COMMAND":
            return await _execute(patient, check)
        async with asyncio.timeout(check.timeout_seconds):
            return await _knock(patient, check)
    except TimeoutError:
        return Verdict(False, f"no answer within {check.timeout_seconds:g} s")
    except OSError as error:
        return Verdict(False, _words(error))
    except DriverError as error:
        return Verdict(False, str(error))


async def _execute(patient: Patient, check: HealthCheck) -> Verdict:
    command = check.command or Command()
    argv = command.argv or ("/bin/sh", "-c", command.value or "")
    code = await patient.runtime.execute(patient.wish.task.id, argv, check.timeout_seconds)
    return Verdict(True) if code == 0 else Verdict(False, f"the check's command exited with status {code}")


async def _knock(patient: Patient, check: HealthCheck) -> Verdict:
    kind = check.protocol.removeprefix("MESOS_")
    host, port, path = _host(patient, check), _port(patient, check), check.path or "/"
    if kind == "TCP":
        await patient.probe.tcp(host, port)
        return Verdict(True)
    status = await patient.probe.http(host, port, path, tls=kind == "HTTPS")
    if check.ignore_http1xx and 100 <= status < 200:
        return Verdict(None)
    return Verdict(True) if 200 <= status < 400 else Verdict(False, f"GET {path} answered {status}")


async def is_ready(patient: Patient, check: ReadinessCheck) -> bool:
    """One readiness check, within its timeout."""
    names = [port.name for port in patient.app.ports]
    index = names.index(check.port_name) if check.port_name in names else 0
    if index >= len(patient.wish.task.ports):
        return False
    port = patient.wish.task.ports[index]
    try:
        async with asyncio.timeout(check.timeout_seconds):
            status = await patient.probe.http(patient.address, port, check.path, tls=check.protocol == "HTTPS")
    except OSError:
        return False
    return status in check.http_status_codes_for_ready


def _port(patient: Patient, check: HealthCheck) -> int:
    if check.port is not None:
        return check.port
    ports = patient.wish.task.ports
    index = check.port_index or 0
    if index >= len(ports):
        raise OSError(f"there is no port {index} to check: the task has {len(ports)}")
    return ports[index]


def _host(patient: Patient, check: HealthCheck) -> str:
    if check.ip_protocol == "IPv6" and patient.address.startswith("127."):
        return "::1"
    return patient.address


def _words(error: OSError) -> str:
    """An error of the network without addresses, so that the same trouble has the same words."""
    return os.strerror(error.errno).lower() if error.errno else str(error)
