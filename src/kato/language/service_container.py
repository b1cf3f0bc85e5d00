"""What makes a Compose service a container comes in: image, networks, privileges; the app's container comes out.

Compose's keys that Marathon has no field for become `docker` parameters, which are flags of `docker run`.
"""

import shlex
from collections.abc import Iterator, Mapping

import msgspec

from kato.language.reading import Part, split_pairs, text_of
from kato.language.refusals import NEEDS_DAEMON, REFUSED_CONTAINER, WARNED_CONTAINER
from kato.language.service_body import Body
from kato.language.service_build import UNBUILT
from kato.language.service_health import is_disabled
from kato.language.service_networks import aliases, joined
from kato.language.service_ports import Port
from kato.language.service_volumes import read_fresh, read_scratch
from kato.model.app import (
    AppVolume,
    Container,
    Docker,
    Parameter,
    PortDefinition,
    PortMapping,
)

_LISTS = {
    "cap_add": "cap-add",
    "cap_drop": "cap-drop",
    "device_cgroup_rules": "device-cgroup-rule",
    "dns": "dns",
    "dns_opt": "dns-option",
    "dns_search": "dns-search",
    "group_add": "group-add",
    "security_opt": "security-opt",
    "tmpfs": "tmpfs",
}
_WORDS = {
    "cgroup": "cgroupns",
    "cgroup_parent": "cgroup-parent",
    "cpuset": "cpuset-cpus",
    "domainname": "domainname",
    "hostname": "hostname",
    "ipc": "ipc",
    "memswap_limit": "memory-swap",
    "oom_score_adj": "oom-score-adj",
    "pid": "pid",
    "pids_limit": "pids-limit",
    "runtime": "runtime",
    "shm_size": "shm-size",
    "stop_signal": "stop-signal",
    "userns_mode": "userns",
    "uts": "uts",
    "working_dir": "workdir",
}
_FLAGS = {
    "init": "init",
    "oom_kill_disable": "oom-kill-disable",
    "privileged": "privileged",
    "read_only": "read-only",
    "stdin_open": "interactive",
}
_PAIRS = {
    "extra_hosts": ("add-host", ":"),
    "storage_opt": ("storage-opt", "="),
    "sysctls": ("sysctl", "="),
}
_PULL = ("missing", "if_not_present", "always", "never", "build")


def read_container(
    service: Part,
    ports: tuple[Port, ...],
    volumes: tuple[AppVolume, ...],
    networks: Mapping[str, str],
    *,
    daemon: bool,
) -> Body:
    """The body of a service that runs in a container. networks: the project's, name in the file → in the cell.

    daemon: whether Docker's engine runs it.
    """
    for key, why in WARNED_CONTAINER.items():
        if service.raw(key) is not None:
            service.warn(key, f"is ignored: {why}")
    for key in () if daemon else NEEDS_DAEMON:
        if service.raw(key) is not None:
            service.fault(key, "is not taken by the oci runtime; leave it out, or use x-kato.runtime: docker")
    on = joined(service, networks)
    on_host = on[0].mode == "host"
    image = _image(service)
    docker = Docker(
        image=image,
        force_pull_image=_always(service) and image != UNBUILT,
        parameters=tuple(_parameters(service, image, bool(on[0].name))),
    )
    mappings = tuple(
        PortMapping(
            container_port=port.target, service_port=port.published, protocol=port.protocol, name=port.name
        )
        for port in ports
    )
    container = Container(
        type="DOCKER" if daemon else "MESOS",
        docker=docker,
        volumes=tuple(msgspec.structs.replace(each, container_path=f"/{each.container_path}") for each in volumes),
        port_mappings=None if on_host else mappings,
    )
    return Body(
        args=_words(service, "command"),
        container=container,
        networks=on,
        port_definitions=_on_host(ports) if on_host else None,
        labels={},
        refused=REFUSED_CONTAINER,
    )


def _on_host(ports: tuple[Port, ...]) -> tuple[PortDefinition, ...]:
    return tuple(PortDefinition(port=port.published, protocol=port.protocol, name=port.name) for port in ports)


def _words(service: Part, key: str) -> tuple[str, ...] | None:
    """Words of `command` or `entrypoint`; a string is split as a shell splits it, and no shell reads it."""
    raw = service.raw(key)
    if not isinstance(raw, str):
        return service.words(key)
    try:
        return tuple(shlex.split(raw))
    except ValueError as error:
        service.fault(key, f"cannot be split into words: {error}")
        return None


def _image(service: Part) -> str | None:
    """The image to run: UNBUILT where it is built first, also beside a name, which it is given then."""
    image, policy, build = service.text("image"), service.text("pull_policy"), service.raw("build")
    if build is not None and (not image or policy in (None, "build")):
        return UNBUILT
    if policy == "build":
        service.fault("pull_policy", "is build, and there is nothing to build; add `build`")
    elif not image:
        service.findings.fault(service.path, "there is nothing to run; add an `image`, or a `build`")
    elif build is not None:
        service.warn("build", f"is ignored: pull_policy is {policy}, so {image} is run as it is")
    return image


def _always(service: Part) -> bool:
    policy = service.text("pull_policy")
    if policy not in (None, *_PULL):
        service.fault("pull_policy", f"{policy!r} is not taken; use missing, always, never or build")
    return policy == "always"


def _parameters(service: Part, image: str | None, named: bool) -> Iterator[Parameter]:
    entrypoint = _words(service, "entrypoint")
    if entrypoint is not None:
        yield Parameter(key="entrypoint", value=shlex.join(entrypoint))
    if service.text("pull_policy") == "never" or image == UNBUILT:
        yield Parameter(key="pull", value="never")
    if named:
        yield from (Parameter(key="network-alias", value=name) for name in aliases(service))
    for key, flag in _LISTS.items():
        yield from (Parameter(key=flag, value=word) for word in service.words(key) or ())
    for key, flag in _WORDS.items():
        if (text := service.text(key)) is not None:
            yield Parameter(key=flag, value=text)
    for key, flag in _FLAGS.items():
        if service.flag(key):
            yield Parameter(key=flag, value="true")
    for key, (flag, between) in _PAIRS.items():
        for left, right in split_pairs(service, key, between):
            yield Parameter(key=flag, value=f"{left}{between}{right}")
    yield from (Parameter(key="tmpfs", value=scratch) for scratch in read_scratch(service))
    yield from (Parameter(key="volume", value=place) for place in read_fresh(service))
    yield from _ulimits(service)
    yield from (Parameter(key="device", value=device) for device in _devices(service))
    if is_disabled(service):
        yield Parameter(key="no-healthcheck", value="true")


def _devices(service: Part) -> Iterator[str]:
    """As SOURCE[:TARGET[:PERMISSIONS]]."""
    for _, item, path in service.items("devices"):
        if not isinstance(item, dict):
            if (text := text_of(item)) is None:
                service.findings.fault(path, "must be text")
            else:
                yield text
            continue
        part = Part(item, path, service.findings)
        source, target, rights = part.text("source"), part.text("target"), part.text("permissions")
        part.close()
        if source:
            yield ":".join((source, target or source, *([rights] if rights else [])))
        else:
            service.findings.fault(path, "needs a source")


def _ulimits(service: Part) -> Iterator[Parameter]:
    section = service.part("ulimits")
    for word in section.data if section else ():
        assert section is not None
        if isinstance(section.raw(word), dict):
            limit = section.part(word)
            soft, hard = (limit.whole("soft", -1), limit.whole("hard", -1)) if limit else (None, None)
            yield Parameter(key="ulimit", value=f"{word}={soft}:{hard}")
        elif (number := section.whole(word, -1)) is not None:
            yield Parameter(key="ulimit", value=f"{word}={number}")
