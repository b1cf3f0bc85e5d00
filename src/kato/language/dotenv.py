"""The text of an env file in Compose's format comes in, with a lookup; its variables come out, in order.

`KEY=value`, `KEY: value`, `export KEY=value`; `#` comments; 'single quotes' are literal, "double quotes" know \\n,
\\t and the like, and may span lines; unquoted and double-quoted values are interpolated, seeing earlier lines. A
KEY alone takes its value from the lookup.
"""

import re

from kato.language.interpolation import Lookup, bounded, interpolate
from kato.model.errors import InvalidInput

_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?:([=:])[ \t]*|(?=\n|#|$))")
_SPACE = re.compile(r"(?:\s|#[^\n]*(?:\n|$))*")
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"[^\n]*")
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "f": "\f",
    "b": "\b",
    "a": "\a",
    "v": "\v",
    '"': '"',
    "\\": "\\",
    "$": "$$",
}


def read_env(text: str, name: str, lookup: Lookup) -> dict[str, str]:
    """The variables of one env file; `name` is its name for messages. InvalidInput says file:line and remedy."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}

    def look(key: str) -> str | None:
        outer = lookup(key)
        return found.get(key) if outer is None else outer

    at, inside = 0, bounded(look)
    while (at := _end(_SPACE, text, at)) < len(text):
        line = text.count("\n", 0, at) + 1
        match = _KEY.match(text, at)
        if match is None:
            wrong = text[at : at + 30].split("\n")[0]
            raise InvalidInput(f"{name}:{line}: {wrong!r} is no variable; write KEY=value, or # for a comment.")
        key, at = match.group(1), match.end()
        if match.group(2) is None:
            if (inherited := lookup(key)) is not None:
                found[key] = inherited
            continue
        try:
            found[key], at = _value(text, at, inside)
        except InvalidInput as error:
            raise InvalidInput(f"{name}:{line}: {key}: {error}.") from None
    return found


def read_raw(text: str, name: str, lookup: Lookup) -> dict[str, str]:
    """The variables of an env file of `docker run --env-file`: what follows `=` is the value as it stands."""
    found: dict[str, str] = {}
    for n, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        key, equals, value = line.lstrip().partition("=")
        if (not key and not equals) or key.startswith("#"):
            continue
        if not key or key != key.strip() or any(letter.isspace() for letter in key):
            raise InvalidInput(f"{name}:{n}: {key[:30]!r} is no variable; write KEY=value, or # for a comment.")
        if equals:
            found[key] = value
        elif (inherited := lookup(key)) is not None:
            found[key] = inherited
    return found


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, look: Lookup) -> tuple[str, int]:
    """The value that begins at `at`, and where the next line begins."""
    quote = text[at : at + 1]
    if quote not in ("'", '"') or not quote:
        match = _PLAIN.match(text, at)
        raw = match.group() if match else ""
        plain = re.split(r"(?:^|[ \t])#", raw, maxsplit=1)[0].rstrip()
        return interpolate(plain, look), at + len(raw)
    match = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
    if match is None:
        raise InvalidInput(f"the {quote} is not closed; add one at the end of the value")
    rest = _REST.match(text, match.end())
    if rest is None:
        after = text[match.end() : match.end() + 20].split("\n")[0]
        raise InvalidInput(f"{after!r} follows the closing {quote}; put all of the value into the quotes")
    if quote == "'":
        return match.group(1).replace("\\'", "'"), rest.end()
    return interpolate(_ESCAPE.sub(_unescape, match.group(1)), look), rest.end()


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match.group(1), match.group())
