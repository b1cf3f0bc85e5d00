"""What the engine says of a container flows in; Found and Exit flow out. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kato.drivers.runtime import Exit, Found
from kato.model.link import Kept

Seen = Mapping[str, Any]


def found_of(seen: Seen, boot: str) -> Found:
    """The task that a container is. boot: the present life of the machine."""
    state = seen["State"]
    over = state["Status"] in ("exited", "dead")
    return Found(
        task=seen["Config"]["Labels"]["kato.task"],
        started=_started(state),
        pid=None if over else state["Pid"],
        exit=exit_of(seen, boot) if over else None,
    )


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


def kept_of(seen: Seen, boot: str) -> Kept:
    """What is known of a task once its container was removed."""
    exit = exit_of(seen, boot)
    message = exit.message or f"It exited with code {exit.code}."
    if exit.rebooted:
        message = "Lost at reboot: the machine went down under it."
    return Kept(seen["Config"]["Labels"]["kato.task"], _started(seen["State"]), exit.ended, message)


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
