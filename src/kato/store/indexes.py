"""Changes to one index flow in; views flow out that share everything with the index and never change afterwards.

A dict is copied before its first change after it was handed out, and only that dict.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from kato.model.app import App
from kato.store import keys

V = TypeVar("V")


class Index(Generic[V]):
    """Values by id."""

    def __init__(self) -> None:
        self._values: dict[str, V] = {}
        self._shared = False

    def view(self) -> Mapping[str, V]:
        """The values as they are; the same object until they change."""
        self._shared = True
        return self._values

    def get(self, id: str) -> V | None:
        return self._values.get(id)

    def set(self, id: str, value: V | None) -> None:
        """Puts a value, or removes it; nothing happens where it is there already."""
        if self._values.get(id) is value:
            return
        if self._shared:
            self._values = self._values.copy()
            self._shared = False
        if value is None:
            del self._values[id]
        else:
            self._values[id] = value


class Grouped(Generic[V]):
    """Values by id within groups: tasks by app. A group without values is not there."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, V]] = {}
        self._shared = False
        self._own: set[str] = set()
        """Groups that no view holds."""

    def view(self) -> Mapping[str, Mapping[str, V]]:
        """The groups as they are; the same objects until they change."""
        self._shared = True
        self._own.clear()
        return self._groups

    def set(self, group: str, id: str, value: V) -> None:
        """Puts a value."""
        self._writable(group)[id] = value

    def drop(self, group: str, id: str, value: V) -> None:
        """Removes `value`, where it is what stands there."""
        if self._groups.get(group, {}).get(id) is not value:
            return
        values = self._writable(group)
        del values[id]
        if not values:
            del self._groups[group]
            self._own.discard(group)

    def _writable(self, group: str) -> dict[str, V]:
        if self._shared:
            self._groups = self._groups.copy()
            self._shared = False
        if group not in self._own:
            self._groups[group] = self._groups.get(group, {}).copy()
            self._own.add(group)
        return self._groups[group]


class Named:
    """Who names a word: the deployments that name an app. It is not shown to anybody, and so never copied."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}

    def of(self, word: str) -> Iterable[str]:
        """The ids that name a word."""
        return self._ids.get(word, ())

    def add(self, id: str, words: Iterable[str]) -> None:
        """An id names these."""
        for word in words:
            self._ids.setdefault(word, set()).add(id)

    def drop(self, id: str, words: Iterable[str]) -> None:
        """An id names these no more."""
        for word in words:
            ids = self._ids[word]
            ids.discard(id)
            if not ids:
                del self._ids[word]


class Specs:
    """App versions, kept as bytes and decoded at their first use. A view is a function that looks one up."""

    def __init__(self) -> None:
        self._index = Index[bytes]()
        self._decoded: dict[str, tuple[bytes, App]] = {}
        self._view: SpecView | None = None

    def view(self) -> "SpecView":
        """The versions as they are; the same function until they change."""
        if self._view is None:
            self._view = SpecView(self._index.view(), self._decoded)
        return self._view

    def set(self, key: str, value: bytes | None) -> None:
        """Puts a version under its key, or removes it."""
        self._view = None
        self._index.set(key, value)
        if value is None:
            self._decoded.pop(key, None)

    def read(self, key: str, raw: bytes) -> App:
        """What these bytes say that stand under a key, or stood there. StoreRefused where they cannot be read."""
        if self._index.get(key) is raw:
            return _decode(self._decoded, key, raw)
        found: App = keys.read(key, raw)
        return found


class SpecView:
    """Looks up versions among those that were there when it was made; None for another."""

    def __init__(self, raw: Mapping[str, bytes], decoded: dict[str, tuple[bytes, App]]) -> None:
        self._raw = raw
        self._decoded = decoded

    def __call__(self, app: str, version: str) -> App | None:
        key = keys.version(app, version)
        raw = self._raw.get(key)
        if raw is None:
            return None
        return _decode(self._decoded, key, raw)


def _decode(decoded: dict[str, tuple[bytes, App]], key: str, raw: bytes) -> App:
    known = decoded.get(key)
    if known is None or known[0] is not raw:
        known = decoded[key] = (raw, keys.read(key, raw))
    return known[1]
