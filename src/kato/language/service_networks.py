"""Compose's `networks` come in, the project's and a service's; which networks a container joins comes out."""

from collections.abc import Iterator, Mapping

from kato.language.reading import Part, external
from kato.language.shape import closest
from kato.model.app import DEFAULT, Network

_PLAIN = dict.fromkeys(
    ("driver_opts", "enable_ipv4", "enable_ipv6", "internal", "ipam"),
    "is not taken: networks are plain bridges; leave it out, or make the network and name it with external: true",
)
_ADDRESS = dict.fromkeys(
    ("driver_opts", "gw_priority", "interface_name", "ipv4_address", "ipv6_address", "link_local_ips",
     "mac_address"),
    "is not taken: a service's tasks come and go, each with an address of its own; leave it out",
)  # fmt: skip


def read_networks(project: Part, name: str) -> dict[str, str]:
    """The top-level `networks`: the name in the file → the name in the cell."""
    section = project.part("networks")
    found = {DEFAULT: DEFAULT}
    for key in section.data if section else ():
        network = section.part(key) if section else None
        found[key] = DEFAULT if key == DEFAULT else f"{name}_{key}"
        if network is None:
            continue
        is_external, given = external(network)
        found[key] = given or (key if is_external else found[key])
        if (driver := network.text("driver")) not in (None, "bridge"):
            network.fault("driver", f"{driver!r} is not taken; leave it out, for a bridge on the node")
        for word, why in (("attachable", "every network is"), ("labels", "networks have none here")):
            if network.raw(word):
                network.warn(word, f"is ignored: {why}")
        network.close(_PLAIN)
    return found


def joined(service: Part, known: Mapping[str, str]) -> tuple[Network, ...]:
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
    found: list[Network] = []
    for name in _joined(service) or (DEFAULT,):
        if name not in known:
            near = closest(name, known)
            service.fault(
                "networks", f"no network {name!r} is named under the top-level `networks`; add it there.{near}"
            )
        else:
            found.append(Network(mode="container", name=known[name]))
    return tuple(found) or (Network(mode="container", name=DEFAULT),)


def _joined(service: Part) -> tuple[str, ...]:
    """The networks' names in the file, the first one first."""
    raw = service.raw("networks")
    if not isinstance(raw, dict):
        return service.words("networks") or ()
    section = Part(raw, (*service.path, "networks"), service.findings)
    found: list[tuple[float, str]] = []
    for name in raw:
        entry = section.part(name) or Part(None, (*section.path, name), service.findings)
        entry.words("aliases")
        found.append((-(entry.number("priority", -1e9) or 0.0), name))
        entry.close(_ADDRESS)
    return tuple(name for _, name in sorted(found, key=lambda each: each[0]))


def aliases(service: Part) -> Iterator[str]:
    """By which names it is found on its networks: its own, its container's in Compose, and those asked for."""
    found = [str(service.path[-1])]
    if name := service.text("container_name"):
        found.append(name)
    raw = service.raw("networks")
    for entry in raw.values() if isinstance(raw, dict) else ():
        more = entry.get("aliases") if isinstance(entry, dict) else None
        found += [word for word in more if isinstance(word, str)] if isinstance(more, list) else []
    yield from dict.fromkeys(found)
