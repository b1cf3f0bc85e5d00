"""An app comes in; every fault in it comes out, each with its path in Marathon's manner.

The rules are Marathon's (its `app.raml` and what its validators add). A runtime that no node has yet is no fault:
whether a node can run the app is for the planner to find.
"""

import math
import re
from collections.abc import Callable, Iterator

from kato.model import patterns, validate_ports
from kato.model.app import MAX_INSTANCES, Access, App, AppVolume, HealthCheck, SecretRef
from kato.model.errors import Fault

MAX_ID = 180
"""Characters of an app id: with a task's own part it still is one file name."""
LONGEST = 10 * 365 * 86_400
"""Seconds of any time that an app names."""
RESERVED = frozenset({"restart", "tasks", "versions"})
"""Words that an id must not end with: they are verbs of the API."""

_WORD = r"([a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])"
_SEGMENT = re.compile(rf"({_WORD}\.)*{_WORD}")

Faults = Iterator[Fault]


def validate(app: App) -> list[Fault]:
    """Every fault in one app, in the order of its fields."""
    rules: tuple[Callable[[App], Faults], ...] = (
        lambda app: validate_id(app.id),
        _command,
        _user,
        _environment,
        _numbers,
        _constraints,
        _container,
        _volumes,
        _networks,
        validate_ports.ports,
        validate_ports.labels,
        validate_ports.twice,
        _health_checks,
        _readiness_checks,
        _dependencies,
        _strategies,
        _resource_limits,
    )
    return [fault for rule in rules for fault in rule(app)]


def validate_id(id: str) -> Iterator[Fault]:
    """What is wrong with the id of an app or group (Marathon's PathId)."""
    segments = id.split("/")[1:]
    if not id.startswith("/") or segments == [""]:
        yield Fault("/id", f"{id!r} is no path; write it like /shop/web")
        return
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            yield Fault(
                "/id", f"{segment!r} is no name: use lower-case letters, digits, dots, and dashes inside (my-app)"
            )
    if segments[-1] in RESERVED:
        yield Fault("/id", f"an id must not end with {segments[-1]!r}, which the API uses itself")
    if len(id) > MAX_ID:
        yield Fault("/id", f"the id has {len(id)} characters; {MAX_ID} is the most")


def _command(app: App) -> Faults:
    image = bool(app.container and app.container.docker and app.container.docker.image)
    if app.cmd is not None and app.args is not None:
        yield Fault("/", "both cmd and args are set; keep cmd for a shell line, or args for words without a shell")
    if app.cmd is None and not app.args and not image:
        yield Fault("/", "there is nothing to run: set cmd, args, or an image")
    if app.cmd is not None and not app.cmd.strip():
        yield Fault("/cmd", "must not be empty")
    for path, text in (("/cmd", app.cmd), *((f"/args({n})", arg) for n, arg in enumerate(app.args or ()))):
        if text and "\0" in text:
            yield Fault(path, "must not contain the character NUL")
    if app.args and not app.args[0] and not image:
        yield Fault("/args(0)", "must name a program")


def _user(app: App) -> Faults:
    """A name, or a number, with a group after a colon at will: `www-data`, `1000:1000`."""
    for word in (app.user or "").split(":") if app.user is not None else ():
        if word.isdecimal() and not (word.isascii() and int(word[:11]) < 2**32 - 1):
            yield Fault("/user", f"{word[:40]!r} is no id of a user or group; those go up to {2**32 - 2}")
        elif not word or "\0" in word or any(character.isspace() for character in word):
            yield Fault("/user", f"{app.user!r} is no user; write a name or a number, then :group if need be")


def _environment(app: App) -> Faults:
    for name, value in app.env.items():
        path = f"/env/{name}"
        if not name or "=" in name or "\0" in name:
            yield Fault(path, "a variable's name must not be empty nor contain '='")
        if isinstance(value, SecretRef):
            if value.secret not in app.secrets:
                yield Fault(path, f"there is no secret {value.secret!r} in /secrets; add it there")
        elif "\0" in value:
            yield Fault(path, "must not contain the character NUL")
    for name, secret in app.secrets.items():
        if not secret.source:
            yield Fault(f"/secrets/{name}/source", "must not be empty")


def _numbers(app: App) -> Faults:
    yield from _at_least("/instances", app.instances, 0, MAX_INSTANCES)
    yield from _at_least("/cpus", app.cpus, 0.001)
    yield from _at_least("/mem", app.mem, 0)
    yield from _at_least("/disk", app.disk, 0)
    yield from _at_least("/gpus", app.gpus, 0)
    yield from _at_least("/backoffSeconds", app.backoff_seconds, 0, LONGEST)
    yield from _at_least("/backoffFactor", app.backoff_factor, 1, 1e6)
    yield from _at_least("/maxLaunchDelaySeconds", app.max_launch_delay_seconds, 0, LONGEST)
    policy = app.restart_policy
    if policy is not None and policy.max_attempts is not None:
        yield from _at_least("/restartPolicy/maxAttempts", policy.max_attempts, 1)
        if policy.condition != "on-failure":
            yield Fault("/restartPolicy/maxAttempts", 'goes only with the condition "on-failure"')
    if policy is not None and policy.job and policy.condition == "any":
        yield Fault("/restartPolicy/job", 'a job ends; its condition must be "none" or "on-failure"')
    if app.task_kill_grace_period_seconds is not None:
        yield from _at_least("/taskKillGracePeriodSeconds", app.task_kill_grace_period_seconds, 0, LONGEST)
    for n, artifact in enumerate(app.fetch):
        if not artifact.uri:
            yield Fault(f"/fetch({n})/uri", "must not be empty")


def _at_least(path: str, number: float, least: float, most: float = 1e12) -> Faults:
    if not least <= number <= most:
        limit = f"between {least:g} and {most:,.0f}"
        yield Fault(path, f"{str(number)[:40]} cannot be taken; it must be {limit}")


def _constraints(app: App) -> Faults:
    for n, constraint in enumerate(app.constraints):
        path = f"/constraints({n})"
        if not 2 <= len(constraint) <= 3:
            yield Fault(path, "must be [field, operator] or [field, operator, value]")
            continue
        field, operator, value = constraint[0], constraint[1], constraint[2] if len(constraint) == 3 else ""
        if not field:
            yield Fault(path, "the field must not be empty; use hostname, @region, @zone or an attribute's name")
        if fault := _operator(operator, value):
            yield Fault(path, fault)


def _operator(operator: str, value: str) -> str | None:
    """What is wrong with an operator and its value (`mesosphere/mesos/Constraints.scala`)."""
    match operator:
        case "UNIQUE":
            return f"UNIQUE takes no value, not {value!r}" if value else None
        case "CLUSTER":
            return None
        case "GROUP_BY" | "MAX_PER":
            if not value and operator == "GROUP_BY":
                return None
            number = value.isascii() and value.isdecimal() and len(value) < 10 and int(value) > 0
            return None if number else f'{operator} takes a whole number as text, such as "2", not {value[:40]!r}'
        case "LIKE" | "UNLIKE":
            if not value:
                return f"{operator} needs a regular expression as its third item"
            return patterns.fault(value)
        case "IS":
            return None if value else "IS needs a value as its third item"
    known = "UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER or IS"
    return f"{operator!r} is no operator; use {known}"


def _container(app: App) -> Faults:
    container = app.container
    if container is None:
        return
    if container.docker is not None and not container.docker.image:
        yield Fault("/container/docker/image", "must name an image; leave `docker` out for a process")
    if container.type == "DOCKER" and container.docker is None:
        yield Fault("/container/docker", "type DOCKER needs an image; for a process set /container/type to MESOS")
    pull = container.docker.pull_config if container.docker else None
    if pull and pull.secret not in app.secrets:
        yield Fault(
            "/container/docker/pullConfig", f"there is no secret {pull.secret!r} in /secrets; add it there"
        )


def _volumes(app: App) -> Faults:
    seen: set[str] = set()
    for n, volume in enumerate(app.container.volumes if app.container else ()):
        path = f"/container/volumes({n})"
        kinds = (volume.host_path, volume.persistent, volume.external, volume.secret)
        if sum(kind is not None for kind in kinds) != 1:
            yield Fault(path, "must have exactly one of hostPath, persistent, external and secret")
        where = volume.container_path
        if not where or ".." in where.split("/") or "\0" in where:
            yield Fault(f"{path}/containerPath", f"{where!r} must be a path without '..'")
        if where in seen:
            yield Fault(f"{path}/containerPath", f"two volumes are mounted at {where!r}; keep one")
        seen.add(where)
        yield from _volume(app, volume, path)


def _access(access: Access, path: str) -> Faults:
    for word, number in (("uid", access.uid), ("gid", access.gid)):
        if number is not None and not 0 <= number < 2**32 - 1:
            yield Fault(f"{path}/{word}", f"must be between 0 and {2**32 - 2}")
    if access.mode is not None and not re.fullmatch(r"0?[0-7]{3}", access.mode, re.ASCII):
        yield Fault(f"{path}/mode", "must be three digits of chmod as text, such as 0440")


def _volume(app: App, volume: AppVolume, path: str) -> Faults:
    if volume.host_path is not None and (not volume.host_path or "\0" in volume.host_path):
        yield Fault(f"{path}/hostPath", "must not be empty")
    if volume.secret is not None and volume.secret not in app.secrets:
        yield Fault(f"{path}/secret", f"there is no secret {volume.secret!r} in /secrets; add it there")
    if volume.access is not None:
        yield from _access(volume.access, f"{path}/access")
    if volume.persistent is not None:
        if "/" in volume.container_path:
            yield Fault(f"{path}/containerPath", "a persistent volume's path must not contain '/'; use one word")
        if volume.mode != "RW":
            yield Fault(f"{path}/mode", "a persistent volume must be RW")
        if volume.persistent.size <= 0:
            yield Fault(f"{path}/persistent/size", "must be more than 0 (MiB)")
    if volume.external is not None:
        if not volume.external.name or not re.fullmatch(r"[\w.-]+", volume.external.name, re.ASCII):
            yield Fault(f"{path}/external/name", "must be letters, digits, '.', '_' and '-'")
        if not volume.external.provider:
            yield Fault(f"{path}/external/provider", "must name a provider; `kato` is the cell's own")


def _networks(app: App) -> Faults:
    modes = {network.mode for network in app.networks}
    if len(modes) > 1:
        yield Fault("/networks", f"networks of different modes cannot be mixed ({', '.join(sorted(modes))})")
    for n, network in enumerate(app.networks):
        if network.mode == "container" and not network.name:
            yield Fault(f"/networks({n})/name", "a container network must be named")
        if network.mode != "container" and network.name:
            yield Fault(f"/networks({n})/name", f"a {network.mode} network has no name; leave it out")
    if len(app.networks) > 1 and modes <= {"host", "container/bridge"}:
        yield Fault("/networks", "there can be only one host or bridge network")
    host = modes == {"host"}
    if host and app.container and app.container.port_mappings:
        yield Fault("/container/portMappings", "the host network takes no port mappings; use portDefinitions")
    if not host and app.port_definitions:
        yield Fault("/portDefinitions", "only the host network takes portDefinitions; use container.portMappings")


def _health_checks(app: App) -> Faults:
    for n, check in enumerate(app.health_checks):
        path = f"/healthChecks({n})"
        yield from _at_least(f"{path}/gracePeriodSeconds", check.grace_period_seconds, 0)
        yield from _at_least(f"{path}/delaySeconds", check.delay_seconds, 0)
        yield from _at_least(f"{path}/maxConsecutiveFailures", check.max_consecutive_failures, 0)
        if not 0 < check.interval_seconds < math.inf:
            yield Fault(f"{path}/intervalSeconds", "must be more than 0")
        if not 0 < check.timeout_seconds < math.inf:
            yield Fault(f"{path}/timeoutSeconds", "must be more than 0")
        if check.protocol == "COMMAND":
            yield from _command_check(check, path)
        else:
            yield from _port_check(app, check, path)


def _command_check(check: HealthCheck, path: str) -> Faults:
    if check.command is None or bool(check.command.value) == bool(check.command.argv):
        yield Fault(f"{path}/command", "a COMMAND check needs a command: either value (a shell line) or argv")
    if check.port is not None or check.port_index is not None:
        yield Fault(path, "a COMMAND check has neither port nor portIndex; use $PORT0 in the command")


def _port_check(app: App, check: HealthCheck, path: str) -> Faults:
    if check.command is not None:
        yield Fault(f"{path}/command", f"only a COMMAND check has a command; this one is {check.protocol}")
    if check.port is not None and check.port_index is not None:
        yield Fault(path, "both port and portIndex are set; keep one")
    elif check.port is not None:
        yield from validate_ports.port(f"{path}/port", check.port)
    elif not 0 <= (check.port_index or 0) < len(app.ports):
        have = f"has {len(app.ports)}" if app.ports else "has none"
        yield Fault(f"{path}/portIndex", f"there is no port {check.port_index or 0} (from 0 on): the app {have}")


def _readiness_checks(app: App) -> Faults:
    if len(app.readiness_checks) > 1:
        yield Fault("/readinessChecks", "there can be only one readiness check")
    names = {port.name for port in app.ports}
    for n, check in enumerate(app.readiness_checks):
        path = f"/readinessChecks({n})"
        if check.port_name not in names:
            yield Fault(f"{path}/portName", f"no port of the app is named {check.port_name!r}")
        if not check.path:
            yield Fault(f"{path}/path", "must not be empty")
        if not 0 < check.timeout_seconds < check.interval_seconds < math.inf:
            yield Fault(f"{path}/timeoutSeconds", "must be more than 0 and less than intervalSeconds")
        if not check.http_status_codes_for_ready or not all(
            100 <= code <= 999 for code in check.http_status_codes_for_ready
        ):
            yield Fault(f"{path}/httpStatusCodesForReady", "must be one or more codes from 100 to 999")


def _dependencies(app: App) -> Faults:
    for n, dependency in enumerate(app.dependencies):
        if dependency == app.id:
            yield Fault(f"/dependencies({n})", "an app cannot depend on itself")


def _strategies(app: App) -> Faults:
    upgrade = app.upgrade_strategy
    for name, value in (
        ("minimumHealthCapacity", upgrade.minimum_health_capacity),
        ("maximumOverCapacity", upgrade.maximum_over_capacity),
    ):
        if not 0 <= value <= 1:
            yield Fault(f"/upgradeStrategy/{name}", f"{value:g} cannot be taken; it must be between 0 and 1")
    if app.resident and upgrade.maximum_over_capacity > 0:
        yield Fault(
            "/upgradeStrategy/maximumOverCapacity",
            "must be 0 for an app with volumes of its own: two of its tasks must not use them at once",
        )
    if isinstance(app.unreachable_strategy, str):
        return
    inactive = app.unreachable_strategy.inactive_after_seconds
    expunge = app.unreachable_strategy.expunge_after_seconds
    yield from _at_least("/unreachableStrategy/inactiveAfterSeconds", inactive, 0)
    yield from _at_least("/unreachableStrategy/expungeAfterSeconds", expunge, 0)
    if inactive > expunge:
        yield Fault("/unreachableStrategy/inactiveAfterSeconds", "must not be more than expungeAfterSeconds")
    if any(volume.persistent for volume in (app.container.volumes if app.container else ())):
        yield Fault("/unreachableStrategy", 'must be "disabled" for an app with persistent volumes')


def _resource_limits(app: App) -> Faults:
    asked = {"cpus": app.cpus, "mem": app.mem}
    for name, limit in (app.resource_limits or {}).items():
        path = f"/resourceLimits/{name}"
        if name not in asked:
            yield Fault(path, "only cpus and mem can be limited")
        elif isinstance(limit, str) and limit != "unlimited":
            yield Fault(path, f'{limit!r} is no limit; use a number or "unlimited"')
        elif not isinstance(limit, str) and not asked[name] <= limit < math.inf:
            yield Fault(path, f"{limit:g} is less than the {asked[name]:g} asked for in /{name}")
