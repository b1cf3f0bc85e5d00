"""What passes between a person and a command beside a task: keys and sizes in, what it writes and how it ends out.

Each is a line of JSON on the wire; bytes are base64 there.
"""

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec

Cells = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
"""Rows or columns of a terminal, as many as it can have (struct winsize)."""
Kind = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{0,64}$")]
"""A kind of terminal (TERM)."""


class Command(msgspec.Struct, frozen=True, tag="command"):
    """What is run. terminal: on one of its own, of a kind (TERM) that `kind` says, and of this size.

    interactive: whether it has an input; else it reads the end of it at once.
    """

    argv: tuple[str, ...]
    terminal: bool = False
    interactive: bool = False
    rows: Cells = 24
    columns: Cells = 80
    kind: Kind = "xterm"


class Keys(msgspec.Struct, frozen=True, tag="keys"):
    """What was typed."""

    data: bytes


class Size(msgspec.Struct, frozen=True, tag="size"):
    """The person's terminal has another size now."""

    rows: Cells
    columns: Cells


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """What the command wrote. stream: stdout or stderr; a terminal has stdout alone."""

    stream: str
    data: bytes


class Left(msgspec.Struct, frozen=True, tag="left"):
    """It has ended: its exit code, 128 + n where signal n ended it. Nothing follows."""

    code: int


class Broke(msgspec.Struct, frozen=True, tag="broke"):
    """Nobody knows how it ended: why, as a sentence. Nothing follows."""

    message: str


Typed = Keys | Size
Said = Wrote | Left | Broke
Typing = AsyncIterator[Typed]
"""Its end is the end of the input."""
