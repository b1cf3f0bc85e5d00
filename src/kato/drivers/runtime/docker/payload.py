"""What the engine is asked for: a Launch and a Site go in, the body of `containers/create` comes out, as data.

Marathon's `docker` parameters are flags of `docker run`; those that are known here are taken, others are refused.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from kato.drivers.runtime import Launch
from kato.drivers.runtime.brought.pulled import docker_of
from kato.drivers.runtime.flags import pull, size, truth, ulimit
from kato.drivers.runtime.folders.sandbox import SANDBOX
from kato.drivers.runtime.resources.limits import MAX_PIDS, MIB, PERIOD, memory_limit
from kato.model.app import App, AppVolume, Parameter
from kato.model.errors import DriverError
from kato.model.ids import alias

UNCHECKED = "kato.unchecked"
"""The label of a container whose image's own check is not to be made."""
LOGS: Mapping[str, Any] = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
Body = dict[str, Any]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container is made. node: whose it is; boot: the machine's life, which tells a reboot.

    address: where its ports are published. sandbox: its folder on the host.
    networks: the engine's name for each that the app names; volumes: and for those of the cell, by their place.
    servers: whom it asks for names; none: whom the engine says.
    secrets: the folder of the files of secrets, each called by the number of its volume.
    """

    node: str
    boot: str
    address: str
    sandbox: str
    networks: Mapping[str, str] = {}
    servers: Sequence[str] = ()
    volumes: Mapping[str, str] = {}
    secrets: str = ""


def body(launch: Launch, site: Site) -> Body:
    """The whole body. DriverError for what the engine cannot be asked for."""
    app = launch.app
    docker = docker_of(app)
    assert app.container is not None
    asked: Body = {
        "Image": docker.image,
        "Env": [f"{name}={value}" for name, value in sorted(environment(launch).items())],
        "Labels": dict(app.labels),
        "Tty": bool(app.tty),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Binds": [_bind(volume, n, site) for n, volume in enumerate(app.container.volumes)]
            + [f"{site.sandbox}:{SANDBOX}"],
            "LogConfig": LOGS,
            "PidsLimit": MAX_PIDS,
            **_resources(app),
        },
    }
    asked |= _command(app)
    if app.user is not None:
        asked["User"] = app.user
    if "KATO_WORKDIR" in app.labels:
        asked["WorkingDir"] = app.labels["KATO_WORKDIR"]
    _join(asked, launch, site)
    if docker.privileged:
        _privileged(asked, "true")
    for parameter in docker.parameters:
        _apply(asked, parameter)
    asked["Labels"] |= marks(launch, site)
    return asked


def environment(launch: Launch) -> Mapping[str, str]:
    """What it was given, and where its sandbox is."""
    return dict(launch.env) | {"MESOS_SANDBOX": SANDBOX, "MESOS_DIRECTORY": SANDBOX}


def marks(launch: Launch, site: Site) -> Mapping[str, str]:
    """The labels by which the driver knows a container again: whatever the app asks for, they are these."""
    return {
        "kato.node": site.node,
        "kato.task": launch.task,
        "kato.app": launch.app.id,
        "kato.boot": site.boot,
    }


def _command(app: App) -> Body:
    """`cmd` by the image's shell in place of its entrypoint, as in Mesos; `args` after its entrypoint."""
    if app.cmd is not None:
        return {"Entrypoint": ["/bin/sh"], "Cmd": ["-c", app.cmd]}
    return {"Cmd": list(app.args)} if app.args else {}


def _resources(app: App) -> Body:
    """A hard limit of memory, swap included; cpus as a share, and as a quota only where the app limits them."""
    found: Body = {"CpuShares": max(2, round(1024 * app.cpus))}
    if (limit := memory_limit(app)) is not None:
        found |= {"Memory": round(limit * MIB), "MemorySwap": round(limit * MIB)}
    cpus = (app.resource_limits or {}).get("cpus")
    if isinstance(cpus, int | float):
        found |= {"CpuPeriod": PERIOD, "CpuQuota": round(cpus * PERIOD)}
    return found


def _bind(volume: AppVolume, n: int, site: Site) -> str:
    if volume.secret is not None:
        return f"{site.secrets}/{n}:{PurePosixPath(SANDBOX, volume.container_path)}:ro"
    source = volume.host_path or site.volumes[volume.container_path]
    return f"{source}:{volume.container_path}:{volume.mode.lower()}"


def _join(asked: Body, launch: Launch, site: Site) -> None:
    """The first network, and ports published where the planner gave them."""
    networks = launch.app.networks
    if networks and networks[0].mode == "host":
        asked["HostConfig"]["NetworkMode"] = "host"
        return
    names = named_networks(launch.app, site)
    asked["HostConfig"]["NetworkMode"] = names[0] if names else "bridge"
    if names and site.servers and not any(each.key == "dns" for each in docker_of(launch.app).parameters):
        asked["HostConfig"]["Dns"] = list(site.servers)
    if names:
        asked["NetworkingConfig"] = {"EndpointsConfig": {names[0]: endpoint(launch.app)}}
    published: Body = {}
    for port, given in zip(launch.app.ports, launch.ports, strict=False):
        for protocol in port.protocol.split(","):
            inside = f"{port.container or given}/{protocol}"
            published.setdefault(inside, []).append({"HostIp": site.address, "HostPort": str(given)})
    asked["ExposedPorts"] = {inside: {} for inside in published}
    asked["HostConfig"]["PortBindings"] = published


def named_networks(app: App, site: Site) -> list[str]:
    """The engine's names of the networks to join: a container is made on the first, and then joins the others."""
    return [site.networks[network.name] for network in app.networks if network.name is not None]


def endpoint(app: App) -> Body:
    """By which names it is found on a network."""
    asked = (each.value for each in docker_of(app).parameters if each.key == "network-alias")
    return {"Aliases": list(dict.fromkeys((alias(app.id), *asked)))}


# -- parameters ---------------------------------------------------------------------------------------------------


def known_parameters() -> Iterable[str]:
    """The flags of `docker run` that are taken."""
    return _FLAGS.keys()


def _apply(asked: Body, parameter: Parameter) -> None:
    flag = _FLAGS.get(parameter.key)
    if flag is None:
        raise DriverError(
            f"The docker parameter {parameter.key!r} is not taken. These are: {', '.join(sorted(_FLAGS))}."
        )
    try:
        flag(asked, parameter.value)
    except ValueError as error:
        raise DriverError(
            f"The docker parameter {parameter.key!r} has the value {parameter.value!r}: {error}."
        ) from error


def _list(field: str) -> Callable[[Body, str], None]:
    def add(asked: Body, value: str) -> None:
        asked["HostConfig"].setdefault(field, []).append(value)

    return add


def _word(field: str, *, host: bool = True) -> Callable[[Body, str], None]:
    def put(asked: Body, value: str) -> None:
        (asked["HostConfig"] if host else asked)[field] = value

    return put


def _flag(field: str) -> Callable[[Body, str], None]:
    def put(asked: Body, value: str) -> None:
        asked["HostConfig"][field] = truth(value)

    return put


def _pair(field: str, *, host: bool = True) -> Callable[[Body, str], None]:
    def put(asked: Body, value: str) -> None:
        name, _, rest = value.partition("=")
        (asked["HostConfig"] if host else asked).setdefault(field, {})[name] = rest

    return put


def _size(field: str) -> Callable[[Body, str], None]:
    def put(asked: Body, value: str) -> None:
        asked["HostConfig"][field] = size(value)

    return put


def _number(field: str) -> Callable[[Body, str], None]:
    def put(asked: Body, value: str) -> None:
        if not value.removeprefix("-").isdecimal():
            raise ValueError("write a whole number")
        asked["HostConfig"][field] = int(value)

    return put


def _interactive(asked: Body, value: str) -> None:
    asked["OpenStdin"] = truth(value)


def _unchecked(asked: Body, value: str) -> None:
    """The engine makes no check anyway; the label keeps the node from making the image's own."""
    if truth(value):
        asked["Labels"][UNCHECKED] = "true"


def _environment(asked: Body, value: str) -> None:
    asked["Env"].append(value)


def _entrypoint(asked: Body, value: str) -> None:
    asked["Entrypoint"] = shlex.split(value)
    asked.setdefault("Cmd", [])


def _alias(asked: Body, value: str) -> None:
    """Every network's endpoint has it already."""


def _pull(asked: Body, value: str) -> None:
    """The driver has looked at it."""
    pull(value)


def _ulimit(asked: Body, value: str) -> None:
    name, soft, hard = ulimit(value)
    asked["HostConfig"].setdefault("Ulimits", []).append({"Name": name, "Soft": soft, "Hard": hard})


def _device(asked: Body, value: str) -> None:
    host, _, rest = value.partition(":")
    inside, _, rights = rest.partition(":")
    device = {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": rights or "rwm"}
    asked["HostConfig"].setdefault("Devices", []).append(device)


def _tmpfs(asked: Body, value: str) -> None:
    place, _, options = value.partition(":")
    asked["HostConfig"].setdefault("Tmpfs", {})[place] = options


def _volume(asked: Body, value: str) -> None:
    """A place alone is a volume of this container's, which goes with it."""
    if ":" in value:
        asked["HostConfig"]["Binds"].append(value)
    else:
        asked.setdefault("Volumes", {})[value] = {}


def _privileged(asked: Body, value: str) -> None:
    asked["HostConfig"]["Privileged"] = truth(value)


_FLAGS: Mapping[str, Callable[[Body, str], None]] = {
    "add-host": _list("ExtraHosts"),
    "cap-add": _list("CapAdd"),
    "cap-drop": _list("CapDrop"),
    "cgroup-parent": _word("CgroupParent"),
    "cgroupns": _word("CgroupnsMode"),
    "cpuset-cpus": _word("CpusetCpus"),
    "device": _device,
    "device-cgroup-rule": _list("DeviceCgroupRules"),
    "dns": _list("Dns"),
    "dns-option": _list("DnsOptions"),
    "dns-search": _list("DnsSearch"),
    "domainname": _word("Domainname", host=False),
    "entrypoint": _entrypoint,
    "env": _environment,
    "group-add": _list("GroupAdd"),
    "hostname": _word("Hostname", host=False),
    "init": _flag("Init"),
    "interactive": _interactive,
    "ipc": _word("IpcMode"),
    "label": _pair("Labels", host=False),
    "memory-swap": _size("MemorySwap"),
    "network-alias": _alias,
    "no-healthcheck": _unchecked,
    "oom-kill-disable": _flag("OomKillDisable"),
    "oom-score-adj": _number("OomScoreAdj"),
    "pid": _word("PidMode"),
    "pids-limit": _number("PidsLimit"),
    "privileged": _privileged,
    "pull": _pull,
    "read-only": _flag("ReadonlyRootfs"),
    "runtime": _word("Runtime"),
    "security-opt": _list("SecurityOpt"),
    "shm-size": _size("ShmSize"),
    "stop-signal": _word("StopSignal", host=False),
    "storage-opt": _pair("StorageOpt"),
    "sysctl": _pair("Sysctls"),
    "tmpfs": _tmpfs,
    "ulimit": _ulimit,
    "user": _word("User", host=False),
    "userns": _word("UsernsMode"),
    "uts": _word("UTSMode"),
    "volume": _volume,
    "workdir": _word("WorkingDir", host=False),
}
