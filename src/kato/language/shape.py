"""Plain JSON data comes in; every fault in its shape comes out: wrong types, missing and unknown keys.

The schema is msgspec's of the model, plus the old words that Marathon still takes (`uris`, `ports`,
`docker.network` …). msgspec itself would name only the first fault.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from kato.model.app import App, Group
from kato.model.errors import Fault, InvalidApp

Schema = dict[str, Any]
Steps = Sequence[str | int]

_TEXT: Schema = {"type": "string"}
_PORT: Schema = {"type": "integer"}
_OLD_APP: Schema = {
    "uris": {"type": "array", "items": _TEXT},
    "ports": {"type": "array", "items": _PORT},
    "ipAddress": {"$ref": "#/$defs/IpAddress"},
}
_OLD_DOCKER: Schema = {
    "network": {"enum": ["BRIDGE", "HOST", "NONE", "USER"]},
    "portMappings": {"type": "array", "items": {"$ref": "#/$defs/PortMapping"}},
    "credential": {"type": "object"},
}
_OLD_DEFINITIONS: Schema = {
    "IpAddress": {
        "type": "object",
        "properties": {
            "discovery": {"$ref": "#/$defs/IpDiscovery"},
            "groups": {"type": "array"},
            "labels": {"type": "object", "additionalProperties": _TEXT},
            "networkName": _TEXT,
        },
    },
    "IpDiscovery": {
        "type": "object",
        "properties": {"ports": {"type": "array", "items": {"$ref": "#/$defs/IpDiscoveryPort"}}},
    },
    "IpDiscoveryPort": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "number": _PORT,
            "name": _TEXT,
            "protocol": {"enum": ["tcp", "udp", "udp,tcp"]},
            "labels": {"type": "object", "additionalProperties": _TEXT},
        },
    },
}
_GROUP_ONLY: Schema = {"scaleBy": {"type": "number"}}
_STEP = re.compile(r"\((\d{1,9})\)|([^/()]+)")
_KINDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


class Malformed(InvalidApp):
    """The JSON has not the shape of an app or group (Marathon answers such with `Invalid JSON`)."""


def app_faults(data: object, *, strict: bool) -> list[Fault]:
    """Every fault in the shape of one app's JSON; `strict` counts unknown keys too."""
    return _faults("App", data, strict)


def group_faults(data: object, *, strict: bool) -> list[Fault]:
    """Every fault in the shape of a group's JSON, its apps and groups included."""
    return _faults("Group", data, strict)


def written(steps: Iterable[str | int]) -> str:
    """A path in Marathon's manner: `/healthChecks(0)/path`, `(0)/cpus`; `/` for the whole."""
    return "".join(f"({step})" if isinstance(step, int) else f"/{step}" for step in steps) or "/"


def steps(path: str) -> tuple[str | int, ...]:
    """The opposite of `written`. A key that itself has a slash or parenthesis comes out in pieces."""
    found = _STEP.findall(path)
    return tuple(int(index) if index else key for index, key in found if index or key)


def plain(data: object) -> object:
    """`data` without nulls, for absent and null are one in Marathon, and with 33.0 as the 33 that it is."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [plain(value) for value in data]
    if isinstance(data, float) and data.is_integer():
        return int(data)
    return data


def closest(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or nothing where no word is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def _faults(kind: str, data: object, strict: bool) -> list[Fault]:
    try:
        errors = list(_validator(kind, strict).iter_errors(data))
    except (ValueError, OverflowError, RecursionError) as error:
        deep = isinstance(error, RecursionError) or "recursion" in str(error).lower()
        return [Fault("/", "is nested too deep" if deep else f"this JSON cannot be taken: {error}")]
    return [fault for error in errors for fault in _sentences(error)]


@cache
def _validator(kind: str, strict: bool) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{kind}", "$defs": _definitions(strict)})


@cache
def _definitions(strict: bool) -> Schema:
    _, defs = msgspec.json.schema_components((App, Group), schema_hook=lambda _type: {"title": "anything"})
    add_old_words(defs)
    return {name: _settled(each, strict) for name, each in defs.items()}


def add_old_words(definitions: dict[str, Schema], **mark: bool) -> None:
    """Adds what Marathon still takes to msgspec's schema of the model. mark: said of each old word."""
    definitions |= _OLD_DEFINITIONS
    for name, words in (("App", _OLD_APP), ("Docker", _OLD_DOCKER), ("Group", _GROUP_ONLY)):
        definitions[name]["properties"] |= {word: {**schema, **mark} for word, schema in words.items()}
    definitions["Group"]["required"] = []  # the place where a group stands names it too


def _settled(node: Any, strict: bool) -> Any:
    """A schema without `null` (nulls are gone by now) and, where strict, without room for unknown keys."""
    if isinstance(node, list):
        return [_settled(each, strict) for each in node]
    if not isinstance(node, dict):
        return node
    out = {key: _settled(value, strict) for key, value in node.items()}
    options = [each for each in out.pop("anyOf", ()) if each != {"type": "null"}]
    if len(options) == 1:
        out |= options[0]
    elif options:
        out["anyOf"] = options
    if strict and isinstance(out.get("properties"), dict):
        out["additionalProperties"] = False
    return out


def _sentences(error: jsonschema_rs.ValidationError) -> Iterator[Fault]:
    """One error of the validator as faults that a person can act on."""
    at = list(error.instance_path)
    detail = error.kind.as_dict()
    match error.kind.name:
        case "type":
            kinds = " or ".join(_KINDS.get(each, each) for each in detail["types"])
            yield Fault(written(at), f"must be {kinds}, not {_shown(error.instance)}")
        case "enum":
            options = [str(each) for each in detail["options"]]
            near = closest(str(error.instance), options)
            yield Fault(written(at), f"must be one of {', '.join(options)}, not {_shown(error.instance)}.{near}")
        case "required":
            yield Fault(written([*at, detail["property"]]), "is missing")
        case "additionalProperties":
            known = _definitions(True)[str(list(error.schema_path)[1])]["properties"]
            for key in detail["unexpected"]:
                yield Fault(written([*at, key]), f"{key!r} is not a key here.{closest(key, known)}")
        case "anyOf":
            yield Fault(written(at), f"{_alternatives(at)}, not {_shown(error.instance)}")
        case _:
            yield Fault(written(at), error.message)


def _alternatives(at: Steps) -> str:
    match at[0] if len(at) == 1 else next((each for each in reversed(at[:-1]) if isinstance(each, str)), ""):
        case "env":
            return 'must be text or {"secret": "name"}'
        case "resourceLimits":
            return 'must be a number or "unlimited"'
        case "unreachableStrategy":
            return 'must be "disabled" or have inactiveAfterSeconds and expungeAfterSeconds'
    return "has the wrong type"


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = msgspec.json.encode(value).decode() if not isinstance(value, int) else str(value)[:40].lower()
    return text if len(text) <= 60 else text[:59] + "…"
