"""A document goes in; its parts come out, each with the place where it was written, so that parts of several files
can become one document again without losing that.
"""

from dataclasses import dataclass, replace
from typing import Any

from kato.language.document import MAX_VALUES, RESET, Document, Path, Place
from kato.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Piece:
    """A value with the file, line and column of it. value: a dict or a list of Pieces, or plain.

    tag: `!reset` or `!override` where it bears one.
    """

    value: Any
    name: str
    place: Place
    tag: str = ""

    @property
    def members(self) -> "dict[str, Piece]":
        """What a mapping has; nothing of anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "list[Piece]":
        """What a list has; nothing of anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def text(self) -> str | None:
        """A scalar's text as it was written, but for quotes."""
        is_text = isinstance(self.value, (str, int)) and not isinstance(self.value, bool)
        return str(self.value) if is_text else None

    @property
    def where(self) -> str:
        """`file:line:column`."""
        return f"{self.name}:{self.place[0]}:{self.place[1]}"

    def with_(self, **members: "Piece") -> "Piece":
        """This mapping with other members beside its own, or in their place."""
        return replace(self, value={**self.members, **members})

    def of(self, value: object) -> "Piece":
        """Another value at this place."""
        return Piece(value, self.name, self.place)


def pieces(document: Document, data: object, path: Path = ()) -> Piece:
    """The parts of `data`, which has the form of the document's own."""
    place = document.places.get(path, (1, 1))
    tag = document.tags.get(path, "")
    if isinstance(data, dict):
        data = {key: pieces(document, each, (*path, key)) for key, each in data.items()}
    elif isinstance(data, list):
        data = [pieces(document, each, (*path, n)) for n, each in enumerate(data)]
    return Piece(data, document.name, place, tag)


def assembled(whole: Piece) -> Document:
    """The document that the parts are, without what is to be taken away (`!reset`). InvalidInput: too large."""
    places: dict[Path, Place] = {}
    names: dict[Path, str] = {}

    def data(piece: Piece, path: Path) -> object:
        places[path], names[path] = piece.place, piece.name
        if len(places) > MAX_VALUES:
            raise too_large(whole)
        if isinstance(piece.value, dict):
            kept = {key: each for key, each in piece.value.items() if each.tag != RESET}
            return {key: data(each, (*path, key)) for key, each in kept.items()}
        if isinstance(piece.value, list):
            left = [each for each in piece.value if each.tag != RESET]
            return [data(each, (*path, n)) for n, each in enumerate(left)]
        return piece.value

    return Document(whole.name, data(whole, ()), places, names=names)


def size(piece: Piece) -> int:
    """How many values it has, itself included."""
    inside = piece.members.values() if piece.members else piece.items
    return 1 + sum(size(each) for each in inside)


def too_large(piece: Piece) -> InvalidInput:
    """What is said of a project that unfolds into more than MAX_VALUES."""
    return InvalidInput(
        f"{piece.where}: the files unfold into more than {MAX_VALUES} values; write them flatter, with less "
        "`extends` and `include`."
    )


def plain(piece: Piece) -> object:
    """The value alone."""
    if isinstance(piece.value, dict):
        return {key: plain(each) for key, each in piece.value.items() if each.tag != RESET}
    if isinstance(piece.value, list):
        return [plain(each) for each in piece.value if each.tag != RESET]
    return piece.value
