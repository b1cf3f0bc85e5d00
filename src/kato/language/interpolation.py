"""A text with `${VAR}` in Compose's manner comes in, and a lookup; the text with the values in place comes out.

`$VAR`, `${VAR}`; `${VAR:-x}` and `${VAR-x}` default; `${VAR:?why}` and `${VAR?why}` refuse; `${VAR:+x}` and
`${VAR+x}` replace. With a colon an empty value counts as not set. `$$` is a dollar, as is one that no name or
brace follows. Defaults may hold variables.
"""

import re
from collections.abc import Callable

from kato.model.errors import InvalidInput

Lookup = Callable[[str], str | None]

MOST = 2_000_000
"""Characters that the values of variables may come to in one file: each may hold others twice, and so on."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")


class TooMuch(InvalidInput):
    """The values of variables come to more than MOST; there is no use in reading on."""


def bounded(lookup: Lookup) -> Lookup:
    """The same, for one file. TooMuch."""
    given = 0

    def look(name: str) -> str | None:
        nonlocal given
        value = lookup(name)
        given += len(value or "")
        if given > MOST:
            raise TooMuch(f"the values of its variables come to more than {MOST} characters; make them shorter")
        return value

    return look


def interpolate(text: str, lookup: Lookup, unset: Callable[[str], None] = lambda _name: None) -> str:
    """`text` with its variables replaced. One that is not set is blank, after `unset` was called with its name.

    Raises InvalidInput with one sentence, which knows no file or line, where a `$` makes no sense or a required
    variable is missing.
    """
    if "$" not in text:
        return text
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        value, at = _variable(text, dollar + 1, lookup, unset)
        parts.append(value)
    return "".join(parts) + text[at:]


def _variable(text: str, at: int, lookup: Lookup, unset: Callable[[str], None]) -> tuple[str, int]:
    """The value of what follows a dollar at `at`, and where the text goes on."""
    if text.startswith("$", at):
        return "$", at + 1
    if match := _NAME.match(text, at):
        value = lookup(match.group())
        if value is None:
            unset(match.group())
        return value or "", match.end()
    if not text.startswith("{", at):
        return "$", at
    end = _closing(text, at)
    inside = text[at + 1 : end]
    match = _NAME.match(inside)
    operator = _OPERATOR.match(inside, match.end()) if match else None
    if match is None or (operator is None and match.end() != len(inside)):
        raise InvalidInput(
            f"${{{inside}}} is no variable; write ${{NAME}}, ${{NAME:-default}}, or $$ for a dollar"
        )
    name, value = match.group(), lookup(match.group())
    if operator is None:
        if value is None:
            unset(name)
        return value or "", end + 1
    rest = inside[operator.end() :]
    missing = value is None or (operator.group().startswith(":") and value == "")
    match operator.group()[-1]:
        case "-":
            return (interpolate(rest, lookup, unset) if missing else value or ""), end + 1
        case "+":
            return ("" if missing else interpolate(rest, lookup, unset)), end + 1
    if missing:
        why = interpolate(rest, lookup, unset) or "it is required"
        raise InvalidInput(f"the variable {name} is not set: {why}. Set it in the environment or in .env")
    return value or "", end + 1


def _closing(text: str, at: int) -> int:
    """Where the brace that opens at `at` closes."""
    depth = 0
    while at < len(text):
        if text.startswith("$$", at):
            at += 2
            continue
        if text[at] == "{" and (depth == 0 or text[at - 1] == "$"):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
        if depth > 50:
            break
    raise InvalidInput("a '${' is not closed; add the '}', or write $$ for a dollar")
