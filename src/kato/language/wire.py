"""Model structs come in; the JSON that Marathon's clients read comes out, as plain data.

Defaults are filled in and None is left out, so that what strict clients do not know (executorResources, check,
resourceLimits, tty, linuxInfo …) appears only where it is set. Whole numbers are written as such: `1`, not `1.0`.
"""

from typing import Any, cast

import msgspec

from kato.model.app import App

Json = dict[str, Any]

_LEFT_OUT_EMPTY = frozenset({"labels", "options", "constraints"})
"""What clients do not expect where it is empty, below the app itself."""
_AS_IT_IS = frozenset({"check", "linuxInfo", "residency"})
"""Objects that Káto hands through."""


def app_document(app: App) -> Json:
    """One app as Marathon writes it."""
    document = cast(Json, _clean(msgspec.to_builtins(app), top=True))
    if not app.version:
        document.pop("version")
    return document


def _clean(value: object, *, top: bool = False) -> object:
    if isinstance(value, dict):
        return {
            key: each if key in _AS_IT_IS else _clean(each)
            for key, each in value.items()
            if each is not None and (top or each or key not in _LEFT_OUT_EMPTY)
        }
    if isinstance(value, (list, tuple)):
        return [_clean(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
