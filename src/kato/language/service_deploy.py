"""A Compose service's `deploy` and `scale` come in; instances, resources, constraints and the upgrade come out."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from kato.language.reading import Part
from kato.model.app import UpgradeStrategy

CPUS, MEM = 0.1, 0.0
"""Reserved where the file says nothing: cores, MiB. An app of 0 MiB reserves none and has no limit."""

_PLACEMENT = re.compile(r"\s*(?P<field>[\w.@/-]+)\s*(?P<operator>==|!=)\s*(?P<value>\S.*?)\s*")

_NOT_SHARED = {
    **dict.fromkeys(("devices", "generic_resources"), "are not shared out by Káto; leave it out"),
    "pids": "is not taken; use pids_limit, of a service in a container",
}
_NOT_KEPT = {
    "rollback_config": "is not taken: a rollback goes as update_config says; leave it out",
}
_NOT_KEPT_UPDATE = {
    "monitor": "is not taken: Káto goes on as soon as a new task is healthy; leave it out",
    "max_failure_ratio": "is not taken: Káto waits until every new task is healthy; leave it out",
}


@dataclass(frozen=True, slots=True)
class Deploy:
    """What `deploy` asks for. limits: Marathon's `resourceLimits`, where a limit is not what is reserved."""

    instances: int = 1
    cpus: float = CPUS
    mem: float = MEM
    limits: Mapping[str, float | str] | None = None
    constraints: tuple[tuple[str, ...], ...] = ()
    upgrade: UpgradeStrategy | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def read_deploy(service: Part) -> Deploy:
    """`deploy` and `scale`, with Compose's defaults."""
    scale = service.whole("scale")
    part = service.part("deploy") or Part(None, (*service.path, "deploy"), service.findings)
    replicas = part.whole("replicas")
    if None not in (scale, replicas) and scale != replicas:
        part.fault("replicas", f"says {replicas}, but scale says {scale}; keep one")
    if (mode := part.text("mode")) not in (None, "replicated", "replicated-job"):
        part.fault("mode", f"{mode!r} is not taken; use replicas, and max_replicas_per_node: 1 under placement")
    instances = next((number for number in (replicas, scale) if number is not None), 1)
    cpus, mem, limits = _resources(part, service)
    part.raw("restart_policy")  # `service_restart` reads it
    if (endpoint := part.text("endpoint_mode")) not in (None, "vip"):
        part.fault(
            "endpoint_mode", f"{endpoint!r} is not taken: the balancer stands before every service; use vip"
        )
    found = Deploy(
        instances=instances,
        cpus=cpus,
        mem=mem,
        limits=limits,
        constraints=_placement(part),
        upgrade=_update(part, instances),
        labels={key: value or "" for key, value in part.pairs("labels").items()},
    )
    part.close(_NOT_KEPT)
    return found


def _resources(deploy: Part, service: Part) -> tuple[float, float, dict[str, float | str] | None]:
    """Cores and MiB reserved, and the limits that differ from them.

    A limit without a reservation is reserved, as in Compose. Cores reserved are a share, which others may use
    while they are idle; memory reserved is a limit too, unless another or none is named.
    """
    resources = deploy.part("resources")
    reserved: dict[str, float | None] = {"cpus": None, "mem": None}
    limit: dict[str, float | None] = {"cpus": None, "mem": None}
    for name, numbers in (("reservations", reserved), ("limits", limit)):
        part = resources.part(name) if resources else None
        if part is not None:
            numbers |= {"cpus": part.number("cpus", 0.001), "mem": part.mib("memory")}
            part.close(_NOT_SHARED)
    if resources:
        resources.close()
    for word, number, numbers, name in (
        ("cpus", service.number("cpus", 0.0), limit, "cpus"),
        ("mem_limit", service.mib("mem_limit"), limit, "mem"),
        ("mem_reservation", service.mib("mem_reservation"), reserved, "mem"),
    ):
        if number and numbers[name] not in (None, number):
            service.fault(word, "says another number than deploy.resources; keep one")
        elif number:  # 0 is no limit
            numbers[name] = number
    asked: dict[str, float] = {"cpus": CPUS, "mem": MEM}
    limits: dict[str, float | str] = {}
    for name in asked:
        most, least = limit[name], reserved[name]
        asked[name] = least if least is not None else most if most is not None else asked[name]
        if most is not None and most < asked[name]:
            deploy.fault("resources", f"the limit of {name} is less than what is reserved")
        elif most is not None and most > asked[name]:
            limits[name] = most
    if reserved["mem"] and limit["mem"] is None:
        limits["mem"] = "unlimited"
    return asked["cpus"], asked["mem"], limits or None


def _update(deploy: Part, instances: int) -> UpgradeStrategy | None:
    """`update_config` as capacities that give exactly its parallelism by Marathon's rounding.

    At least ceil(n × minimum) stay healthy, and at most trunc(n × (1 + over)) run (Marathon's restart strategy).
    """
    part = deploy.part("update_config")
    if part is None:
        return None
    at_once, order = part.whole("parallelism"), part.text("order") or "stop-first"
    if part.seconds("delay"):
        part.fault("delay", "cannot be kept: Káto goes on as soon as a new task is healthy; leave it out")
    if (action := part.text("failure_action")) not in (None, "pause"):
        part.fault("failure_action", f"{action!r} is not taken: a deployment waits; end it with kato rollback")
    part.close(_NOT_KEPT_UPDATE)
    together = min(1 if at_once is None else at_once or instances, instances)
    share = together / instances if instances else 1.0
    match order:
        case "start-first":
            over = min(1.0, math.ceil(share * 1e6) / 1e6)
            while math.trunc(instances * (1 + over)) < instances + together:
                over = math.nextafter(over, 2.0)  # 5000 × (1 + 0.0452) is a little less than 5226
            return UpgradeStrategy(minimum_health_capacity=1.0, maximum_over_capacity=over)
        case "stop-first":
            kept = max(0.0, math.floor((1 - share) * 1e6) / 1e6)
            while math.ceil(instances * kept) > instances - together:
                kept = math.nextafter(kept, 0.0)
            return UpgradeStrategy(minimum_health_capacity=kept, maximum_over_capacity=0.0)
    part.fault("order", f"{order!r} is not taken; use start-first or stop-first")
    return None


def _placement(deploy: Part) -> tuple[tuple[str, ...], ...]:
    part = deploy.part("placement")
    if part is None:
        return ()
    found: list[tuple[str, ...]] = []
    for _, item, path in part.items("constraints"):
        match = _PLACEMENT.fullmatch(item) if isinstance(item, str) else None
        name = _field(match["field"]) if match else None
        if match is None or name is None:
            part.findings.fault(path, "must be like node.labels.disk==ssd or node.hostname!=n1")
        elif match["operator"] == "==":
            found.append((name, "IS", match["value"]))
        else:
            found.append((name, "UNLIKE", re.escape(match["value"])))
    if (most := part.whole("max_replicas_per_node", 1)) is not None:
        found.append(("@hostname", "MAX_PER", str(most)))
    part.close(
        {"preferences": "is not taken; use x-kato: {constraints: [[@zone, GROUP_BY]]}, which is kept strictly"}
    )
    return tuple(found)


def _field(name: str) -> str | None:
    if name == "node.hostname":
        return "@hostname"
    return name.removeprefix("node.labels.") if name.startswith("node.labels.") else None
