"""A file's YAML or JSON text comes in; plain data comes out, and the line and column of every path in it.

JSON is told by being JSON. Text that is too large, nested too deep, or that unfolds (by YAML aliases) into too
much is refused before it costs anything; so are duplicate keys, which YAML forbids and JSON leaves undefined.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kato.model.errors import InvalidInput

MAX_CHARACTERS = 8_000_000
"""Of one file; a root group of 1,000 apps has 1,300,000."""
MAX_YAML_CHARACTERS = 1_000_000
"""Of one YAML file, which takes 100 times longer to read than JSON."""
MAX_VALUES = 1_000_000
"""Of one document with its aliases unfolded."""
MAX_DEPTH = 100

Path = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, both from 1."""

RESET, OVERRIDE = "!reset", "!override"
"""Compose's own tags: what bears one takes away, or replaces, what an earlier file says."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_TOO_MUCH = "The document is nested too deep or unfolds into too much; write it flatter, with fewer aliases."
_HALF = "has half of a surrogate pair (\\ud800…); write the character."
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each part of it stands in `name`.

    tags: the parts that bear one of Compose's own tags. names: of what was merged from several files, the file of
    each part.
    """

    name: str
    data: object
    places: Mapping[Path, Place] = field(default_factory=dict)
    tags: Mapping[Path, str] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """`file:line:column` of `path`, or of the nearest part above it that the file has."""
        while path and path not in self.places:
            path = path[:-1]
        line, column = self.places.get(path, (1, 1))
        return f"{self.names.get(path, self.name)}:{line}:{column}"


def read_document(text: str, name: str) -> Document:
    """The document in `text`; `name` is the file's name for messages. InvalidInput says file:line:column."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(
            f"{name}: the file has {len(text)} characters, more than {MAX_CHARACTERS}. Split it into several."
        )
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return _read_json(text.removeprefix("\ufeff"), name)
    return _read_yaml(text, name)


def _refuse(name: str, line: int, column: int, sentence: str) -> NoReturn:
    raise InvalidInput(f"{name}:{line}:{column}: {sentence}")


def _read_json(text: str, name: str) -> Document:
    try:
        data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        if (document := _flow_yaml(text, name)) is not None:
            return document
        _refuse(name, error.lineno, error.colno, f"This is not JSON: {_lower(error.msg)}.")
    except (ValueError, RecursionError) as error:
        _refuse(name, 1, 1, f"This JSON cannot be taken: {_lower(str(error).split(';')[0])}.")
    if _LONE.search(json.dumps(data, ensure_ascii=False)):
        _refuse(name, 1, 1, f"A text in this JSON {_HALF}")
    return Document(name, data, _json_places(text, name))


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a JSON number")


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word[:40]} is too large a number")
    return number


def _flow_yaml(text: str, name: str) -> Document | None:
    """`text` as YAML in flow style (`{a: 1}`), None where it is not that either."""
    try:
        return _read_yaml(text, name)
    except InvalidInput:
        return None


def _json_places(text: str, name: str) -> dict[Path, Place]:
    """Where each path of `text`, which is known to be JSON, stands. InvalidInput for a key that comes twice."""
    places: dict[Path, Place] = {}
    tokens = _tokens(text, name)

    def value(token: str, path: Path, place: Place) -> None:
        places[path] = place
        if token == "{":
            members(path)
        elif token == "[":
            index = 0
            for token, place in tokens:
                if token == "]":
                    return
                if token != ",":
                    value(token, (*path, index), place)
                    index += 1

    def members(path: Path) -> None:
        seen: dict[str, Place] = {}
        for token, place in tokens:
            if token == "}":
                return
            if token == ",":
                continue
            word = json.loads(token)
            if word in seen:
                _refuse(name, *place, f"{word!r} stands twice here, first in line {seen[word][0]}. Keep one.")
            seen[word] = place
            next(tokens)  # the colon
            value(next(tokens)[0], (*path, word), place)

    value(*_first(tokens))
    return places


def _first(tokens: Iterator[tuple[str, Place]]) -> tuple[str, Path, Place]:
    token, place = next(tokens)
    return token, (), place


def _tokens(text: str, name: str) -> Iterator[tuple[str, Place]]:
    line, start, seen, depth = 1, 0, 0, 0
    for count, match in enumerate(_TOKEN.finditer(text)):
        token, at = match.group(), match.start()
        if newlines := text.count("\n", seen, at):
            line += newlines
            start = text.rindex("\n", seen, at) + 1
        seen = at
        depth += (token in "{[") - (token in "}]")
        if depth > MAX_DEPTH or count > 4 * MAX_VALUES:
            _refuse(name, line, at - start + 1, _TOO_MUCH)
        yield token, (line, at - start + 1)


def _read_yaml(text: str, name: str) -> Document:
    if len(text) > MAX_YAML_CHARACTERS:
        raise InvalidInput(
            f"{name}: the file has {len(text)} characters, more than {MAX_YAML_CHARACTERS} of YAML. "
            "Split it into several, or write JSON."
        )
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        if "\\t" in what:
            what = "YAML does not take tabs as indentation; use spaces"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        _refuse(name, line, column, f"{_upper(what)}.")
    except RecursionError:
        _refuse(name, 1, 1, _TOO_MUCH)
    except (YAMLError, ValueError) as error:
        _refuse(name, 1, 1, f"This is not YAML: {_lower(str(error).splitlines()[0])}.")
    if root is None:
        return Document(name, None)
    unfold = _Unfold(name)
    return Document(name, unfold.value(root, ()), unfold.places, unfold.tags)


class _Unfold:
    """Builds plain data from YAML nodes, counting what aliases unfold to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Path, Place] = {}
        self.tags: dict[Path, str] = {}
        self.count = 0
        self.merging: list[Node] = []

    def refuse(self, node: Node, sentence: str) -> NoReturn:
        _refuse(self.name, node.start_mark.line + 1, node.start_mark.column + 1, sentence)

    def value(self, node: Node, path: Path) -> object:
        self.count += 1
        if self.count > MAX_VALUES or len(path) > MAX_DEPTH:
            self.refuse(node, _TOO_MUCH)
        self.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.tags.pop(path, None)  # of a merged mapping, which this wins over
        if str(node.tag) in (RESET, OVERRIDE):
            self.tags[path] = str(node.tag)
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        """Its own keys win over merged ones (`<<`), and earlier merged mappings over later ones."""
        found: dict[str, object] = {}
        for source in reversed(self.merged(node)):
            found |= self.mapping_of(source, path)
        seen: dict[str, int] = {}
        for key, value in node.value:
            if str(key.tag) == _MERGE:
                continue
            if not isinstance(key, ScalarNode):
                self.refuse(key, "A key must be a plain word here.")
            word = self.text(key)
            line = key.start_mark.line + 1
            if word in seen:
                self.refuse(key, f"{word!r} stands twice here, first in line {seen[word]}. Keep one.")
            seen[word] = line
            found[word] = self.value(value, (*path, word))
            self.places[*path, word] = (line, key.start_mark.column + 1)
        return found

    def merged(self, node: MappingNode) -> list[Node]:
        sources = [value for key, value in node.value if str(key.tag) == _MERGE]
        return [
            each for source in sources for each in (source.value if isinstance(source, SequenceNode) else [source])
        ]

    def mapping_of(self, source: Node, path: Path) -> dict[str, object]:
        self.count += 1
        if not isinstance(source, MappingNode):
            self.refuse(source, "<< takes a mapping, or a list of mappings.")
        if self.count > MAX_VALUES or source in self.merging:
            self.refuse(source, _TOO_MUCH)
        self.merging.append(source)
        found = self.mapping(source, path)
        self.merging.pop()
        return found

    def text(self, node: Node) -> str:
        """As it is written."""
        text = str(node.value)
        if not text.isascii() and _LONE.search(text):
            self.refuse(node, f"A text here {_HALF}")
        return text

    def scalar(self, node: Node) -> object:  # noqa: RET503 (refuse never returns)
        text, tag = self.text(node), str(node.tag)
        if tag in (RESET, OVERRIDE):
            is_plain = getattr(node, "style", None) is None
            tag = str(YAML(typ="safe", pure=True).resolver.resolve(ScalarNode, text, (is_plain, True)))
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on", "y")
            case "int" | "float" as kind:
                number = _number(text, kind)
                if number is None:
                    self.refuse(node, f"{text[:40]!r} is not a number that can be taken.")
                return number
            case "str" | "timestamp" | "value" | "!":
                return text
        self.refuse(node, f"The tag {tag.removeprefix(_TAG)!r} is not taken here; write the plain value.")


def _number(text: str, kind: str) -> int | float | None:
    plain = text.replace("_", "")
    try:
        if kind == "int":
            return int(plain, _base(plain))
        number = float(plain)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _base(text: str) -> int:
    return 0 if text.lstrip("+-").lower().startswith(("0x", "0o", "0b")) else 10


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:].rstrip(".")


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")
