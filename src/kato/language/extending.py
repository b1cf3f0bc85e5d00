"""A service that `extends` another comes in, with the services of its file; the service as a whole comes out.

What it extends may lie in another file, and extend a third. What it says itself is merged upon that.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kato.language.anchoring import absolute, anchored_service, folder_of
from kato.language.document import MAX_VALUES
from kato.language.merging import Clash, merge
from kato.language.pieces import Piece, size, too_large
from kato.language.shape import closest

LONGEST = 50
"""Services that may extend one another in a row."""

Fault = Callable[[Piece, str, str], None]
"""Told of a part that is wrong, its path as people write it, and why."""
Chain = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a service stands: its file, the services there, and the folder that paths are relative to. other: it
    is another file than that of the service which extends it.
    """

    name: str
    services: Mapping[str, Piece]
    folder: str
    other: bool = False


@dataclass(slots=True)
class Extending:
    """The services of one project. open: a file by its absolute path, None where it cannot be had (a fault)."""

    open: Callable[[str, Piece], Piece | None]
    fault: Fault
    clash: Clash
    known: dict[tuple[str, str], Piece] = field(default_factory=dict)
    count: int = 0
    """Values of all services that extend others."""

    def whole(self, key: str, scope: Scope, chain: Chain = ()) -> Piece:
        """A service with what it extends. chain: the services that extend one another, down to it."""
        if (scope.name, key) in self.known:
            return self.known[scope.name, key]
        service = scope.services[key]
        asked = service.members.get("extends")
        if asked is None or asked.value is None:
            return service
        found = service.of({name: each for name, each in service.members.items() if name != "extends"})
        base = self._base(asked, scope, (*chain, (scope.name, key)))
        if base is not None:
            found = merge(base, found, ("services", key), self.clash)
            self.count += size(found)
            if self.count > MAX_VALUES:
                raise too_large(service)
        self.known[scope.name, key] = found
        return found

    def _base(self, asked: Piece, scope: Scope, chain: Chain) -> Piece | None:
        """What the last of `chain` extends; None where there is none, of which there is a fault."""
        path = f"services.{chain[-1][1]}.extends"
        members = asked.members or {"service": asked}
        refuse_others(members, ("service", "file"), path, self.fault)
        ref = members["service"].text if "service" in members else None
        if not ref:
            self.fault(asked, path, "must name a service: `base`, or {service: base, file: common.yaml}")
            return None
        file = members.get("file")
        where = scope if file is None or file.value is None else self._elsewhere(file, scope, path)
        if where is None:
            return None
        if ref not in where.services:
            self.fault(asked, path, f"there is no service {ref!r} in {where.name}.{closest(ref, where.services)}")
        elif (where.name, ref) in chain:
            circle = (*chain[chain.index((where.name, ref)) :], (where.name, ref))
            words = [each if file == scope.name else f"{each} ({file})" for file, each in circle]
            self.fault(asked, path, f"services extend one another in a circle: {' → '.join(words)}")
        elif len(chain) > LONGEST:
            self.fault(asked, path, f"more than {LONGEST} services extend one another; write it flatter")
        else:
            base = self.whole(ref, where, chain)
            return anchored_service(base, where.folder) if where.other else base
        return None

    def _elsewhere(self, file: Piece, scope: Scope, path: str) -> Scope | None:
        """The services of another file."""
        for name in paths_in(file, scope.folder, path, self.fault)[:1]:
            document = self.open(name, file)
            if document is not None:
                services = document.members.get("services")
                return Scope(name, services.members if services else {}, folder_of(name), other=True)
        return None


def paths_in(piece: Piece | None, folder: str, path: str, fault: Fault) -> list[str]:
    """The files that a part names, one or a list, as absolute paths."""
    found: list[str] = []
    for item in () if piece is None else piece.items or (piece,):
        text = item.text
        if not text:
            fault(item, path, "must be the path of a file")
        elif "://" in text or text.startswith("git@"):
            fault(item, path, f"{text[:80]!r} is not on this machine; fetch it, and name the file")
        else:
            found.append(absolute(folder, text))
    return found


def refuse_others(members: Mapping[str, Piece], keys: Iterable[str], path: str, fault: Fault) -> None:
    """A fault for each member that has none of these keys."""
    for key, each in members.items():
        if key not in keys and not key.startswith("x-"):
            fault(each, path, f"{key!r} is not a key that is taken here.{closest(key, keys)}")
