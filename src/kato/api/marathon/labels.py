"""A label selector of Marathon in; a test of an app's labels out.

my_label, environment==production, tier!=frontend\\ tier, deployed in (us, eu), deployed notin (aa, bb)
"""

import re
from collections.abc import Callable, Mapping

from kato.model.errors import InvalidInput

Labels = Mapping[str, str]
_WORD = r"((?:[-A-Za-z0-9_.]|\\.)+)"
_SET = re.compile(rf"{_WORD}\s+(in|notin)\s*\(([^)]*)\)")
_EQUAL = re.compile(rf"{_WORD}\s*(==|!=)\s*{_WORD}")
_EXISTS = re.compile(_WORD)
_ESCAPED = re.compile(r"\\(.)")


def selector(text: str) -> Callable[[Labels], bool]:
    """All of the comma separated conditions must hold. InvalidInput where it cannot be read."""
    tests: list[Callable[[Labels], bool]] = []
    rest = text.strip()
    while rest:
        test, rest = _condition(rest, text)
        tests.append(test)
        if rest.startswith(","):
            rest = rest[1:].strip()
        elif rest:
            raise _unreadable(text, rest)
    return lambda labels: all(test(labels) for test in tests)


def _condition(rest: str, text: str) -> tuple[Callable[[Labels], bool], str]:
    if match := _SET.match(rest):
        key, word, listed = _plain(match[1]), match[2], {_plain(each.strip()) for each in match[3].split(",")}
        wanted = word == "in"
        return lambda labels: key in labels and (labels[key] in listed) is wanted, rest[match.end() :].strip()
    if match := _EQUAL.match(rest):
        key, sign, value = _plain(match[1]), match[2], _plain(match[3])
        if sign == "==":
            return lambda labels: labels.get(key) == value, rest[match.end() :].strip()
        return lambda labels: key in labels and labels[key] != value, rest[match.end() :].strip()
    if match := _EXISTS.match(rest):
        key = _plain(match[1])
        return lambda labels: key in labels, rest[match.end() :].strip()
    raise _unreadable(text, rest)


def _plain(word: str) -> str:
    return _ESCAPED.sub(r"\1", word)


def _unreadable(text: str, rest: str) -> InvalidInput:
    return InvalidInput(
        f"The label selector {text!r} cannot be read from {rest!r} on. It takes name, name==value, name!=value, "
        "name in (a, b) and name notin (a, b), with commas between."
    )
