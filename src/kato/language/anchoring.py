"""A part of a file comes in, with the folder that its paths start from; the part with absolute paths comes out.

What is included, or extended from another file, means its own folder, not that of the project.
"""

from collections.abc import Callable
from dataclasses import replace

from kato.language.pieces import Piece

Anchor = Callable[[Piece], Piece]


def absolute(folder: str, path: str) -> str:
    """A path as an absolute one, without `.` and `..`; folder: absolute."""
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"{folder}/{path}").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def folder_of(path: str) -> str:
    """The folder of an absolute path."""
    return path.rpartition("/")[0] or "/"


def anchored(project: Piece, folder: str) -> Piece:
    """A whole project, its services, secrets and configs."""
    found = dict(project.members)
    for section, anchor in (("services", _included), ("secrets", _kept), ("configs", _kept)):
        if section in found and found[section].members:
            members = {name: anchor(each, folder) for name, each in found[section].members.items()}
            found[section] = replace(found[section], value=members)
    return replace(project, value=found) if project.members else project


def _included(service: Piece, folder: str) -> Piece:
    """A process runs in the folder of its file, unless it says where."""
    found = anchored_service(service, folder)
    if _is_process(service) and "working_dir" not in service.members:
        return found.with_(working_dir=service.of(folder))
    return found


def _is_process(service: Piece) -> bool:
    kato = service.members.get("x-kato")
    runtime = kato.members.get("runtime") if kato is not None else None
    return not {"image", "build"} & service.members.keys() if runtime is None else runtime.value == "process"


def anchored_service(service: Piece, folder: str) -> Piece:
    """One service."""

    def path(piece: Piece) -> Piece:
        return _path(piece, folder)

    found = _changed(service, "env_file", lambda each: _each(each, lambda one: _changed(path(one), "path", path)))
    found = _changed(found, "label_file", lambda each: _each(each, path))
    found = _changed(found, "volumes", lambda each: _each(each, lambda one: _volume(one, folder)))
    found = _changed(found, "build", lambda each: _changed(path(each), "context", path))
    return _changed(found, "working_dir", path) if _is_process(service) else found


def _kept(resource: Piece, folder: str) -> Piece:
    return _changed(resource, "file", lambda each: _path(each, folder))


def _changed(piece: Piece, key: str, anchor: Anchor) -> Piece:
    """A mapping with one member changed, if it has it; anything else as it is."""
    member = piece.members.get(key)
    return piece if member is None else replace(piece, value={**piece.members, key: anchor(member)})


def _each(piece: Piece, anchor: Anchor) -> Piece:
    if not isinstance(piece.value, list):
        return anchor(piece)
    return replace(piece, value=[anchor(each) for each in piece.items])


def _path(piece: Piece, folder: str) -> Piece:
    """A text that is a path on this machine; not that of a repository, and not one from the user's own folder."""
    text = piece.value
    if not isinstance(text, str) or not text or text.startswith(("/", "~", "git@")) or "://" in text:
        return piece
    return replace(piece, value=absolute(folder, text))


def _volume(piece: Piece, folder: str) -> Piece:
    if piece.members:
        kind = piece.members.get("type")
        bind = kind is not None and kind.value == "bind"
        return _changed(piece, "source", lambda each: _path(each, folder)) if bind else piece
    source, colon, rest = (piece.text or "").partition(":")
    if not colon or not source.startswith("."):
        return piece
    return replace(piece, value=f"{absolute(folder, source)}:{rest}")
