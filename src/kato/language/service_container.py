"""What makes a Compose service a container comes in: image, networks, privileges; the app's container comes out.

Compose's keys that Marathon has no field for become `docker` parameters, which are flags of `docker run`.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kato.language.reading import Part, split_pairs
from kato.language.refusals import REFUSED_CONTAINER
from kato.language.service_body import Body
from kato.language.service_build import UNBUILT
from kato.language.service_ports import Port
from kato.language.shape import closest
from kato.model.app import (
    DEFAULT,
    AppVolume,
    Container,
    Docker,
    Network,
    Parameter,
    PortDefinition,
    PortMapping,
)

_LISTS = {
    "cap_add": "cap-add",
    "cap_drop": "cap-drop",
    "devices": "device",
    "dns": "dns",
    "dns_opt": "dns-option",
    "dns_search": "dns-search",
    "group_add": "group-add",
    "security_opt": "security-opt",
    "tmpfs": "tmpfs",
}
_WORDS = {
    "domainname": "domainname",
    "hostname": "hostname",
    "ipc": "ipc",
    "pid": "pid",
    "shm_size": "shm-size",
    "stop_signal": "stop-signal",
    "working_dir": "workdir",
}
_FLAGS = {"init": "init", "privileged": "privileged", "read_only": "read-only"}
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

    daemon: whether Docker's engine runs it; without it there is no network but the host's, on which it is then.
    """
    joined = _networks(service, networks) if daemon else _host_alone(service)
    on_host = joined[0].mode == "host"
    image = _image(service)
    docker = Docker(
        image=image,
        force_pull_image=_always(service) and image != UNBUILT,
        parameters=tuple(_parameters(service, image, bool(joined[0].name))),
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
        networks=joined,
        port_definitions=_on_host(ports) if on_host else None,
        labels={},
        refused=REFUSED_CONTAINER,
    )


def _on_host(ports: tuple[Port, ...]) -> tuple[PortDefinition, ...]:
    return tuple(PortDefinition(port=port.published, protocol=port.protocol, name=port.name) for port in ports)


def read_networks(project: Part, name: str) -> dict[str, str]:
    """The top-level `networks`: the name in the file → the name in the cell."""
    section = project.part("networks")
    found = {DEFAULT: DEFAULT}
    for key in section.data if section else ():
        network = section.part(key) if section else None
        found[key] = DEFAULT if key == DEFAULT else f"{name}_{key}"
        if network is None:
            continue
        found[key] = network.text("name") or found[key]
        network.flag("external")
        if (driver := network.text("driver")) not in (None, "bridge"):
            network.fault("driver", f"{driver!r} is not taken; leave it out, for a bridge on the node")
        network.close(
            dict.fromkeys(("attachable", "internal", "ipam", "enable_ipv6", "driver_opts", "labels"), _PLAIN)
        )
    return found


_PLAIN = (
    "is not taken: networks are plain bridges; leave it out, or make the network and name it with external: true"
)


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
        yield Parameter(key="network-alias", value=str(service.path[-1]))
    for key, flag in _LISTS.items():
        yield from (Parameter(key=flag, value=word) for word in service.words(key) or ())
    for key, flag in _WORDS.items():
        if (text := service.text(key)) is not None:
            yield Parameter(key=flag, value=text)
    for key, flag in _FLAGS.items():
        if service.flag(key):
            yield Parameter(key=flag, value="true")
    for host, address in split_pairs(service, "extra_hosts", ":"):
        yield Parameter(key="add-host", value=f"{host}:{address}")
    for word, value in split_pairs(service, "sysctls", "="):
        yield Parameter(key="sysctl", value=f"{word}={value}")
    yield from _ulimits(service)


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


def _host_alone(service: Part) -> tuple[Network, ...]:
    mode = service.text("network_mode")
    if mode not in (None, "host"):
        service.fault("network_mode", f"{mode[:40]!r} is not taken by the oci runtime yet; use host, or docker")
    if service.raw("networks") is not None:
        service.fault(
            "networks", "are not joined by the oci runtime yet; leave it out, or use x-kato.runtime: docker"
        )
    return (Network(mode="host"),)


def _networks(service: Part, known: Mapping[str, str]) -> tuple[Network, ...]:
    """The host's network, a bridge without names, or those of the project on which services have names."""
    mode, raw = service.text("network_mode"), service.raw("networks")
    if mode is not None and raw is not None:
        service.fault("networks", "cannot stand beside network_mode; keep one")
    if mode == "host":
        return (Network(mode="host"),)
    if mode == "bridge":
        return (Network(mode="container/bridge"),)
    if mode is not None:
        service.fault("network_mode", f"{mode[:40]!r} is not taken; use host or bridge, or leave it out")
    names: Iterable[str] = raw if isinstance(raw, dict) else service.words("networks") or (DEFAULT,)
    found: list[Network] = []
    for name in names:
        if name not in known:
            near = closest(name, known)
            service.fault(
                "networks", f"no network {name!r} is named under the top-level `networks`; add it there.{near}"
            )
        else:
            found.append(Network(mode="container", name=known[name]))
    return tuple(found) or (Network(mode="container", name=DEFAULT),)
