"""A Compose `healthcheck`, or x-kato's `health`, comes in; the app's health checks come out.

Compose counts a failure from the first check on, one interval after the start. Káto checks earlier, so that a
service is known to be healthy sooner, and forgives failures for that long: the grace is start_period + interval.
"""

from kato.language.reading import Part
from kato.model.app import Command, HealthCheck

_DELAY = 1.0
"""Seconds until the first check, where the interval is not shorter."""


def read_healthcheck(service: Part) -> HealthCheck | None:
    """Compose's `healthcheck`, with Compose's defaults: 30 s, 30 s, 3 failures, no start period."""
    part = service.part("healthcheck")
    if part is None:
        return None
    interval = part.seconds("interval", 0.01) or 30.0
    timeout = part.seconds("timeout", 0.01) or 30.0
    retries, grace, disabled = part.whole("retries"), part.seconds("start_period"), part.flag("disable")
    if part.seconds("start_interval") is not None:
        part.warn("start_interval", "is ignored; the first check comes within a second, the next after `interval`")
    command = _test(part, required=not disabled)
    part.close()
    if command is None or disabled:
        return None
    return HealthCheck(
        protocol="COMMAND",
        command=command,
        interval_seconds=interval,
        timeout_seconds=timeout,
        max_consecutive_failures=retries or 3,
        grace_period_seconds=(grace or 0.0) + interval,
        delay_seconds=min(interval, _DELAY),
    )


def is_disabled(service: Part) -> bool:
    """Whether not even the image's own check is to be made."""
    asked = service.raw("healthcheck")
    return isinstance(asked, dict) and (
        asked.get("test") in (["NONE"], "NONE") or str(asked.get("disable")).lower() == "true"
    )


def _test(part: Part, *, required: bool) -> Command | None:
    raw = part.raw("test")
    if raw is None:
        if required:
            part.fault("test", 'is missing; write a shell line, ["CMD", program, …] or disable: true')
        return None
    words = part.words("test") or ()
    if isinstance(raw, str) and raw.strip():
        return Command(value=raw)
    match words if isinstance(raw, list) else ():
        case ("NONE",):
            return None
        case ("CMD", program, *rest) if program:
            return Command(argv=(program, *rest))
        case ("CMD-SHELL", line) if line.strip():
            return Command(value=line)
    part.fault("test", 'must be a shell line, ["CMD", program, …], ["CMD-SHELL", line] or ["NONE"]')
    return None


def read_health(kato: Part, ports: int) -> HealthCheck | None:
    """x-kato's `health`: `http: /path` or `tcp: true`, on the port with index `port`."""
    part = kato.part("health")
    if part is None:
        return None
    path, tcp, index = part.text("http"), part.flag("tcp"), part.whole("port") or 0
    interval, timeout = part.seconds("interval", 0.01) or 10.0, part.seconds("timeout", 0.01) or 10.0
    grace, delay, retries = part.seconds("grace"), part.seconds("delay"), part.whole("retries")
    part.close()
    if bool(path) == bool(tcp):
        kato.fault("health", "needs one of `http: /path` and `tcp: true`")
    elif path and not path.startswith("/"):
        part.fault("http", f"must be a path that begins with '/', not {path!r}")
    elif index >= ports:
        have = f"has ports 0 to {ports - 1}" if ports else "has none: add `ports` or `expose`"
        part.fault("port", f"there is no port {index}; the service {have}")
    else:
        return HealthCheck(
            protocol="HTTP" if path else "TCP",
            path=path,
            port_index=index,
            interval_seconds=interval,
            timeout_seconds=timeout,
            max_consecutive_failures=3 if retries is None else retries,
            grace_period_seconds=60.0 if grace is None else grace,
            delay_seconds=min(interval, _DELAY) if delay is None else delay,
        )
    return None
