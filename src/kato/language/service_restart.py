"""A Compose service's `restart`, its `deploy.restart_policy` and whether others await its end come in; what
becomes of a task that has ended by itself comes out.

Compose restarts nothing unless it is asked to; Káto keeps services running unless the file says that they end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kato.language.reading import Part, text_of
from kato.model.app import RestartPolicy, UpgradeStrategy

COMPLETED = "service_completed_successfully"
AT_ONCE = UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=0.0)
"""Of a job: the older version ends before the newer begins, since two must not do the same work at once."""

_RESTART = re.compile(r"(no|false|always|unless-stopped|on-failure)(?::(\d{1,9}))?")
_CONDITIONS = {"no": "none", "false": "none", "on-failure": "on-failure"}
_JOBS = ("replicated-job",)


@dataclass(frozen=True, slots=True)
class Restart:
    """What the file says. policy: None where Káto keeps it running. delay: seconds before it is tried again."""

    policy: RestartPolicy | None = None
    delay: float | None = None


def awaited(services: Mapping[str, object]) -> frozenset[str]:
    """The services whose end others await by `depends_on`."""
    found: set[str] = set()
    for service in services.values():
        needs = service.get("depends_on") if isinstance(service, dict) else None
        for name, how in needs.items() if isinstance(needs, dict) else ():
            if isinstance(how, dict) and how.get("condition") == COMPLETED:
                found.add(name)
    return frozenset(found)


def read_restart(service: Part, *, is_awaited: bool, serves: bool) -> Restart:
    """`deploy.restart_policy`, else `restart`; else, where its end is awaited, Compose's default: no.

    serves: whether it has a port or a health check, by which it can be seen to do well before it ends.
    """
    section = service.part("deploy")
    deploy = section or Part(None, (*service.path, "deploy"), service.findings)
    mode, delay = text_of(deploy.data.get("mode")), None
    job = is_awaited or mode in _JOBS
    condition, most = _restart(service)
    part = deploy.part("restart_policy")
    if part is not None:
        condition, given, delay = _policy(part)
        most = given or most
    if condition is None and job:
        condition = "none" if is_awaited and mode not in _JOBS else "on-failure"
    if job and condition == "any":
        where = (*service.path, "deploy", "restart_policy") if part is not None else (*service.path, "restart")
        why = f"others await its end ({COMPLETED})" if is_awaited else f"its mode is {mode}"
        service.findings.fault(where, f'starts it again whenever it ends, but {why}; use "no" or on-failure')
        return Restart()
    if most and condition != "on-failure":
        service.findings.fault(
            (*service.path, "deploy", "restart_policy", "max_attempts"), "goes only with condition: on-failure"
        )
        most = None
    match condition:
        case "none":
            return Restart(RestartPolicy(condition="none", job=job or not serves), delay)
        case "on-failure":
            return Restart(RestartPolicy(condition="on-failure", max_attempts=most or None, job=job), delay)
    return Restart(delay=delay)


def _restart(service: Part) -> tuple[str | None, int | None]:
    """The condition and the attempts of `restart`."""
    text = service.text("restart")
    if text is None:
        return None, None
    match = _RESTART.fullmatch(text)
    if match is None or (match[2] and match[1] != "on-failure"):
        service.fault(
            "restart", f'{text[:40]!r} is not taken; use "no", on-failure, on-failure:3, always or unless-stopped'
        )
        return None, None
    return _CONDITIONS.get(match[1], "any"), int(match[2]) if match[2] else None


def _policy(part: Part) -> tuple[str, int | None, float | None]:
    """The condition, the attempts (0: without end) and the delay of `deploy.restart_policy`."""
    condition = part.text("condition") or "any"
    if condition not in ("any", "on-failure", "none"):
        part.fault("condition", f"{condition[:40]!r} is not taken; use any, on-failure or none")
        condition = "any"
    most, delay = part.whole("max_attempts"), part.seconds("delay")
    if part.seconds("window") is not None:
        part.warn("window", "is ignored: a task that has run for a minute has started well")
    part.close()
    return condition, most, delay
