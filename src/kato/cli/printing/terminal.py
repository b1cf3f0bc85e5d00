"""Terminals that know fewer characters than we write: streams go in; from now on they take every text."""

import codecs
from typing import Any

PLAIN = {
    "●": "*",
    "○": "o",
    "✗": "x",
    "→": ">",
    "…": "~",
    "á": "a",
    "«": '"',
    "»": '"',
    "—": "-",
    "–": "-",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""Each as wide as what it stands for, so that columns stay where they are."""


def speak_to(*streams: Any) -> None:
    """What a stream's encoding lacks is written in ASCII, or else by its number (`\\u4e16`)."""
    codecs.register_error("kato", _plain)
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="kato")


def knows_unicode(stream: Any) -> bool:
    """Whether every character can be written as it is."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf-")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    words = [PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode("ascii") for each in lacking]
    return "".join(words), error.end
