"""Wrong words: what the argument parser could not take goes in; what was wrong, and what to do, comes out."""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, get_args

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    Token,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from kato.model.errors import InvalidInput

EXAMPLES: Mapping[str, str] = {
    "why": "kato why vote",
    "inspect": "kato inspect vote",
    "open": "kato open vote",
    "service": "kato service install",
    "completion": "kato completion bash",
    "exec": "kato exec -it vote -- sh",
    "scale": "kato scale vote 3",
    "restart": "kato restart vote",
    "rm": "kato rm vote",
    "rollback": "kato rollback vote",
    "versions": "kato versions vote",
    "backup": "kato backup cell.backup",
    "restore": "kato restore cell.backup",
    "drill": "kato drill --lose vote.1",
    "secrets": "kato secrets ls",
}
"""Of commands that need words behind them."""

ELSEWHERE: Mapping[str, str] = {
    "attach": "kato logs -f APP",
    "build": "kato up, which builds what the file says",
    "config": "kato validate, or kato convert, which prints what the file becomes",
    "create": "kato up",
    "images": "kato inspect APP",
    "kill": "kato restart APP, which exchanges its tasks, or kato scale APP 0, which ends them",
    "port": "kato ls, or kato open APP",
    "pull": "kato up, which pulls what is missing",
    "run": 'kato exec -it APP -- CMD, beside a task; a service with `restart: "no"` runs once',
    "start": "kato up",
    "stats": "kato top",
    "status": "kato ls, or kato why APP",
    "stop": "kato scale APP 0, which ends its tasks, or kato down, which removes what a file deployed",
    "volume": "kato volumes, or kato volumes rm NAME",
    "watch": "kato ls -w",
}
"""What Docker's users say, and what does that here."""

FLAGS_ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("up", "--build"): "It builds what the file says, every time.",
    ("up", "--force-recreate"): "It changes what has changed; kato restart APP exchanges all tasks.",
    ("up", "--pull"): "The file says it: `pull_policy: always`.",
    ("up", "--remove-orphans"): "A service that has left the file goes without it.",
    ("up", "--scale"): "The file says it: `deploy: {replicas: 3}`; or kato scale APP 3.",
    ("up", "--wait"): "It waits without it; -d returns then.",
    ("down", "--remove-orphans"): "A service that has left the file goes without it.",
}
"""Flags of Docker's for a command that has none such, and why none is needed."""


def wrong_usage(error: CycloptsError, words: Sequence[str], commands: Collection[str]) -> str:
    """What was wrong with `words`, in one line. commands: those that there are."""
    command = " ".join(error.command_chain or ())
    see = f"See: kato {command} --help" if command else "See: kato --help"
    return f"{_wrong(error, command, words, commands)} {see}"


def unknown_topic(word: str, commands: Collection[str], topics: Collection[str]) -> str:
    """What `kato help WORD` says of a word that is neither a command nor a topic."""
    near = _nearest(word, [*commands, *topics]) or f"Topics are {', '.join(topics)}."
    return f"There is no command {word!r} and no such topic. {near} See: kato --help"


def _wrong(error: CycloptsError, command: str, words: Sequence[str], commands: Collection[str]) -> str:
    unused = list(error.unused_tokens or ())
    match error:
        case UnknownCommandError() if words and words[0].startswith("-"):
            return f"A command comes first, and flags such as {words[0]} behind it, as in: kato ls -o json."
        case UnknownCommandError():
            word = unused[0]
            if word in ELSEWHERE:
                return f"There is no command {word!r}. Here that is {ELSEWHERE[word]}."
            return f"There is no command {word!r}. {_nearest(word, commands) or _all(commands)}"
        case UnknownOptionError():
            word = error.token.keyword or error.token.value
            if word in ("-d", "--detach") and command in ("scale", "restart", "rm", "rollback"):
                return f"kato {command} returns when it is done; with --no-wait it returns at once."
            if (command, word) in FLAGS_ELSEWHERE:
                return f"kato {command} has no flag {word}. {FLAGS_ELSEWHERE[command, word]}"
            flags = [
                name
                for argument in error.argument_collection
                if argument.parse
                for name in argument.names
                if name.startswith("-")
            ]
            return f"kato {command} has no flag {word}. {_nearest(word, flags) or _all(flags)}"
        case RepeatArgumentError():
            return f"{error.token.keyword} is given twice. Give it once."
        case MissingArgumentError() if error.argument is not None and error.keyword:
            return f"{error.keyword} needs a value behind it{_choices(error.argument.hint)}."
        case MissingArgumentError() if error.argument is not None:
            return f"kato {command} needs {error.argument.name}, as in: {EXAMPLES.get(command, command)}."
        case CoercionError() if error.argument is not None and error.token is not None:
            name = error.token.keyword or error.argument.name
            return f"{name} is {error.token.value!r}{_choices(error.argument.hint)}."
        case UnusedCliTokensError() if unused:
            return f"kato {command} does not know what to do with {unused[0]!r}. Leave it out."
    return " ".join(str(error).split())


def _nearest(word: str, known: Collection[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else ""


def _all(known: Collection[str]) -> str:
    return f"There are: {', '.join(known)}."


def _choices(hint: Any) -> str:
    if hint is bool:
        return "; it takes no value"
    words = [str(each) for each in get_args(hint) if isinstance(each, str)]
    return f"; it takes {', '.join(words[:-1])} or {words[-1]}" if words else ""


def whole(name: str, what: str, most: int) -> Callable[[Any, Sequence[Token]], int]:
    """Reads a whole number up to `most` for a parameter called `name`; `what` it counts."""

    def read(_type: Any, tokens: Sequence[Token]) -> int:
        text = tokens[0].value
        if text.isascii() and text.isdecimal() and int(text[:20]) <= most:
            return int(text)
        raise InvalidInput(f"{name} is {text[:40]!r}; it takes a number of {what}, from 0 to {most:,}.")

    return read


def seconds(_type: Any, tokens: Sequence[Token]) -> float:
    """Reads a number of seconds that can be waited for."""
    text = tokens[0].value
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number <= 1e9:
        return number
    raise InvalidInput(
        f"{tokens[0].keyword or 'It'} is {text[:40]!r}; it takes a number of seconds, more than 0, as in: "
        "--timeout 60."
    )


def moment(now: Callable[[], float]) -> Callable[[Any, Sequence[Token]], float]:
    """Reads a moment, in epoch seconds: how long ago it was (`10m`, `1h30m`), or when (`2026-11-23T05:20:00Z`)."""

    def read(_type: Any, tokens: Sequence[Token]) -> float:
        text = tokens[0].value
        parts = _AGO.fullmatch(text)
        if parts is not None and text:
            return now() - sum(int(n or 0) * unit for n, unit in zip(parts.groups(), _UNITS, strict=True))
        try:
            return datetime.fromisoformat(text).timestamp()  # without a zone it is this machine's time
        except (ValueError, OverflowError):
            raise InvalidInput(
                f"{tokens[0].keyword or 'It'} is {text[:40]!r}; it takes how long ago, as 10m, 1h30m or 2d, or "
                "when, as 2026-11-23T05:20:00Z."
            ) from None

    return read


_AGO = re.compile(r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_UNITS = (86_400, 3600, 60, 1)
