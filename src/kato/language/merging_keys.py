"""An item of a list comes in; what it is told by when files are merged comes out: None where nothing tells it."""

from collections.abc import Callable

from kato.language.pieces import Piece
from kato.language.service_ports import SHORT


def key_of(piece: Piece, name: str) -> str | None:
    """The text of one member of a mapping."""
    member = piece.members.get(name)
    return None if member is None else member.text


def word(piece: Piece) -> object:
    """KEY of `KEY=value`, or the whole word."""
    return None if piece.text is None else piece.text.partition("=")[0]


def env_file(piece: Piece) -> object:
    """Its path."""
    return piece.text if piece.text is not None else key_of(piece, "path")


def port(piece: Piece) -> object:
    """Address, published port, target and protocol."""
    if piece.members:
        names = ("host_ip", "published", "target", "protocol")
        address, published, target, protocol = (key_of(piece, name) for name in names)
    elif (match := SHORT.fullmatch(piece.text or "")) is not None:
        address, published, target, protocol = match["ip"], match["published"], match["target"], match["protocol"]
    else:
        return None
    return address or "0.0.0.0", published or "", target, protocol or "tcp"


def device(piece: Piece) -> object:
    """Its path in the container."""
    if piece.members:
        return key_of(piece, "target") or key_of(piece, "source")
    parts = (piece.text or "").split(":")
    return parts[1] if len(parts) > 1 else parts[0] or None


def subnet(piece: Piece) -> object:
    """The subnet of an address pool."""
    return key_of(piece, "subnet")


def mounted(folder: str) -> Callable[[Piece], object]:
    """The target. folder: where what names none is found by its own name; without one it is a volume."""

    def key(piece: Piece) -> object:
        if piece.members:
            target = key_of(piece, "target") or (key_of(piece, "source") if folder else None)
        elif folder:
            target = piece.text
        else:
            parts = (piece.text or "").split(":")
            target = parts[1] if len(parts) > 1 else parts[0]
        if not target:
            return None
        return (target if target.startswith("/") else f"{folder}{target}").rstrip("/") or "/"

    return key
