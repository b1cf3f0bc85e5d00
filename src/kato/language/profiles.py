"""The services of a Compose project come in, with what the user chose; which of them are meant comes out.

A service with `profiles` is part of the project only while one of them is active, or where it is named itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kato.language.interpolation import Lookup
from kato.language.reading import Findings, Part
from kato.language.shape import closest
from kato.model.app import App

_PROFILE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ALL = "*"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose of a project. name: in place of the file's own. profiles: the active ones. services:
    only these, and what they depend on; none means all. env_files: absolute paths of files of variables in place
    of `.env`, a later one wins.
    """

    name: str | None = None
    profiles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()


def inactive(section: Part, choice: Choice, lookup: Lookup) -> dict[str, tuple[str, ...]]:
    """The services that have no active profile, with their profiles."""
    known = {name: _profiles(section, name) for name in section.data}
    asked = choice.profiles or tuple((lookup("COMPOSE_PROFILES") or "").split(","))
    active = {word.strip() for word in asked}
    for name in choice.services:
        if name not in known:
            section.findings.fault(("services",), f"there is no service {name!r}.{closest(name, known)}")
        active.update(known.get(name, ()))
    if _ALL in active:
        return {}
    return {name: profiles for name, profiles in known.items() if profiles and active.isdisjoint(profiles)}


def _profiles(section: Part, name: str) -> tuple[str, ...]:
    service = section.data[name]
    if not isinstance(service, dict) or service.get("profiles") is None:
        return ()
    quiet = Findings(section.findings.document, warnings=section.findings.warnings)
    part = Part(service, (*section.path, name), quiet)
    found = part.words("profiles") or ()
    for word in found:
        if not _PROFILE.fullmatch(word):
            section.findings.fault(
                (*part.path, "profiles"),
                f"{word[:40]!r} is no name of a profile, which has letters, digits, '_', '.' and '-'",
            )
    section.findings.faults += quiet.faults
    return found


def chosen(apps: Mapping[str, App], names: tuple[str, ...]) -> dict[str, App]:
    """The apps of the services that are named, and of those that they depend on; service → app."""
    services = {app.id: name for name, app in apps.items()}
    found: set[str] = set()
    left = [name for name in names if name in apps]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [services[id] for id in apps[name].dependencies if id in services]
    return {name: app for name, app in apps.items() if name in found}
