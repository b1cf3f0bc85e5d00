"""The files of a Compose project go in; one document comes out, in which each part knows where it was written.

In the specification's order: of each file the variables are replaced, then what it includes joins it, then its
services that extend others become whole; and then it is merged upon the files before it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kato.language.anchoring import absolute, anchored, folder_of
from kato.language.document import MAX_VALUES, Document, read_document
from kato.language.dotenv import read_env
from kato.language.extending import Extending, Scope, paths_in, refuse_others
from kato.language.interpolation import Lookup, bounded
from kato.language.merging import merge
from kato.language.pieces import Piece, assembled, pieces, plain, too_large
from kato.language.reading import Findings, interpolated
from kato.model.errors import Fault, InvalidInput

MOST = 200
"""Files that one project may have."""
SECTIONS = ("services", "networks", "volumes", "configs", "secrets", "models")
"""What an included file brings."""


@dataclass(frozen=True, slots=True)
class _Within:
    """What a file is read for. chain: the files that include one another, down to it. alone: as it is, without
    what it includes and extends.
    """

    folder: str
    lookup: Lookup
    chain: tuple[str, ...] = ()
    alone: bool = False


@dataclass(slots=True)
class Gathering:
    """One project. files: the text of a file by its absolute path, None where there is none.

    lookups: the variables that hold for what was included, by section and name. read: the names of the files.
    """

    files: Callable[[str], str | None]
    lookups: dict[tuple[str, str], Lookup] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    read: dict[str, None] = field(default_factory=dict)
    lacking: bool = False
    _documents: dict[str, Document | None] = field(default_factory=dict)
    _alone: dict[tuple[str, Lookup], Piece | None] = field(default_factory=dict)
    _count: int = 0
    _values: int = 0

    def documents(self, first: Document, others: Sequence[str]) -> tuple[Document, ...]:
        """The files of the command line as they are. others: absolute paths of those after the first."""
        self._documents[first.name] = first
        found = [self._document(name, None) for name in (first.name, *others)]
        return tuple(each for each in found if each is not None)

    def project(self, documents: Sequence[Document], folder: str, lookup: Lookup) -> Findings:
        """The findings of the merged document, so far. folder: the project's. InvalidInput: a part is missing."""
        first = documents[0]
        if len(documents) == 1 and _is_whole(first):
            findings = Findings(first, self.faults, self.warnings)
            return replace(findings, document=replace(first, data=_settled(first, findings, lookup)))
        whole = self._merged([each.name for each in documents], _Within(folder, lookup), None)
        document = assembled(whole) if whole is not None else Document(first.name, {})
        findings = Findings(document, self.faults, self.warnings, tuple(self.read))
        if self.lacking:
            findings.settle()
        return findings

    def fault(self, piece: Piece, path: str, message: str) -> None:
        """Something is missing, and so the rest says too little to be judged."""
        self.lacking = True
        self._note(piece, path, message)

    def _merged(self, names: Sequence[str], within: _Within, asks: Piece | None) -> Piece | None:
        """Files in their order. asks: what names them, None on the command line."""
        whole: Piece | None = None
        for name in names:
            piece = self._file(name, within, asks)
            if piece is not None:
                whole = piece if whole is None else merge(whole, piece, (), self._clash)
        return whole

    def _clash(self, piece: Piece, path: tuple[str, ...], why: str) -> None:
        self._note(piece, ".".join(path) or "the file", why)

    def _note(self, piece: Piece, path: str, message: str) -> None:
        fault = Fault(piece.where, f"{path}: {message}")
        if fault not in self.faults:
            self.faults.append(fault)

    def _file(self, name: str, within: _Within, asks: Piece | None) -> Piece | None:
        """One file, whole. None where it cannot be had, of which there is a fault, or where it is empty."""
        self._count += 1
        if self._count > MOST:
            raise InvalidInput(f"{name}:1:1: the project has more than {MOST} files; make it smaller.")
        document = self._document(name, asks)
        if document is None or document.data is None:
            return None
        if not isinstance(document.data, dict):
            raise InvalidInput(f"{document.where(())}: This is no Compose file, which has `services`.")
        self._values += len(document.places)
        if self._values > MAX_VALUES:
            raise too_large(Piece(None, name, (1, 1)))
        findings = Findings(document, self.faults, self.warnings)
        piece = pieces(document, _settled(document, findings, within.lookup))
        if within.alone:
            return piece
        piece = self._with_included(piece, within, name)
        return self._with_extended(piece, within, name)

    def _document(self, name: str, asks: Piece | None) -> Document | None:
        self.read.setdefault(name)
        if name not in self._documents:
            try:
                text = self.files(name)
                self._documents[name] = None if text is None else read_document(text, name)
            except InvalidInput as error:
                if asks is None or str(error).startswith(f"{name}:"):
                    raise
                self.fault(asks, "the file", str(error))
                return None
        document = self._documents[name]
        if document is None and asks is not None:
            self.fault(asks, "the file", f"there is no file {name}")
        elif document is None:
            raise InvalidInput(f"There is no file {name}.")
        return document

    def _with_included(self, piece: Piece, within: _Within, name: str) -> Piece:
        """A file with what it includes. Nothing of it may be named like something of the file, and be another."""
        asked = piece.members.get("include")
        if asked is None:
            return piece
        found = {key: each for key, each in piece.members.items() if key != "include"}
        if asked.value is not None and not isinstance(asked.value, list):
            self.fault(asked, "include", "must be a list of files (- path)")
        for item in asked.items:
            included = self._included(item, within, (*within.chain, name))
            for section in SECTIONS if included is not None else ():
                assert included is not None
                theirs = included.members.get(section)
                if theirs is not None and theirs.members:
                    found[section] = self._joined(found.get(section), theirs, section)
        return Piece(found, piece.name, piece.place)

    def _joined(self, ours: Piece | None, theirs: Piece, section: str) -> Piece:
        if ours is None or ours.value is None:
            return theirs
        found = dict(ours.members)
        for key, each in theirs.members.items():
            own = found.setdefault(key, each)
            if own is not each and plain(own) != plain(each):
                self.fault(
                    own,
                    f"{section}.{key}",
                    f"{each.where} has another one, which is included; rename one, or change it in a later file "
                    "(compose.override.yaml)",
                )
        return ours.of(found)

    def _included(self, item: Piece, within: _Within, chain: tuple[str, ...]) -> Piece | None:
        members = item.members or {"path": item}
        refuse_others(members, ("path", "project_directory", "env_file"), "include", self.fault)
        paths = paths_in(members.get("path"), within.folder, "include", self.fault)
        if not paths:
            self.fault(item, "include", "needs the path of a file")
            return None
        for path in paths:
            if path in chain:
                circle = " → ".join((*chain[chain.index(path) :], path))
                self.fault(item, "include", f"files include one another in a circle: {circle}")
                return None
        given = members.get("project_directory")
        folder = absolute(within.folder, given.text) if given is not None and given.text else folder_of(paths[0])
        own = self._variables(members.get("env_file"), folder, within)
        around = within.lookup

        def lookup(name: str) -> str | None:
            value = around(name)
            return own.get(name) if value is None else value

        found = self._merged(paths, _Within(folder, lookup, chain), item)
        if found is None:
            return None
        for section in SECTIONS:
            for name in found.members[section].members if section in found.members else ():
                self.lookups.setdefault((section, name), lookup)
        return anchored(found, folder)

    def _variables(self, env_file: Piece | None, folder: str, within: _Within) -> Mapping[str, str]:
        """Of the env files that are named, else of `.env` in the folder."""
        if env_file is None or env_file.value is None:
            path = f"{folder.rstrip('/')}/.env"
            text = self.files(path)
            return {} if text is None else read_env(text, path, within.lookup)
        found: dict[str, str] = {}
        for path in paths_in(env_file, within.folder, "include.env_file", self.fault):
            if path == "/dev/null":
                continue
            if (text := self.files(path)) is None:
                self.fault(env_file, "include.env_file", f"there is no file {path}")
            else:
                found |= read_env(text, path, within.lookup)
        return found

    def _with_extended(self, piece: Piece, within: _Within, name: str) -> Piece:
        """A file with each of its services whole."""
        services = piece.members.get("services")
        if services is None or not any("extends" in each.members for each in services.members.values()):
            return piece
        extending = Extending(lambda other, asks: self._other(other, within.lookup, asks), self.fault, self._clash)
        scope = Scope(name, services.members, within.folder)
        return piece.with_(services=services.of({key: extending.whole(key, scope) for key in services.members}))

    def _other(self, name: str, lookup: Lookup, asks: Piece) -> Piece | None:
        """A file of which only services are extended, read once."""
        if (name, lookup) not in self._alone:
            self._alone[name, lookup] = self._file(name, _Within(folder_of(name), lookup, alone=True), asks)
        return self._alone[name, lookup]


def _settled(document: Document, findings: Findings, lookup: Lookup) -> dict[str, object]:
    """What a file says with the values of its variables; but for its own fragments, where nobody looks."""
    data = document.data if isinstance(document.data, dict) else {}
    lookup = bounded(lookup)
    return {
        key: value if key.startswith("x-") else interpolated(value, (key,), findings, lookup)
        for key, value in data.items()
    }


def _is_whole(document: Document) -> bool:
    """Whether nothing in a file takes from something else: most are so, and some of them are large."""
    data = document.data if isinstance(document.data, dict) else {}
    services = data.get("services")
    each = services.values() if isinstance(services, dict) else ()
    extends = any(isinstance(service, dict) and "extends" in service for service in each)
    return isinstance(document.data, dict) and not document.tags and "include" not in data and not extends
