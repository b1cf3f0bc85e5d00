"""Two Worlds come in, as it is and as it is wished for; what changes, app by app, comes out as sentences."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from kato.language.wire import app_document
from kato.model.app import App
from kato.model.world import World

_SECRET = ("env", "secrets")
"""Fields whose values are not shown."""
_MOST = 6
"""Fields that one sentence names."""


class Difference(msgspec.Struct, frozen=True):
    """What changes about one app."""

    app: str
    kind: Literal["create", "update", "scale", "restart", "remove"]
    sentence: str


def differences(before: World, after: World) -> Iterator[Difference]:
    """In the order of ids; what stays as it is, is not named."""
    for id in sorted(before.apps.keys() | after.apps.keys()):
        old, new = before.apps.get(id), after.apps.get(id)
        if old is not new and (found := _difference(id, old, new)):
            yield found


def _difference(id: str, old: App | None, new: App | None) -> Difference | None:
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


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        name, a, b = f"{prefix}{key}", old.get(key), new.get(key)
        if a == b or name in ("version", "versionInfo"):
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _fields(a, b, f"{name}.")
        elif name.startswith(_SECRET):
            yield f"{name} {'added' if a is None else 'removed' if b is None else 'changed'}"
        else:
            yield f"{name} {_shown(a)} → {_shown(b)}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 40 else text[:39] + "…"


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"
