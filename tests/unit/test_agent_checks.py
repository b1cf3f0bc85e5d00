"""When a task is checked and what an answer means, on virtual time."""

import asyncio
import errno
from typing import Any

import msgspec
import pytest

from builders import app, task
from fakes import FakeProbe, FakeRuntime, clock, run
from kato.agent.checks import CheckedTask, Verdict, examine, hurried, is_ready, spread, watch_health
from kato.agent.edge import Edge
from kato.drivers.runtime import Executed, Launch
from kato.model.app import App, Command, HealthCheck, PortDefinition, ReadinessCheck
from kato.model.errors import DriverError, DriverMissing, DriverSilent
from kato.model.link import Assignment
from kato.model.task import Health
from scenes import Scene, passes


def checked(spec: App, probe: FakeProbe, runtime: FakeRuntime | None = None) -> CheckedTask:
    of = task(spec)
    hands = runtime or FakeRuntime()
    return CheckedTask(Assignment(of, spec, {}), hands, "127.0.0.1", 0.0, False, probe, clock, Edge(of.id))


def look(check: HealthCheck, answers: dict[int, int | None], runtime: FakeRuntime | None = None) -> Verdict:
    """What one check sees of a task with ports 31010 and 31011."""

    async def scenario() -> Verdict:
        probe = FakeProbe()
        probe.answers = answers
        return await examine(checked(app(ports=2), probe, runtime), check)

    return run(scenario())


@pytest.mark.parametrize(
    ("check", "answers", "ok", "cause"),
    [
        (HealthCheck(), {31010: 200}, True, ""),
        (HealthCheck(), {31010: 399}, True, ""),
        (HealthCheck(path="/up"), {31010: 400}, False, "GET /up answered 400"),
        (HealthCheck(), {31010: 199}, False, "GET / answered 199"),
        (HealthCheck(ignore_http1xx=True), {31010: 199}, None, ""),
        (HealthCheck(), {}, False, "connection refused"),
        (HealthCheck(timeout_seconds=3), {31010: None}, False, "no answer within 3 s"),
        (HealthCheck(port_index=1), {31011: 200}, True, ""),
        (HealthCheck(port=8080), {8080: 200}, True, ""),
        (HealthCheck(port_index=2), {31010: 200}, False, "there is no port 2 to check: the task has 2"),
        (HealthCheck(protocol="HTTPS"), {31010: 200}, True, ""),
        (HealthCheck(protocol="MESOS_HTTP"), {31010: 500}, False, "GET / answered 500"),
        (HealthCheck(protocol="MESOS_HTTPS"), {31010: 200}, True, ""),
        (HealthCheck(protocol="TCP"), {31010: 500}, True, ""),
        (HealthCheck(protocol="MESOS_TCP"), {}, False, "connection refused"),
    ],
)
def test_what_an_answer_means(
    check: HealthCheck, answers: dict[int, int | None], ok: bool | None, cause: str
) -> None:
    assert look(check, answers) == (ok, cause)


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        (Command(value="true"), Verdict(True)),
        (Command(argv=("pg_isready", "-q")), Verdict(False, "the check's command exited with status 2")),
        (Command(value="sleep 100"), Verdict(False, "no answer within 4 s")),
    ],
)
def test_what_a_command_says(command: Command, verdict: Verdict) -> None:
    runtime = FakeRuntime()
    runtime.commands = {("/bin/sh", "-c", "true"): Executed(0, b"fine"), ("pg_isready", "-q"): Executed(2)}

    assert look(HealthCheck(protocol="COMMAND", command=command, timeout_seconds=4), {}, runtime) == verdict


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            b"trying\n\ncurl: (7) Failed to connect to localhost port 8080\n \n",
            ": curl: (7) Failed to connect to localhost port 8080",
        ),
        (b"  0  0\r100  1\r\x1b[31;1mno\x07 \xe2\x80\xaeroute\x1b[0m\n", ": no route"),
        (b"caf\xc3\xa9 \xff", ": café \N{REPLACEMENT CHARACTER}"),
        (b"x" * 201, f": {'x' * 199}…"),
        (b"x" * 200, f": {'x' * 200}"),
        (b" \n\x00\n", ""),
    ],
)
def test_a_command_s_failure_says_the_last_line_that_it_wrote(output: bytes, said: str) -> None:
    runtime = FakeRuntime()
    runtime.commands = {("curl",): Executed(7, output)}
    check = HealthCheck(protocol="COMMAND", command=Command(argv=("curl",)))

    assert look(check, {}, runtime) == (False, f"the check's command exited with status 7{said}")


@pytest.mark.parametrize("protocol", ["HTTP", "TCP", "COMMAND"])
def test_a_check_that_the_agent_has_no_descriptor_for_says_nothing_of_the_task(protocol: Any) -> None:
    none_left = OSError(errno.EMFILE, "Too many open files")
    runtime, probe = FakeRuntime(), FakeProbe()
    probe.broken = none_left
    runtime.broken = DriverError("process: Too many open files")
    runtime.broken.__cause__ = none_left
    check = HealthCheck(protocol=protocol, command=Command(value="true"))

    async def scenario() -> None:
        task = checked(app(ports=2, health_checks=(check,)), probe, runtime)
        assert (await examine(task, check)).ok is None
        heard: list[Health] = []
        watching = asyncio.create_task(watch_health(task, 0, lambda _, health: heard.append(health)))
        await asyncio.sleep(1000)
        assert heard == []
        watching.cancel()

    run(scenario())


@pytest.mark.parametrize("error", [DriverSilent, DriverMissing])
def test_an_engine_that_is_silent_says_nothing_of_the_task(error: type[DriverError]) -> None:
    runtime = FakeRuntime()
    runtime.broken = error("The engine does not answer.")
    check = HealthCheck(protocol="COMMAND", command=Command(value="true"))

    assert look(check, {}, runtime) == (None, "The engine does not answer.")


def test_a_command_that_cannot_be_run_is_a_failure_with_its_reason() -> None:
    runtime = FakeRuntime()
    runtime.broken = DriverError("no such program: pg_isready")
    check = HealthCheck(protocol="COMMAND", command=Command(value="true"))

    assert look(check, {}, runtime) == (False, "no such program: pg_isready")


@pytest.mark.parametrize("step", [-300.0, 300.0])
def test_a_step_of_the_wall_clock_makes_no_task_older_or_younger(step: float) -> None:
    check = HealthCheck(grace_period_seconds=60, interval_seconds=10, max_consecutive_failures=1)
    heard: list[Health] = []

    async def scenario() -> None:
        ahead = 0.0
        task = checked(app(ports=2, health_checks=(check,)), FakeProbe())._replace(clock=lambda: clock() + ahead)
        watching = asyncio.create_task(watch_health(task, 0, lambda _, health: heard.append(health)))
        await asyncio.sleep(20)
        ahead, before = step, len(heard)
        await asyncio.sleep(20)
        assert 2 <= len(heard) - before <= 20, "as often as before"
        assert [health.consecutive_failures for health in heard] == [0] * len(heard), "its grace goes on"
        await asyncio.sleep(60)
        watching.cancel()

    run(scenario())
    assert heard[-1].consecutive_failures > 0, "and ends"


def asked(
    check: HealthCheck, *, healthy_at: float | None, until: float, adopt: float | None = None
) -> list[float]:
    """The times of a task's checks, in seconds; since its start, or since `adopt` seconds after it."""

    async def scenario() -> list[float]:
        scene, spec = Scene(), app(ports=1, health_checks=(check,))
        of = task(spec)
        if adopt is not None:
            await scene.runtime.start(Launch(task=of.id, app=spec, env={}))
            await passes(adopt)
        async with scene.running():
            scene.send((spec, of))
            if healthy_at is not None:
                await passes(healthy_at)
                scene.probe.answers[of.ports[0]] = 200
            await passes(until)
        return [round(when - (adopt or 0.0), 3) for when, _ in scene.probe.asked]

    return run(scenario())


def test_the_first_check_waits_for_its_delay_and_then_the_interval_is_kept() -> None:
    check = HealthCheck(delay_seconds=15, interval_seconds=10)
    first, second, *rest = asked(check, healthy_at=0, until=100)

    assert first == 15
    assert 5 <= second - first <= 10, "a part of the interval, its own"
    assert [round(b - a, 3) for a, b in zip([second, *rest], rest, strict=False)] == [10.0] * len(rest)
    assert len(rest) == 7


def test_a_task_in_its_grace_period_is_asked_again_after_a_tenth_of_the_time_it_had() -> None:
    check = HealthCheck(delay_seconds=0, interval_seconds=10, grace_period_seconds=300)
    times = asked(check, healthy_at=8.0, until=0.9)

    assert times[:4] == [0.0, 0.1, 0.2, 0.3]
    assert len(times) < 60
    assert 8.0 <= times[-1] <= 8.9, "seen at the latest a tenth after it was well"


def test_after_the_grace_period_nobody_hurries() -> None:
    check = HealthCheck(delay_seconds=0, interval_seconds=10, grace_period_seconds=0)
    times = asked(check, healthy_at=None, until=60)

    assert 6 <= len(times) <= 8


def test_an_adopted_task_is_checked_at_once() -> None:
    assert asked(HealthCheck(delay_seconds=15), healthy_at=None, until=1, adopt=5.0)[0] == 0.0
    assert asked(HealthCheck(delay_seconds=15), healthy_at=None, until=1) == []


def test_a_check_that_hangs_is_not_started_twice() -> None:
    check = HealthCheck(delay_seconds=0, interval_seconds=1, timeout_seconds=20, grace_period_seconds=0)

    async def scenario() -> list[float]:
        scene, spec = Scene(), app(ports=1, health_checks=(check,))
        of = task(spec)
        scene.probe.answers[of.ports[0]] = None
        async with scene.running():
            scene.send((spec, of))
            await passes(65)
        return [when for when, _ in scene.probe.asked]

    assert run(scenario()) == [0.0, 20.0, 40.0, 60.0]


def test_the_pace_of_the_impatient() -> None:
    assert [hurried(10, age) for age in (0, 1, 5, 50, 500)] == [0.1, 0.1, 0.5, 5, 10]
    assert hurried(0.05, 100) == 0.05


def test_checks_are_spread_by_a_stable_hash() -> None:
    shares = [spread(f"web.instance-{n}", 0) for n in range(1000)]

    assert all(0.5 <= share < 1 for share in shares)
    assert spread("web.instance-1", 0) == pytest.approx(0.88977, abs=1e-5)
    assert all(70 < sum(low <= s < low + 0.05 for s in shares) < 130 for low in [0.5 + n / 20 for n in range(10)])


@pytest.mark.parametrize(
    ("more", "answers", "ready"),
    [
        ({}, {31011: 200}, True),
        ({"http_status_codes_for_ready": (200, 503)}, {31011: 503}, True),
        ({}, {31011: 302}, False),
        ({}, {}, False),
        ({"timeout_seconds": 1.0}, {31011: None}, False),
        ({"port_name": "no-such"}, {31010: 200}, True),
    ],
)
def test_readiness(more: dict[str, Any], answers: dict[int, int | None], ready: bool) -> None:
    names = (PortDefinition(port=10000), PortDefinition(port=10001, name="http-api"))
    spec = msgspec.structs.replace(app(), port_definitions=names)

    async def scenario() -> bool:
        probe = FakeProbe()
        probe.answers = answers
        return await is_ready(checked(spec, probe), ReadinessCheck(**more), {})

    assert run(scenario()) is ready


def test_a_check_that_fails_as_nobody_expected_is_a_failed_check() -> None:
    async def scenario() -> tuple[Verdict, bool]:
        task = checked(app(ports=1), FakeProbe())

        async def explode(*_: object, **__: object) -> int:
            raise UnicodeError("label too long")

        task.probe.http = explode  # type: ignore[method-assign]
        return await examine(task, HealthCheck()), await is_ready(task, ReadinessCheck(), {})

    (ok, cause), ready = run(scenario())
    assert (ok, ready) == (False, False)
    assert "UnicodeError: label too long" in cause
