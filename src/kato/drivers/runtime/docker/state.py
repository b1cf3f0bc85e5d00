"""What the engine says of a container and of its image flows in; Found, Exit and a HealthCheck flow out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kato.drivers.runtime import Exit, Found
from kato.model.app import Command, HealthCheck
from kato.model.link import RemovedTask, Used

Seen = Mapping[str, Any]
DELAY = 1.0
"""Seconds after a start, at most, until an image's check is made for the first time."""


def found_of(seen: Seen, boot: str, check: HealthCheck | None) -> Found:
    """The task that a container is. boot: the present life of the machine. check: its image's."""
    state = seen["State"]
    over = state["Status"] in ("exited", "dead")
    return Found(
        task=seen["Config"]["Labels"]["kato.task"],
        started=_started(state),
        pid=None if over else state["Pid"],
        exit=exit_of(seen, boot) if over else None,
        check=check,
    )


def check_of(image: Seen) -> HealthCheck | None:
    """The HEALTHCHECK of an image, with Docker's defaults. The node makes it, as it makes an app's, and the engine
    does not. It says who serves; nobody is ended for it, as nobody is by the engine.
    """
    asked = image["Config"].get("Healthcheck") or {}
    kind, *words = asked.get("Test") or ["NONE"]
    if kind == "NONE" or not words:
        return None
    interval = _duration(asked, "Interval", 30.0)
    return HealthCheck(
        protocol="COMMAND",
        command=Command(value=words[0]) if kind == "CMD-SHELL" else Command(argv=tuple(words)),
        interval_seconds=interval,
        timeout_seconds=_duration(asked, "Timeout", 30.0),
        grace_period_seconds=_duration(asked, "StartPeriod", 0.0) + interval,
        delay_seconds=min(interval, DELAY),
        max_consecutive_failures=0,
    )


def _duration(asked: Seen, name: str, default: float) -> float:
    """Seconds; the engine counts nanoseconds, and 0 is its default."""
    return float(asked.get(name) or 0) / 1e9 or default


def exit_of(seen: Seen, boot: str) -> Exit:
    """How a container ended. The engine tells a signal by 128 + its number, as a shell does; so do we."""
    state = seen["State"]
    rebooted = seen["Config"]["Labels"].get("kato.boot") != boot
    return Exit(
        code=None if rebooted else state["ExitCode"],
        ended=seconds(state["FinishedAt"]),
        message="" if rebooted else state.get("Error", ""),
        rebooted=rebooted,
        oom=bool(state["OOMKilled"]),
    )


def kept_of(seen: Seen, boot: str) -> RemovedTask:
    """What is known of a task once its container was removed."""
    exit = exit_of(seen, boot)
    message = exit.message or f"It exited with code {exit.code}."
    if exit.rebooted:
        message = "Lost at reboot: the machine went down under it."
    return RemovedTask(seen["Config"]["Labels"]["kato.task"], _started(seen["State"]), exit.ended, message)


def used_of(stats: Seen) -> Used | None:
    """What a container uses, by the engine's count; None of one that has ended. Memory is as Docker shows it."""
    memory = stats["memory_stats"]
    if "usage" not in memory:
        return None
    counts = memory.get("stats") or {}
    idle = counts.get("total_inactive_file", counts.get("inactive_file", 0))
    return Used(stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9, max(0, memory["usage"] - idle))


def _started(state: Mapping[str, Any]) -> float | None:
    """The engine may say that a short container ended before it started: it hears of both at once."""
    started, ended = seconds(state["StartedAt"]), seconds(state["FinishedAt"])
    over = state["Status"] in ("exited", "dead")
    return min(started, ended) if over and started is not None and ended is not None else started


def seconds(stamp: str) -> float | None:
    """Epoch seconds of the engine's time, which has nanoseconds; its year 1 means never.

    >>> seconds("2026-11-23T06:30:46.123456789Z"), seconds("0001-01-01T00:00:00Z")
    (1795415446.123456, None)
    """
    if stamp.startswith("0001-"):
        return None
    whole, _, rest = stamp.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{rest[:6]:0<6}+00:00").timestamp()
