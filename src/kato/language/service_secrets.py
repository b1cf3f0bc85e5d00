"""A Compose file's `secrets` and `configs` come in, the project's and a service's; what the cell is to keep, and
the app's files, come out.

What a file gives a value to is kept under `<project>/<name>@<mark>`. The mark follows from the value, so that
another value is another secret: the app changes with it, is rolled out, and can be rolled back. It is slow to
compute, and salted by the name, so that nobody finds a short password by it.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from kato.language.document import Path
from kato.language.interpolation import Lookup
from kato.language.reading import Findings, Part, external, text_of
from kato.language.service_volumes import Surroundings
from kato.language.shape import closest
from kato.model.app import Access, AppVolume, SecretSource
from kato.model.secret import LARGEST, Secret, is_name

KINDS = {"secrets": "run/secrets/", "configs": ""}
"""Where each is found unless a service says so."""
_COST = 1 << 13
"""Of one mark: about 20 ms and 8 MiB."""
_PLAIN = dict.fromkeys(
    ("driver", "driver_opts", "labels", "template_driver"), "is a swarm's and has no use here; leave it out"
)


@dataclass(frozen=True, slots=True)
class ProjectSecrets:
    """What a project has. names: (`secrets` or `configs`, name in the file) → name in the cell; values: of those
    that the file gives one to, by their names in the cell.
    """

    names: dict[tuple[str, str], str] = field(default_factory=dict)
    values: dict[str, Secret] = field(default_factory=dict)


def read_project_secrets(
    top: Part,
    project: str,
    around: Surroundings,
    lookup: Lookup,
    contents: Callable[[str], bytes | None],
    lookups: Mapping[tuple[str, str], Lookup],
    unused: Collection[tuple[str, str]],
) -> ProjectSecrets:
    """The top-level `secrets` and `configs`. contents: a file's by its absolute path, None where there is none.

    lookups: of those that were included. unused: those that need no value, since no active service has them.
    """
    found = ProjectSecrets()
    for kind in KINDS:
        section = top.part(kind)
        for key in section.data if section else ():
            part = section.part(key) if section else None
            part = part or Part(None, (kind, key), top.findings)
            is_external, given = external(part)
            name = given or key
            if is_external:
                found.names[kind, key] = name
                if not is_name(name):
                    part.fault("name", f"{name[:60]!r} is no name of a secret of the cell; see kato secrets ls")
            elif (kind, key) in unused:
                found.names[kind, key] = f"{project}/{key}"
                part.asked += ("file", "environment", "content")
            elif (value := _value(kind, part, around, lookups.get((kind, key), lookup), contents)) is not None:
                marked = f"{project}/{key}@{_mark(value, f'{project}/{key}')}"
                if not is_name(marked):
                    top.findings.fault((kind, key), "its name may have letters, digits, '.', '_' and '-' alone")
                found.names[kind, key], found.values[marked] = marked, Secret(value=value, since=0.0)
            else:
                found.names[kind, key] = f"{project}/{key}"  # the fault is told
            part.close(_PLAIN)
    return found


def _value(
    kind: str, part: Part, around: Surroundings, lookup: Lookup, contents: Callable[[str], bytes | None]
) -> bytes | None:
    ways = ("file", "environment") if kind == "secrets" else ("file", "environment", "content")
    said = {way: text for way in ways if (text := part.text(way)) is not None}
    if len(said) != 1:
        part.findings.fault(part.path, f"needs one of {', '.join(ways)}, or external: true")
        return None
    ((way, text),) = said.items()
    value: bytes | None = text.encode()
    if way == "file":
        value = contents(around.resolve(text))
        if value is None:
            part.fault(way, f"there is no file {text}")
    elif way == "environment":
        given = lookup(text)
        value = None if given is None else given.encode("utf-8", "surrogateescape")
        if value is None:
            part.fault(way, f"{text} is not set in the environment")
    if value is not None and not 0 < len(value) <= LARGEST:
        part.fault(way, f"has {len(value):,} bytes; the cell keeps between 1 and {LARGEST:,}")
        return None
    return value


def _mark(value: bytes, name: str) -> str:
    return hashlib.scrypt(value, salt=name.encode(), n=_COST, r=8, p=1, dklen=8).hex()


def read_files(
    service: Part, project: ProjectSecrets, *, contained: bool
) -> tuple[tuple[AppVolume, ...], Mapping[str, SecretSource]]:
    """A service's files of either kind, and the secrets that its app names. contained: whether in a container."""
    volumes: dict[str, AppVolume] = {}
    secrets: dict[str, SecretSource] = {}
    for kind in KINDS:
        for _, item, path in service.items(kind):
            volume = _file(kind, item, path, service.findings, project, contained)
            if volume is None:
                continue
            if volume.container_path in volumes:
                service.findings.fault(path, f"another file has the target {volume.container_path!r}; keep one")
            volumes[volume.container_path] = volume
            name = str(volume.secret)
            secrets[name] = SecretSource(source=project.names[kind, name.removeprefix("config.")])
    return tuple(volumes.values()), secrets


def _file(
    kind: str, item: object, path: Path, findings: Findings, project: ProjectSecrets, contained: bool
) -> AppVolume | None:
    part = Part(item if isinstance(item, dict) else {"source": item}, path, findings)
    source, target = part.text("source"), part.text("target")
    access = Access(uid=_id(part, "uid"), gid=_id(part, "gid"), mode=_mode(part))
    part.close()
    if not source or (kind, source) not in project.names:
        near = closest(source or "", [name for each, name in project.names if each == kind])
        findings.fault(path, f"nothing {source!r} is named under the top-level `{kind}`; add it there.{near}")
        return None
    target = target or source
    place = target.strip("/") if target.startswith("/") else f"{KINDS[kind]}{target}".strip("/")
    if not place or ".." in place.split("/"):
        findings.fault(path, f"the target {target!r} must be a path without '..'")
        return None
    if access != Access() and not contained:
        findings.warn(path, "uid, gid and mode are ignored: a process's file is its user's alone")
    name = source if kind == "secrets" else f"config.{source}"
    return AppVolume(
        container_path=place, secret=name, access=access if contained and access != Access() else None
    )


def _id(part: Part, key: str) -> int | None:
    return part.whole(key)


def _mode(part: Part) -> str | None:
    raw = part.raw("mode")
    if raw is None:
        return None
    if isinstance(raw, int) and not isinstance(raw, bool):
        return chmod(raw)
    text = (text_of(raw) or "").removeprefix("0o")
    if not 3 <= len(text) <= 4 or set(text) - set("01234567") or int(text, 8) > 0o777:
        part.fault("mode", "must be like 0440, as chmod has it")
        return None
    return text


def chmod(number: int) -> str:
    """A mode that was written as a number: YAML of today reads 0440 as 440, and 0o440 as 288.

    >>> chmod(440), chmod(288), chmod(0o640), chmod(0o770)
    ('0440', '0440', '0640', '0770')
    """
    digits = str(number)
    as_written = not set(digits) - set("04567") and list(digits) == sorted(digits, reverse=True)
    return f"0{digits:0>3}" if as_written and len(digits) == 3 else f"{number & 0o777:04o}"
