"""What a service says as a container's comes in; a warning for each word that a process finds otherwise comes out.

A volume lies in the sandbox, not at its target; a process listens on `$PORT0`, not on the container's port; and
only a line that a shell reads is expanded.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kato.language.document import Path
from kato.language.reading import Part, text_of
from kato.language.service_names import place_of
from kato.language.service_ports import Port
from kato.model.app import AppVolume, HealthCheck

_BEFORE, _WITHIN = r"(?:^|[\s\"'=:;,&|(<>]|:///)", r"[^\s\"':;,&|)<>?=@]*"
"""What may stand before a path in a line or a value, and what goes on with it."""
_LITERAL = re.compile(r"\$\{?((?:MESOS_SANDBOX|HOST|PORTS?|PORT[0-9]+|PORT_[0-9A-Z_]+)\b)\}?")
"""A variable that Káto gives, unexpanded."""
_SHELL = re.compile(r"(.*/)?(ba|da|k|z)?sh")


def warn_of_targets(service: Part, env: Mapping[str, str], volumes: Iterable[AppVolume]) -> None:
    """Warns of each value, and each word of the command, that is the target of a volume or lies in it."""
    for target in _targets(service, volumes):
        path = re.compile(f"{_BEFORE}({re.escape(target)}(?:/{_WITHIN})?)(?!{_WITHIN[:-1]})")
        for key, value in env.items():
            if match := path.search(value):
                more = "" if match[1] == value else "…"
                service.findings.warn(
                    place_of(service, key),
                    f"{match[1]!r} {_NOT_THERE}. `environment` is not expanded: leave it out, and write the "
                    f"command as a string that begins with {key}={more}$$MESOS_SANDBOX{match[1]}{more}",
                )
        for place, text, line in _words(service):
            if match := path.search(text):
                form = "" if line else " in a string instead of a list, for a shell to expand it"
                service.findings.warn(place, f"{match[1]!r} {_NOT_THERE}. Write $$MESOS_SANDBOX{match[1]}{form}")


_NOT_THERE = "will not be there: a process finds its volumes in its sandbox"


def _targets(service: Part, volumes: Iterable[AppVolume]) -> Iterator[str]:
    """Absolute ones, as they were written; not that of a folder that lies on the host where it is to be."""
    hosts = {volume.container_path: volume.host_path for volume in volumes}
    for _, item, _ in service.items("volumes"):
        parts = (text_of(item) or "").split(":")
        target = text_of(item.get("target")) if isinstance(item, dict) else parts[1] if len(parts) > 1 else None
        inside = (target or "").strip("/")
        if target and target.startswith("/") and inside in hosts and hosts[inside] != f"/{inside}":
            yield f"/{inside}"


def _words(service: Part) -> Iterator[tuple[Path, str, bool]]:
    """The texts of entrypoint and command: their place, the text, and whether a shell reads it."""
    items: list[tuple[Path, str]] = []
    for key in ("entrypoint", "command"):
        raw = service.raw(key)
        if isinstance(raw, list):
            items += [((*service.path, key, n), text_of(item) or "") for n, item in enumerate(raw)]
        elif line := text_of(raw):
            yield (*service.path, key), line, True
    words = [text for _, text in items]
    for n, (place, text) in enumerate(items):
        yield place, text, _is_script(words, n)


def _is_script(words: Sequence[str], at: int) -> bool:
    """Whether a word is the line of a shell that the words call: `sh -c LINE`."""
    return (
        at > 1 and words[at - 1].startswith("-") and "c" in words[at - 1] and bool(_SHELL.fullmatch(words[at - 2]))
    )


def warn_of_container_ports(service: Part, health: HealthCheck | None, ports: Iterable[Port]) -> None:
    """Warns of a check that asks one of the container's ports, which stand in the order of `$PORT0`, `$PORT1` …"""
    inside = [port.target for port in ports]
    for text in _test(health):
        for match in re.finditer(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):(\d{1,5})(?!\d)", text):
            if (port := int(match[1])) in inside:
                given = f"$$PORT{inside.index(port)}"
                shell = (
                    "" if _read_by_a_shell(health) else ' in ["CMD-SHELL", line], since ["CMD", …] is not expanded'
                )
                service.findings.warn(
                    (*service.path, "healthcheck", "test"),
                    f"nothing listens on {port}, which is the container's port: a process listens on {given}. "
                    f"Write {match[0].removesuffix(match[1])}{given}{shell}",
                )


def warn_of_literals(service: Part, env: Mapping[str, str], health: HealthCheck | None) -> None:
    """Warns of Káto's own variables where nothing expands them."""
    for key, value in env.items():
        if match := _LITERAL.search(value):
            service.findings.warn(
                place_of(service, key),
                f"${match[1]} stays as it is: `environment` is not expanded. Leave it out, and write the command "
                f"as a string that begins with {key}=…$${match[1]}…",
            )
    for place, text, line in _words(service):
        if not line and (match := _LITERAL.search(text)):
            service.findings.warn(
                place, f"${match[1]} stays as it is: a list is run without a shell. Write the command as a string"
            )
    for text in () if _read_by_a_shell(health) else _test(health):
        if match := _LITERAL.search(text):
            service.findings.warn(
                (*service.path, "healthcheck", "test"),
                f'${match[1]} stays as it is: ["CMD", …] is run without a shell. Write ["CMD-SHELL", line]',
            )


def _test(health: HealthCheck | None) -> tuple[str, ...]:
    command = health.command if health else None
    return (command.argv or (command.value or "",)) if command else ()


def _read_by_a_shell(health: HealthCheck | None) -> bool:
    command = health.command if health else None
    if command is None or not command.argv:
        return True
    return any(_is_script(command.argv, n) for n in range(len(command.argv)))
