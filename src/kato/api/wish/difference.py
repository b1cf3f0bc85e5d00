"""Two Worlds come in, as it is and as it is wished for; what changes, app by app, comes out as sentences."""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from kato.language.wire import app_document
from kato.model.app import App
from kato.model.world import World

_MOST = 6
"""Fields that one sentence names."""
_WIDEST = 40
"""Characters of one value that are shown."""
_BEFORE = 12
"""Characters that two long values have in common and that are shown before what differs."""
_STOPS_FIRST = "an older task stops before a newer one starts, since both would write to its volume"
_SECRET = re.compile(r"pass|pwd|secret|token|key|cred|auth|private|salt|cert|dsn|cookie|session|sign|hash", re.I)
"""In the name of a variable whose value is not shown."""
_PLAIN = re.compile(r"(?!.*[0-9a-f]{16})[\w.:/ +,-]{0,40}", re.I | re.ASCII)
"""A value that no password or key is likely to be."""


class Difference(msgspec.Struct, frozen=True):
    """What changes about one app."""

    app: str
    kind: Literal["create", "update", "scale", "restart", "remove"]
    sentence: str


def differences(before: World, after: World) -> Iterator[Difference]:
    """In the order of ids; what stays as it is, is not named."""
    for id in sorted(before.apps.keys() | after.apps.keys()):
        old, new = before.apps.get(id), after.apps.get(id)
        if old is not new and (found := difference(id, old, new)):
            if found.kind in ("update", "restart") and old and old.instances and new and new.resident:
                found = msgspec.structs.replace(found, sentence=f"{found.sentence}; {_STOPS_FIRST}")
            yield found


def difference(id: str, old: App | None, new: App | None) -> Difference | None:
    """What changes about one app; None where nothing does."""
    if new is None:
        count = _tasks(old.instances if old else 0)
        return Difference(id, "remove", f"remove {id}, which has {count}")
    if old is None:
        return Difference(id, "create", f"create {id} with {_tasks(new.instances)}")
    if old.version == new.version:
        return None
    fields = list(_fields(app_document(old), app_document(new), ""))
    scaled = f"{old.instances} → {_tasks(new.instances)}"
    if old.config_version == new.config_version:
        return Difference(id, "scale", f"scale {id}: {scaled}")
    if not fields:
        return Difference(id, "restart", f"restart {id}: every task is exchanged")
    more = f", and {len(fields) - _MOST} more" if len(fields) > _MOST else ""
    return Difference(id, "update", f"update {id}: {', '.join(fields[:_MOST])}{more}")


def _fields(old: Any, new: Any, name: str) -> Iterator[str]:
    """Each field that differs, as deep as it takes to show how."""
    if old == new or name in ("version", "versionInfo"):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _fields(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif name.startswith(("env", "secrets")) and not _harmless(name, old, new):
        yield f"{name} {'added' if old is None else 'removed' if new is None else 'changed'}"
    elif _alike(old, new) and max(len(_text(old)), len(_text(new))) > _WIDEST:
        for n, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from _fields(a, b, f"{name}[{n}]")
    else:
        yield "{} {} → {}".format(name, *_shown(old, new))


def _alike(old: object, new: object) -> bool:
    return isinstance(old, list) and isinstance(new, list) and len(old) == len(new)


def _harmless(name: str, *values: object) -> bool:
    """Whether a variable may be shown: neither its name nor a value of it looks like a secret."""
    plain = all(value is None or (isinstance(value, str) and _PLAIN.fullmatch(value)) for value in values)
    return name.startswith("env.") and plain and not _SECRET.search(name)


def _shown(old: object, new: object) -> tuple[str, str]:
    """Two values, each cut to what fits; where they begin alike, from shortly before they differ."""
    a, b = ("none" if value is None else _text(value) for value in (old, new))
    common = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = common - _BEFORE if max(len(a), len(b)) > _WIDEST and common > _BEFORE + 1 else 0
    return _cut(a, start), _cut(b, start)


def _cut(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start else text
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"
