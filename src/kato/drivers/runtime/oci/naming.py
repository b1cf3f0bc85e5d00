"""How a container finds others: what its app asks for, its places on networks and the host's files flow in; its
/etc/hosts, /etc/hostname and /etc/resolv.conf come out, as text.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from kato.drivers.runtime.oci.networks import Endpoint
from kato.drivers.runtime.oci.outside import uplink
from kato.model.app import Parameter
from kato.model.errors import DriverError

_LOCAL = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class Host(msgspec.Struct, frozen=True):
    """What the machine's files say, where it is on the machine's network."""

    name: str
    hosts: str = ""
    resolv: str = ""


def hostname(task: str, endpoints: Sequence[Endpoint], host: Host, parameters: Iterable[Parameter]) -> str:
    """What it is called: as it asks for, else by a word of its own on a network of its own, as in Docker."""
    asked = [each.value for each in parameters if each.key == "hostname"]
    own = sha256(task.encode()).hexdigest()[:12] if endpoints else host.name
    return asked[-1] if asked else own


def hosts(name: str, endpoints: Sequence[Endpoint], host: Host, parameters: Iterable[Parameter]) -> str:
    """/etc/hosts. DriverError for an `add-host` that names no address."""
    lines = [_LOCAL if endpoints else host.hosts.rstrip("\n") + "\n"]
    for each in parameters:
        if each.key == "add-host":
            who, _, address = each.value.partition(":")
            if address == "host-gateway":
                address = str(uplink(endpoints[0].number)[1]) if endpoints else "127.0.0.1"
            if not who or not address:
                raise DriverError(
                    f"The docker parameter 'add-host' has the value {each.value!r}: write NAME:ADDRESS."
                )
            lines.append(f"{address}\t{who}\n")
    return "".join((*lines, *(f"{each.address}\t{name}\n" for each in endpoints)))


def resolv(endpoints: Sequence[Endpoint], host: Host, parameters: Iterable[Parameter]) -> str:
    """/etc/resolv.conf: the name server of its network, or of its app's choice. DriverError for both."""
    asked: dict[str, list[str]] = {}
    for each in parameters:
        asked.setdefault(each.key, []).append(each.value)
    if endpoints and "dns" in asked:
        raise DriverError(
            "It names name servers (`dns`), and its network has its own, which asks the machine's. Leave them "
            "out, or set its network to host."
        )
    lines = [] if endpoints else [line for line in host.resolv.splitlines() if not _replaced(line, asked)]
    servers = [endpoints[0].gateway] if endpoints else asked.get("dns", ())
    lines += [f"nameserver {each}" for each in servers]
    searched = asked.get("dns-search") or ([*_searched(host.resolv)] if endpoints else [])
    if searched and searched != ["."]:
        lines.append(f"search {' '.join(searched)}")
    if options := [*(["ndots:0"] if endpoints else []), *asked.get("dns-option", ())]:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def _replaced(line: str, asked: dict[str, list[str]]) -> bool:
    """Whether the app has words of its own in place of a line of the host's."""
    word = line.split()[:1]
    return (word == ["nameserver"] and "dns" in asked) or (
        word in (["search"], ["domain"]) and "dns-search" in asked
    )


def _searched(text: str) -> Iterable[str]:
    """The domains that the machine looks in.

    >>> [*_searched("search a.example b.example\\nnameserver 192.0.2.1\\n")]
    ['a.example', 'b.example']
    """
    for line in text.splitlines():
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            yield from words[1:]
