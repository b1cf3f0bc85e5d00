"""A part of a file's plain data comes in; its values come out key by key, and what is wrong is written down.

A Part remembers which keys were asked for. Whatever else stands there when it is closed is a fault with the
nearest key as a suggestion, so that nothing a user writes is silently dropped.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kato.language.document import Document, Path
from kato.language.interpolation import Lookup, TooMuch, interpolate
from kato.language.shape import closest
from kato.model.errors import Fault, InvalidApp, InvalidInput

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_MOST = 1e12


@dataclass(slots=True)
class Findings:
    """What is wrong or notable in one document, each with file:line:column. order: its files."""

    document: Document
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    order: Sequence[str] = ()

    def fault(self, path: Path, message: str) -> None:
        fault = Fault(self.document.where(path), f"{dotted(path)}: {message}" if path else message)
        if fault not in self.faults:
            self.faults.append(fault)

    def warn(self, path: Path, message: str) -> None:
        self.warnings.append(f"{self.document.where(path)}: {dotted(path)}: {message}")

    def settle(self) -> None:
        """Raises InvalidApp with every fault found so far, in the order of the files, if there is any."""
        if self.faults:
            raise InvalidApp(sorted(self.faults, key=lambda fault: self._place(fault.path)))

    def _place(self, where: str) -> tuple[int, ...]:
        name, *place = where.rsplit(":", 2)
        file = self.order.index(name) if name in self.order else len(self.order)
        return file, *(int(part) for part in place if part.isdecimal())


def dotted(path: Path) -> str:
    """A path as people write it: `services.web.ports[0]`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def interpolated(value: object, path: Path, findings: Findings, lookup: Lookup) -> object:
    """`value` with the variables in its texts replaced (keys stay). A variable that is not set is a warning."""
    if isinstance(value, dict):
        return {key: interpolated(each, (*path, key), findings, lookup) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, (*path, n), findings, lookup) for n, each in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return interpolate(value, lookup, lambda name: findings.warn(path, f"{name} is not set; it is left blank"))
    except TooMuch as error:
        raise InvalidInput(f"{findings.document.where(path)}: {error}.") from None
    except InvalidInput as error:
        findings.fault(path, f"{error}.")
        return value


def text_of(value: object) -> str | None:
    """A scalar as text, None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value) if isinstance(value, (str, int)) else None


class Part:
    """A mapping at `path`. Each method takes a key off it: None where it is absent, null, or wrong (a fault)."""

    def __init__(self, value: object, path: Path, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self.asked: list[str] = []
        if value is not None and not isinstance(value, dict):
            findings.fault(path, "must be a mapping (key: value)")
            value = None
        self.data: Mapping[str, object] = value or {}

    def fault(self, key: str, message: str) -> None:
        self.findings.fault((*self.path, key), message)

    def warn(self, key: str, message: str) -> None:
        self.findings.warn((*self.path, key), message)

    def raw(self, key: str) -> object:
        if key not in self.asked:
            self.asked.append(key)
        return self.data.get(key)

    def part(self, key: str) -> "Part | None":
        """None where the key is absent or null, an empty Part where it is no mapping (a fault)."""
        value = self.raw(key)
        return None if value is None else Part(value, (*self.path, key), self.findings)

    def text(self, key: str) -> str | None:
        value = self.raw(key)
        text = text_of(value)
        if value is not None and text is None:
            self.fault(key, "must be text")
        elif text and "\0" in text:
            self.fault(key, "must not contain the character NUL")
            return None
        return text

    def flag(self, key: str) -> bool | None:
        text = self.text(key)
        if text is not None and text.lower() not in ("true", "false"):
            self.fault(key, f"must be true or false, not {text!r}")
            return None
        return None if text is None else text.lower() == "true"

    def number(self, key: str, least: float = 0.0) -> float | None:
        return self._measure(key, _number, "a number", least)

    def whole(self, key: str, least: int = 0) -> int | None:
        number = self.number(key, least)
        if number is not None and not number.is_integer():
            self.fault(key, "must be a whole number")
            return None
        return None if number is None else int(number)

    def seconds(self, key: str, least: float = 0.0) -> float | None:
        """A duration such as `1m30s` or `500ms`, in seconds."""
        return self._measure(key, _seconds, "a duration such as 1m30s", least)

    def mib(self, key: str) -> float | None:
        """A size such as `512m` or `1.5gb`, or a number of bytes, in MiB."""
        return self._measure(key, _mib, "a size such as 512m", 0.0)

    def _measure(self, key: str, read: Callable[[str], float | None], what: str, least: float) -> float | None:
        text = self.text(key)
        if text is None:
            return None
        number = read(text.strip())
        if number is None or not least <= number <= _MOST:
            self.fault(key, f"must be {what}{f', {least:g} or more' if least else ''}; {text[:40]!r} is not")
            return None
        return number

    def items(self, key: str) -> Iterator[tuple[str, object, Path]]:
        """The items of a list: a name for messages, the item, its path."""
        value = self.raw(key)
        if value is not None and not isinstance(value, list):
            self.fault(key, "must be a list (- item)")
            return
        for n, item in enumerate(value or ()):
            yield f"{key}[{n}]", item, (*self.path, key, n)

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of texts; a single text counts as a list of one."""
        value = self.raw(key)
        if (single := text_of(value)) is not None:
            return (single,)
        found: list[str] = []
        for _, item, path in self.items(key):
            text = text_of(item)
            if text is None or "\0" in text:
                self.findings.fault(path, "must be text")
            else:
                found.append(text)
        return None if value is None else tuple(found)

    def pairs(self, key: str) -> dict[str, str | None]:
        """A mapping, or a list of KEY=value. A key without a value is None."""
        value = self.raw(key)
        if isinstance(value, dict):
            for name, each in value.items():
                if each is not None and text_of(each) is None:
                    self.findings.fault((*self.path, key, name), "must be text")
            return {name: text_of(each) for name, each in value.items()}
        found: dict[str, str | None] = {}
        for _, item, path in self.items(key):
            text = text_of(item)
            if not text:
                self.findings.fault(path, "must be text like KEY=value")
                continue
            name, equals, rest = text.partition("=")
            found[name] = rest if equals else None
        return found

    def close(self, refused: Mapping[str, str] | None = None) -> None:
        """Every key not asked for is a fault; `refused` says why a known one is not taken. x-… is free."""
        for key in self.data:
            if key in self.asked or (key.startswith("x-") and key != "x-kato"):
                continue
            if refused and key in refused:
                self.fault(key, refused[key])
            else:
                self.fault(key, f"{key!r} is not a key that is taken here.{closest(key, self.asked)}")


def external(part: Part) -> tuple[bool, str | None]:
    """Whether a resource was made elsewhere, and its name there. `external: {name: x}` is the old form of both."""
    name = part.text("name")
    if isinstance(part.raw("external"), dict):
        old = Part(part.raw("external"), (*part.path, "external"), part.findings)
        name = old.text("name") or name
        old.close()
        return True, name
    return part.flag("external") is True, name


def split_pairs(part: Part, key: str, between: str) -> Iterator[tuple[str, str]]:
    """A mapping, or a list of texts that `between` or `=` divides."""
    raw = part.raw(key)
    if isinstance(raw, dict):
        yield from ((str(word), text_of(value) or "") for word, value in raw.items())
        return
    for word in part.words(key) or ():
        left, sign, right = word.partition("=" if "=" in word else between)
        if sign:
            yield left, right
        else:
            part.fault(key, f"{word!r} must be like NAME{between}VALUE")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _seconds(text: str) -> float | None:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return 0.0 if text == "0" else None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _mib(text: str) -> float | None:
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    return round(float(match.group(1)) * _BYTES[match.group(2).lower()] / (1 << 20), 3)
