"""One service of a Compose project comes in; the app that it wishes for comes out.

What its runtime cannot give it is refused by name, and so is every key that is not known. `docs/compose.md` says
which keys are taken, which are warned about and which are refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from kato.language.interpolation import Lookup
from kato.language.reading import Part, text_of
from kato.language.service_body import Body
from kato.language.service_container import read_container
from kato.language.service_deploy import Deploy, read_deploy
from kato.language.service_env import read_environment, read_labels
from kato.language.service_habits import warn_of_container_ports, warn_of_literals, warn_of_targets
from kato.language.service_health import read_health, read_healthcheck
from kato.language.service_names import warn_of_names
from kato.language.service_ports import Port, read_ports
from kato.language.service_process import read_process
from kato.language.service_restart import AT_ONCE, COMPLETED, Restart, read_restart
from kato.language.service_secrets import ProjectSecrets, read_files
from kato.language.service_volumes import Surroundings, beside, read_volumes
from kato.language.shape import closest
from kato.model.app import App, AppVolume, HealthCheck, SecretSource, UpgradeStrategy
from kato.model.runtimes import RUNTIMES

_STOP_GRACE = 10.0
"""Seconds, Compose's default."""
_CAREFUL = UpgradeStrategy(minimum_health_capacity=0.5, maximum_over_capacity=0.0)
"""Marathon's default for an app with external volumes."""
_HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Project:
    """What a service may refer to. ids: service → app id, of those that are active; idle: the others, with their
    profiles. healthy: services that have a health check; awaited: those whose end others await.

    networks: name in the file → name in the cell.
    """

    ids: Mapping[str, str]
    idle: Mapping[str, tuple[str, ...]]
    healthy: frozenset[str]
    awaited: frozenset[str]
    networks: Mapping[str, str]
    around: Surroundings
    lookup: Lookup
    file: Lookup
    """The text of a file by its absolute path, None where there is none."""
    secrets: ProjectSecrets


def read_service(service: Part, id: str, project: Project) -> App:
    """The app of one service. What is wrong is written into the service's findings."""
    kato = service.part("x-kato") or Part(None, (*service.path, "x-kato"), service.findings)
    runtime = _runtime(service, kato)
    app, refused = _app(service, kato, id, project, runtime)
    kato.close()
    service.raw("profiles")  # `profiles` reads it
    service.close(refused)
    return app


def _app(service: Part, kato: Part, id: str, project: Project, runtime: str) -> tuple[App, Mapping[str, str]]:
    """With the keys that its runtime refuses, and why."""
    deploy = read_deploy(service)
    ports = read_ports(service)
    volumes, secrets = _volumes(service, project, nested=runtime != "process")
    env = read_environment(service, project.around, project.lookup, project.file)
    body = _body(service, project, runtime, ports, volumes, env)
    health = _health(service, kato, runtime, ports, volumes, env)
    labels = {**body.labels, **_hosts(kato, bool(ports))}
    labels |= {**deploy.labels, **read_labels(service, project.around, project.lookup, project.file)}
    grace = service.seconds("stop_grace_period")
    restart = read_restart(
        service, is_awaited=service.path[-1] in project.awaited, serves=bool(ports or health is not None)
    )
    app = App(
        id=id,
        cmd=body.cmd,
        args=body.args,
        user=service.text("user") or None,
        env=env,
        instances=deploy.instances,
        cpus=deploy.cpus,
        mem=deploy.mem,
        resource_limits=deploy.limits,
        constraints=(*deploy.constraints, *_constraints(kato)),
        container=body.container,
        networks=body.networks,
        port_definitions=body.port_definitions,
        health_checks=(health,) if health else (),
        dependencies=_dependencies(service, project),
        upgrade_strategy=_upgrade(deploy, restart, volumes),
        restart_policy=restart.policy,
        labels=labels,
        secrets=secrets,
        task_kill_grace_period_seconds=_STOP_GRACE if grace is None else grace,
        tty=service.flag("tty") if runtime != "process" else None,
    )
    return app if restart.delay is None else _delayed(app, restart.delay), body.refused


def _volumes(
    service: Part, project: Project, *, nested: bool
) -> tuple[tuple[AppVolume, ...], Mapping[str, SecretSource]]:
    """Volumes and files, and the secrets that the app names. nested: whether one may lie inside another."""
    volumes = read_volumes(service, project.around, nested=nested)
    files, secrets = read_files(service, project.secrets, contained=nested)
    return beside(service, volumes, files, nested=nested), secrets


def _body(
    service: Part,
    project: Project,
    runtime: str,
    ports: tuple[Port, ...],
    volumes: tuple[AppVolume, ...],
    env: Mapping[str, str],
) -> Body:
    if runtime != "process":
        return read_container(service, ports, volumes, project.networks, daemon=runtime == "docker")
    body = read_process(service, ports, volumes, project.around)
    warn_of_names(service, env, project.ids)
    return body


def _health(
    service: Part,
    kato: Part,
    runtime: str,
    ports: tuple[Port, ...],
    volumes: tuple[AppVolume, ...],
    env: Mapping[str, str],
) -> HealthCheck | None:
    """x-kato's check, else Compose's; of a process, what it shares with the command is warned about."""
    checked = read_healthcheck(service)
    health = read_health(kato, len(ports)) or checked
    if runtime == "process":
        warn_of_targets(service, env, volumes)
        warn_of_container_ports(service, health, ports)
        warn_of_literals(service, env, health)
    return health


def _upgrade(deploy: Deploy, restart: Restart, volumes: tuple[AppVolume, ...]) -> UpgradeStrategy:
    if restart.policy is not None and restart.policy.job:
        return AT_ONCE
    return deploy.upgrade or (_CAREFUL if any(each.own for each in volumes) else UpgradeStrategy())


def _runtime(service: Part, kato: Part) -> str:
    """What `x-kato.runtime` says, else what the service's shape says: with an image it is a container."""
    runtime = kato.text("runtime")
    if runtime is not None and runtime not in RUNTIMES:
        kato.fault("runtime", f"{runtime[:40]!r} is no runtime of Káto; use {', '.join(RUNTIMES)}")
    elif runtime is not None:
        return runtime
    return "docker" if {"image", "build"} & service.data.keys() else "process"


def _dependencies(service: Part, project: Project) -> tuple[str, ...]:
    raw = service.raw("depends_on")
    found: list[str] = []
    if isinstance(raw, dict):
        section = Part(raw, (*service.path, "depends_on"), service.findings)
        for name in raw:
            entry = section.part(name) or Part(None, (*section.path, name), service.findings)
            condition, required = entry.text("condition") or "service_started", entry.flag("required") is not False
            if entry.flag("restart"):
                entry.warn("restart", "is ignored: a service that is replaced keeps its name and its port")
            entry.close()
            _condition(entry, name, condition, project)
            if required or name in project.ids:
                found.append(name)
    else:
        found.extend(service.words("depends_on") or ())
    found += _links(service)
    known = [name for name in dict.fromkeys(found) if name in project.ids]
    for name in found:
        if name in project.idle:
            words = " or ".join(project.idle[name])
            service.fault("depends_on", f"{name} is not active; choose it with --profile {words}")
        elif name not in project.ids:
            service.fault("depends_on", f"there is no service {name!r}.{closest(name, project.ids)}")
    return tuple(project.ids[name] for name in known)


def _links(service: Part) -> list[str]:
    """The services that it links, which it depends on so, and finds by their own names."""
    found = service.words("links") or ()
    for word in found:
        name, _, alias = word.partition(":")
        if alias not in ("", name):
            service.fault(
                "links", f"{name} is found by that name, not as {alias!r}; give it `aliases` on a network"
            )
    return [word.partition(":")[0] for word in found]


def _condition(entry: Part, name: str, condition: str, project: Project) -> None:
    if condition not in ("service_started", "service_healthy", COMPLETED):
        entry.fault(
            "condition",
            f"{condition[:40]!r} is not taken; use service_started, service_healthy or {COMPLETED}",
        )
    elif condition == "service_healthy" and name in project.ids and name not in project.healthy:
        entry.warn("condition", f"{name} has no health check, so it counts as healthy as soon as it runs")


def _delayed(app: App, seconds: float) -> App:
    """With the same delay before it is tried again each time, in place of Marathon's, which grows."""
    longest = max(seconds, app.max_launch_delay_seconds)
    return msgspec.structs.replace(
        app, backoff_seconds=seconds, backoff_factor=1.0, max_launch_delay_seconds=longest
    )


def _hosts(kato: Part, ports: bool) -> dict[str, str]:
    """x-kato's `host` and `path` as marathon-lb's labels of the first port."""
    hosts, path = kato.words("host") or (), kato.text("path")
    for host in hosts:
        if not _HOST.fullmatch(host):
            kato.fault("host", f"{host[:60]!r} is no host name; write one like vote.localhost, in lower case")
    if path and not path.startswith("/"):
        kato.fault("path", f"must begin with '/', not {path[:40]!r}")
    if path and not hosts:
        kato.fault("path", "needs a host; add `host`")
    if hosts and not ports:
        kato.fault("host", "the service has no port to serve; add `ports` or `expose`")
    labels = {"HAPROXY_0_VHOST": ",".join(hosts)} if hosts else {}
    return labels | ({"HAPROXY_0_PATH": path} if path and hosts else {})


def _constraints(kato: Part) -> tuple[tuple[str, ...], ...]:
    """x-kato's `constraints`, Marathon's triples; their meaning is checked with the app's."""
    found: list[tuple[str, ...]] = []
    for _, item, path in kato.items("constraints"):
        words = tuple(text_of(each) for each in item) if isinstance(item, list) else ()
        texts = tuple(word for word in words if word is not None)
        if not texts or len(texts) != len(words):
            kato.findings.fault(path, "must be like [hostname, UNIQUE] or [rack, GROUP_BY, 3]")
        else:
            found.append(texts)
    return tuple(found)
