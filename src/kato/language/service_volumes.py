"""A Compose service's `volumes` come in, and the project's named ones; the app's volumes come out.

For a process the target is a path inside its sandbox (`$MESOS_SANDBOX/<target>`). A named volume outlives the
service: it is the cell's external volume `<project>_<name>`. A host path is taken from the file's folder.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from kato.language.document import Path
from kato.language.reading import Findings, Part, external, text_of
from kato.language.shape import closest
from kato.model.app import AppVolume, External

PROVIDER = "kato"
"""The provider of external volumes that are folders which the cell keeps on the node."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service's volumes and paths refer to. volumes: name in the file → name in the cell."""

    folder: str
    home: str | None
    volumes: Mapping[str, str]

    def resolve(self, path: str) -> str:
        """A path of the file as an absolute one."""
        if path == "~" or path.startswith("~/"):
            path = (self.home or "~") + path[1:]
        parts: list[str] = []
        for part in PurePosixPath(self.folder, path).parts[1:]:
            if part == "..":
                parts = parts[:-1]
            else:
                parts.append(part)
        return "/" + "/".join(parts)


def read_named_volumes(project: Part, name: str) -> tuple[dict[str, str], frozenset[str]]:
    """The top-level `volumes`: the name in the file → the name in the cell, and those that are its own."""
    section = project.part("volumes")
    found: dict[str, str] = {}
    others: set[str] = set()
    for key in section.data if section else ():
        volume = section.part(key) if section else None
        found[key] = f"{name}_{key}"
        if volume is None:
            continue
        is_external, given = external(volume)
        found[key] = given or (key if is_external else found[key])
        others |= {found[key]} if is_external else set()
        if (driver := volume.text("driver")) not in (None, "local", PROVIDER):
            volume.fault("driver", f"there is no volume driver {driver!r}; leave it out, for a folder on the node")
        if volume.raw("labels"):
            volume.warn("labels", "is ignored: a volume is a folder on the node")
        volume.close({"driver_opts": "has no use: a volume is a folder on the node; leave it out"})
    return found, frozenset(found.values()) - others


def read_volumes(service: Part, around: Surroundings, *, nested: bool) -> tuple[AppVolume, ...]:
    """The volumes of one service. nested: whether one may lie within another, as in a container."""
    found: list[AppVolume] = []
    for _, item, path in service.items("volumes"):
        if nested and isinstance(item, dict) and item.get("type") == "tmpfs":
            continue  # `read_scratch` reads it
        volume = (_long if isinstance(item, dict) else _short)(item, path, service.findings, around)
        if volume is None:
            continue
        if fault := _clash(volume, found, nested=nested):
            service.findings.fault(path, fault)
        elif not nested and _is_fresh(volume):
            service.findings.fault(path, _FRESH_ANYWAY)
        else:
            found.append(volume)
    return tuple(volume for volume in found if not _is_fresh(volume))


def read_fresh(service: Part) -> Iterator[str]:
    """The places of volumes without a name, each task's own: `read_volumes` has told what is wrong with them."""
    for _, item, _ in service.items("volumes"):
        if isinstance(item, dict):
            if item.get("type") == "volume" and not item.get("source"):
                yield str(item.get("target"))
        elif ":" not in (place := text_of(item) or ":"):
            yield place


def _is_fresh(volume: AppVolume) -> bool:
    return volume.host_path is None and volume.external is None


_FRESH_ANYWAY = (
    "needs a name to keep its data, as data:TARGET, with `data:` under the top-level `volumes`; without one leave "
    "it out: the sandbox of a process is new with each task anyway"
)


def beside(
    service: Part, volumes: tuple[AppVolume, ...], files: tuple[AppVolume, ...], *, nested: bool
) -> tuple[AppVolume, ...]:
    """Volumes, and files of secrets and configs with them."""
    for file in files:
        if fault := _clash(file, volumes, nested=nested):
            service.findings.fault(service.path, fault)
    return (*volumes, *files)


def _clash(volume: AppVolume, others: Iterable[AppVolume], *, nested: bool) -> str | None:
    """Why a volume cannot stand beside the others: for a process they are links, which nothing can lie within."""
    place = PurePosixPath(volume.container_path)
    for other in others:
        taken = PurePosixPath(other.container_path)
        if place == taken:
            return f"two volumes have the target {volume.container_path!r}; keep one"
        if not nested and (place.is_relative_to(taken) or taken.is_relative_to(place)):
            return (
                f"the targets '{place}' and '{taken}' lie one within the other; volumes are links in the sandbox, "
                "which cannot nest as a container engine's do: give each a target of its own"
            )
    return None


def _short(item: object, path: Path, findings: Findings, around: Surroundings) -> AppVolume | None:
    parts = (text_of(item) or "").split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        findings.fault(path, "must be SOURCE:TARGET or SOURCE:TARGET:ro")
        return None
    if len(parts) == 1:
        return _fresh(parts[0], False, path, findings)
    options = set(parts[2].split(",")) if len(parts) == 3 else set()
    if unused := options & _UNUSED:
        findings.warn(path, f"{', '.join(sorted(unused))} is ignored: it says nothing on Linux without SELinux")
    if unknown := options - {"ro", "rw"} - _UNUSED:
        findings.fault(path, f"the option {', '.join(sorted(unknown))!r} is not taken; use ro or rw")
    return _volume(parts[0], parts[1], "ro" in options, path, findings, around)


_UNUSED = {"cached", "consistent", "delegated", "z", "Z"}


def _long(item: object, path: Path, findings: Findings, around: Surroundings) -> AppVolume | None:
    part = Part(item, path, findings)
    kind, source, target = part.text("type"), part.text("source"), part.text("target")
    read_only = part.flag("read_only") or False
    if part.raw("consistency") is not None:
        part.warn("consistency", "is ignored: it says nothing on Linux")
    for key, warned in (("bind", "selinux"), ("volume", "labels")):
        if (more := part.part(key)) is not None:
            if more.raw(warned) is not None:
                more.warn(warned, "is ignored; a volume is a folder on the node")
            if key == "bind" and more.flag("create_host_path") is False:
                more.fault("create_host_path", "cannot be false: the folder is made where it is missing")
            more.close(_ENGINE)
    part.close(dict.fromkeys(("image", "tmpfs"), "goes only with that type; leave it out"))
    if kind not in ("volume", "bind"):
        part.fault("type", f"{kind!r} is not taken; use volume or bind, or tmpfs in a container")
    elif target and not source and kind == "volume":
        return _fresh(target, read_only, path, findings)
    elif not source or not target:
        findings.fault(path, "needs a source and a target")
    elif (kind == "bind") != _is_path(source) and kind == "volume":
        part.fault("source", "a volume's source is a name; for a path use type: bind")
    else:
        source = f"./{source}" if kind == "bind" and not _is_path(source) else source
        return _volume(source, target, read_only, path, findings, around)
    return None


_ENGINE = {
    **dict.fromkeys(
        ("propagation", "recursive"), "is not taken: mounts of the host are not passed on; leave it out"
    ),
    "nocopy": "is not taken: a new volume gets what the image has there; leave it out",
    "subpath": "is not taken; mount the whole volume",
}


def read_scratch(service: Part) -> Iterator[str]:
    """Volumes of the type tmpfs, as values of `docker run --tmpfs`."""
    for _, item, path in service.items("volumes"):
        if not isinstance(item, dict) or item.get("type") != "tmpfs":
            continue
        part = Part(item, path, service.findings)
        part.text("type")
        target, read_only = part.text("target"), part.flag("read_only")
        options = ["ro"] if read_only else []
        if (more := part.part("tmpfs")) is not None:
            size, mode = more.mib("size"), more.text("mode")
            options += [f"size={round(size * (1 << 20))}"] if size else []
            options += [f"mode={mode}"] if mode else []
            more.close()
        part.close()
        if not target or not target.startswith("/"):
            service.findings.fault(path, "needs a target, an absolute path")
        else:
            yield f"{target}:{','.join(options)}".removesuffix(":")


def _fresh(target: str, read_only: bool, path: Path, findings: Findings) -> AppVolume | None:
    """A volume without a name: a place, and nothing that it comes from."""
    if not target.startswith("/") or ":" in target:
        findings.fault(path, f"{target!r} is no place of a volume; write an absolute path, or SOURCE:TARGET")
    elif read_only:
        findings.fault(path, "is new with each task and nobody may write to it; leave out read_only, or name it")
    elif _leads_out(target):
        findings.fault(path, f"the target {target!r} must be a path without '..'")
    else:
        return AppVolume(container_path=target.strip("/"))
    return None


def _leads_out(target: str) -> bool:
    inside = target.strip("/")
    return not PurePosixPath(inside).parts or ".." in inside.split("/") or "\0" in target


def _is_path(source: str) -> bool:
    return source.startswith(("/", ".", "~"))


def _volume(
    source: str, target: str, read_only: bool, path: Path, findings: Findings, around: Surroundings
) -> AppVolume | None:
    inside = target.strip("/")
    if _leads_out(target) or "\0" in source:
        findings.fault(path, f"the target {target!r} must be a path without '..'")
        return None
    mode: Literal["RO", "RW"] = "RO" if read_only else "RW"
    if _is_path(source):
        return AppVolume(container_path=inside, host_path=around.resolve(source), mode=mode)
    if source not in around.volumes:
        near = closest(source, around.volumes)
        findings.fault(path, f"no volume {source!r} is named under the top-level `volumes`; add it there.{near}")
        return None
    return AppVolume(
        container_path=inside, external=External(name=around.volumes[source], provider=PROVIDER), mode=mode
    )
