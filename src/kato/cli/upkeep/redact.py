"""What must not leave a machine: apps, logs and other texts flow in; the same without secrets flows out.

Of an app only what is known to hold none is kept; the rest, as environment and command, is taken out, and is found
and taken out in every other text too, with what looks like a credential. This is the only place that decides it.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from kato.store import keys

GONE = "(redacted)"
SHORTEST = 6
"""Characters of what is looked for in texts: a shorter word is in too many of them."""
_KEPT_WORDS = """
    id version lastScalingAt lastConfigChangeAt protocol type mode name image user role executor
    constraints dependencies killSelection ipProtocol provider profileName portName containerPath
    hostPath networkNames acceptedResourceRoles unreachableStrategy key
"""
KEPT = frozenset(_KEPT_WORDS.split())
"""Keys of an app whose words hold no secret."""
_INSIDE_WORDS = """
    container docker parameters volumes persistent external portMappings portDefinitions networks
    healthChecks readinessChecks upgradeStrategy unreachableStrategy versionInfo
"""
INSIDE = frozenset(_INSIDE_WORDS.split())
"""Keys of an app below which there are such keys again; of all others only numbers stay."""
_ROOMS = """
    cell apps versions groups deployments locks wish kills nudges tasks progress launches plan nodes status borders
    links leader
"""
ROOMS = frozenset(_ROOMS.split())
"""Rooms of the store that may be shown; of others only the keys are."""
_WORD = re.compile(r"""[^\s'"`=:/@,;&?\\(){}\[\]<>|!#\0]+""")
_HARMLESS = re.compile(r"localhost|\d+\.\d+\.\d+\.\d+(:\d+)?")
_LOOKS = re.compile(
    r"(?P<user>://)[^/\s@\0]+(?=@)"
    r"|(?P<named>(?:passw(?:or)?d|secret|token|credential|api_?key|authorization)\w*[\"']?\s*[:=]\s*[\"']?)"
    r"(?!\(redacted\))(?:(?:bearer|basic)\s+)?[^\s\"',\0]+",
    re.IGNORECASE,
)


_BETWEEN = "\0"
"""Stands in no text of a cell."""


class Redactor:
    """Knows the secrets of a cell. store: all that its store holds, decoded, by key; logins: what `docker login`
    wrote, None where it did not; tokens: what lets in.
    """

    def __init__(self, store: Mapping[str, Any], logins: bytes | None = None, tokens: Iterable[str] = ()) -> None:
        self._store = store
        apps = [value for key, value in store.items() if keys.is_version(key)]
        ids = {word for app in apps for word in _WORD.findall(app["id"])}
        hidden = {text for app in apps for text in _hidden(app)} | set(_logins(logins)) | set(tokens)
        hidden |= {text for key, value in store.items() if not _shown(key) for text in _plain(_texts(value))}
        self._words = {word for text in hidden for word in _WORD.findall(text) if _counts(word)} - ids
        written = hidden | {msgspec.json.encode(text).decode()[1:-1] for text in hidden}
        self._texts = sorted((each for each in written - ids if _counts(each)), key=len, reverse=True)

    def stored(self) -> dict[str, Any]:
        """The store, key by key, as it may be shown."""
        shown = {key: value if _shown(key) else GONE for key, value in self._store.items()}
        versions = {key: self.app(self._store[key]) for key in shown if keys.is_version(key)}
        return {**shown, **versions}

    def app(self, app: Mapping[str, Any]) -> dict[str, Any]:
        """An app without what may hold a secret; which variables it has stays known."""
        return {key: self._value(key, value) for key, value in app.items()}

    def text(self, text: str) -> str:
        """A text in which no secret of an app, and nothing that looks like one, is left."""
        for each in self._texts:
            text = text.replace(each, GONE)
        text = _WORD.sub(lambda found: GONE if found[0] in self._words else found[0], text)
        return _LOOKS.sub(lambda found: f"{found['user'] or found['named']}{GONE}", text)

    def data(self, value: Any) -> Any:
        """Decoded JSON whose every text, and every name, is as `text` makes it."""
        texts = _BETWEEN.join(_all_texts(value))
        return _replaced(value, iter(self.text(texts).split(_BETWEEN)))

    def _value(self, key: str, value: Any) -> Any:
        if key in INSIDE and isinstance(value, Mapping):
            return self.app(value)
        if key in INSIDE and isinstance(value, list):
            return [self._value(key, each) for each in value]
        if key in KEPT or isinstance(value, bool | int | float | None):
            return value
        return dict.fromkeys(value, GONE) if isinstance(value, Mapping) else GONE


def _hidden(app: Mapping[str, Any]) -> Iterator[str]:
    """Every text that is taken out of an app."""
    for key, value in app.items():
        inside = value if isinstance(value, list) else [value]
        for each in inside:
            if key in INSIDE and isinstance(each, Mapping):
                yield from _hidden(each)
            elif key not in KEPT:
                yield from _texts(each)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _all_texts(value: Any) -> Iterator[str]:
    """Every text in decoded JSON, names too, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _all_texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _all_texts(each)


def _replaced(value: Any, texts: Iterator[str]) -> Any:
    """The same with other texts, in that order."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, list):
        return [_replaced(each, texts) for each in value]
    if isinstance(value, dict):
        return {next(texts): _replaced(each, texts) for each in value.values()}
    return value


def _logins(content: bytes | None) -> Iterator[str]:
    """What a file of logins holds, and what it holds in Base64."""
    try:
        found = list(_texts(msgspec.json.decode(content or b"{}").get("auths")))
    except (msgspec.MsgspecError, AttributeError):
        return
    yield from _plain(found)


def _plain(texts: Iterable[str]) -> Iterator[str]:
    """Texts, and what they are where they are Base64: whole, by lines, and the password of `user:password`."""
    for text in texts:
        yield text
        try:
            plain = base64.b64decode(text, validate=True).decode()
        except ValueError:
            continue
        yield from (plain, plain.strip(), plain.partition(":")[2].strip(), *plain.split())


def _shown(key: str) -> bool:
    return key.partition("/")[0] in ROOMS


def _counts(text: str) -> bool:
    return len(text) >= SHORTEST and not _HARMLESS.fullmatch(text) and text != GONE
