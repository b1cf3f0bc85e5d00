"""A Compose service's `ports` and `expose` come in; its ports come out, in the order of the file.

The published port is the service port, where the balancer listens; without one the cell chooses. The target is a
container's own port; for a process it only tells ports apart, since that listens on `$PORT0`, `$PORT1` ….
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from kato.language.document import Path
from kato.language.reading import Findings, Part, text_of

MAX_RANGE = 100
"""Ports of one range."""

SHORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[^:/\[\]]*):(?=[\d-]*:))?(?:(?P<published>[\d-]*):)?(?P<target>[\d-]+)"
    r"(?:/(?P<protocol>\w+))?"
)
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_OURS = ("0.0.0.0", "127.", "localhost", "::", "::1", "")

Protocol = Literal["tcp", "udp"]


class Port(NamedTuple):
    """A port of a service. target: the container's own; published: the service port, 0 for any."""

    target: int
    published: int
    protocol: Protocol
    name: str | None = None


def read_ports(service: Part) -> tuple[Port, ...]:
    """Every port of the service, published ones first; none where the file names none."""
    findings = service.findings
    found: list[Port] = []
    for _, item, path in service.items("ports"):
        for port in _long(item, path, findings) if isinstance(item, dict) else _short(item, path, findings):
            if port.published and any(port[1:3] == other[1:3] for other in found):
                findings.fault(path, f"port {port.published} is published twice; keep one")
            elif port not in found:
                found.append(port)
    for _, item, path in service.items("expose"):
        number, _, word = (text_of(item) or "").partition("/")
        protocol = _protocol(word, path, findings)
        for target in _range(number, path, findings):
            if protocol and not any((target, protocol) == (port.target, port.protocol) for port in found):
                found.append(Port(target, 0, protocol))
    return tuple(found)


def _short(item: object, path: Path, findings: Findings) -> Iterator[Port]:
    match = SHORT.fullmatch(text_of(item) or "")
    if match is None:
        findings.fault(path, 'must be like "8080:80", "127.0.0.1:8080:80/tcp" or "80" (in quotes)')
        return
    if not _address(match["ip"] or "", path, findings):
        return
    protocol = _protocol(match["protocol"] or "", path, findings)
    yield from _pairs(match["published"] or "", match["target"], protocol, None, path, findings)


def _long(item: object, path: Path, findings: Findings) -> Iterator[Port]:
    port = Part(item, path, findings)
    target, published = port.text("target"), port.text("published") or ""
    address, name, mode = port.text("host_ip") or "", port.text("name"), port.text("mode") or "ingress"
    protocol = _protocol(port.text("protocol") or "", path, findings)
    if port.text("app_protocol"):
        port.warn("app_protocol", "is ignored; the balancer speaks HTTP to services with x-kato.host, else TCP")
    port.close()
    if mode != "ingress":
        port.fault("mode", f"{mode!r} cannot be kept: the balancer serves every published port; use ingress")
    if target is None:
        findings.fault(path, "a port needs a target")
    elif _address(address, path, findings):
        yield from _pairs(published, target, protocol, name, path, findings)


def _pairs(
    published: str, target: str, protocol: Protocol | None, name: str | None, path: Path, findings: Findings
) -> Iterator[Port]:
    """One port for each of a range; a range of published ports needs a range of targets as long."""
    targets = _range(target, path, findings)
    hosts = _range(published, path, findings, least=0) if published else [0] * len(targets)
    if protocol is None or not targets or not hosts:
        return
    if len(hosts) != len(targets):
        findings.fault(
            path, f"{published} and {target} have not the same length; publish one port for each target"
        )
        return
    if name is not None and len(targets) > 1:
        findings.fault(path, "a range of ports cannot have one name; write the ports one by one")
        return
    for host, inside in zip(hosts, targets, strict=True):
        yield Port(inside, host, protocol, name)


def _range(text: str, path: Path, findings: Findings, least: int = 1) -> list[int]:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if not least <= first <= last <= 65535:
        findings.fault(path, f"{text[:20]!r} is no port; it must be a number from {least} to 65535, or a range")
        return []
    if last - first >= MAX_RANGE:
        findings.fault(path, f"the range {text} has more than {MAX_RANGE} ports; publish the few that are needed")
        return []
    return list(range(first, last + 1))


def _protocol(word: str, path: Path, findings: Findings) -> Protocol | None:
    if word in ("", "tcp"):
        return "tcp"
    if word == "udp":
        findings.warn(path, "the balancer serves TCP only; a UDP port is given to the task and not balanced")
        return "udp"
    findings.fault(path, f"{word[:20]!r} is no protocol; use tcp or udp")
    return None


def _address(ip: str, path: Path, findings: Findings) -> bool:
    """Loopback and «all» mean where the cell's balancer listens; any other address the file cannot choose."""
    bare = ip.strip("[]").lower()
    if bare in _OURS or bare.startswith("127."):
        return True
    findings.fault(
        path, f"the address {ip!r} cannot be kept: the balancer listens where the cell does; leave it out"
    )
    return False
