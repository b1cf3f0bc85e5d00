"""A regular expression of a user and a text go in; whether it matches the whole comes out, in linear time.

Marathon's LIKE and UNLIKE take Java's expressions. An engine that backtracks can be made to think for ever by a
short one, and the whole cell with it; so these are RE2's, which have no backreferences and no look-around.
"""

from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20


def fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in words; None where it can be taken."""
    try:
        _compiled(pattern)
    except re2.error as error:
        return f"{pattern[:80]!r} is no regular expression that RE2 takes: {_words(error)}"
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether all of `text` matches. A pattern that cannot be taken matches nothing."""
    try:
        return _compiled(pattern).fullmatch(text) is not None
    except re2.error:
        return False


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern, _OPTIONS)


def _words(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
