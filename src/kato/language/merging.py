"""Two parts of a Compose project come in, an earlier and a later one; what both say together comes out.

The rules are the Compose Specification's (Merge and override): mappings are merged, lists appended, and commands
replaced; lists of KEY=value, and resources that exist once (a port, the target of a mount), are told by their key.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from kato.language.document import OVERRIDE, RESET
from kato.language.merging_keys import device, env_file, key_of, mounted, port, subnet, word
from kato.language.pieces import Piece

Path = tuple[str, ...]
Clash = Callable[[Piece, Path, str], None]
"""Told of a part that cannot be merged, its path, and why."""
Rule = Callable[[Piece, Piece, Path, Clash], Piece]
Key = Callable[[Piece], object]


def merge(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    """What `base` becomes under `over`, which was written later. path: of both, in the project."""
    if over.tag in (RESET, OVERRIDE) or base.tag == RESET:
        return over
    if (rule := _rule(path)) is not None:
        return rule(base, over, path, clash)
    if over.value is None:
        return base
    if base.value is None:
        return over
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return _mappings(base, over, path, clash)
    if isinstance(base.value, list) and isinstance(over.value, list):
        return replace(over, value=[*base.value, *over.value])
    if isinstance(base.value, (dict, list)) or isinstance(over.value, (dict, list)):
        clash(over, path, f"is {_kind(over)} here and {_kind(base)} in {base.where}; write both alike")
    return over


def _kind(piece: Piece) -> str:
    return {"dict": "a mapping", "list": "a list"}.get(type(piece.value).__name__, "a plain value")


def _mappings(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    found = dict(base.members)
    for key, later in over.members.items():
        earlier = found.get(key)
        found[key] = later if earlier is None else merge(earlier, later, (*path, key), clash)
    return replace(over, value=found)


def _replaced(base: Piece, over: Piece, _path: Path, _clash: Clash) -> Piece:
    return over if over.value is not None else base


def _limits(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    """A limit as one number and one as soft and hard do not mix: the later one stands."""
    both = isinstance(base.value, dict) and isinstance(over.value, dict)
    return _mappings(base, over, path, clash) if both else _replaced(base, over, path, clash)


def _pairs(base: Piece, over: Piece, _path: Path, _clash: Clash) -> Piece:
    """Maps, and lists of KEY=value: by their keys. A key without a value wins too: it means the environment."""
    if over.value is None:
        return base
    if not isinstance(base.value, (dict, list)) or not isinstance(over.value, (dict, list)):
        return over
    if isinstance(base.value, list) and isinstance(over.value, list):
        return replace(over, value=_united(base.value, over.value, word))
    return replace(over, value={**_as_map(base), **_as_map(over)})


def _hosts(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    """HOST:ADDRESS or HOST=ADDRESS, or a mapping. A host may have several addresses in a list."""
    if isinstance(base.value, list) and isinstance(over.value, list):
        known = [item.text for item in base.items]
        return replace(over, value=[*base.items, *(item for item in over.items if item.text not in known)])
    return _pairs(base, over, path, clash)


def _as_map(piece: Piece) -> dict[str, Piece]:
    if isinstance(piece.value, dict):
        return piece.members
    found: dict[str, Piece] = {}
    for item in piece.items:
        text = item.text or ""
        key, sign, value = text.partition("=" if "=" in text else ":")
        found[key] = replace(item, value=value if sign else None)
    return found


def _named(usual: dict[str, object] | None) -> Rule:
    """A list of names, or a mapping from them. usual: what a name in a list stands for."""

    def rule(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
        if over.value is None:
            return base
        return _mappings(spread(base), spread(over), path, clash)

    def spread(piece: Piece) -> Piece:
        if not isinstance(piece.value, list):
            return piece
        return replace(
            piece,
            value={
                item.text or "": replace(
                    item, value=None if usual is None else {k: item.of(v) for k, v in usual.items()}
                )
                for item in piece.items
            },
        )

    return rule


def _list_of(key: Key) -> Rule:
    """A list, or one item alone, in which each key stands once: the later one, in the place of the earlier."""

    def rule(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
        if over.value is None:
            return base
        if isinstance(base.value, dict) or isinstance(over.value, dict):
            clash(over, path, f"is {_kind(over)} here and {_kind(base)} in {base.where}; write lists")
            return over
        return replace(over, value=_united(listed(base), listed(over), key))

    def listed(piece: Piece) -> list[Piece]:
        return piece.items if isinstance(piece.value, list) else [piece] if piece.value is not None else []

    return rule


def _united(base: Iterable[Piece], over: Iterable[Piece], key: Key) -> list[Piece]:
    """Only what an earlier file has gives way: what one file says twice is for its reader to judge."""
    found = list(base)
    places = {key(item): n for n, item in enumerate(found) if key(item) is not None}
    for item in over:
        known = key(item)
        if (at := places.pop(known, None)) is not None:
            found[at] = item
        else:
            found.append(item)
    return found


def _build(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    """A text is the context."""

    def long(piece: Piece) -> Piece:
        return replace(piece, value={"context": replace(piece, tag="")}) if piece.text is not None else piece

    return base if over.value is None else _mappings(long(base), long(over), path, clash)


def _logging(base: Piece, over: Piece, path: Path, clash: Clash) -> Piece:
    """Options go only with their own driver."""
    if over.value is None:
        return base
    drivers = {key_of(each, "driver") for each in (base, over)} - {None}
    return over if len(drivers) > 1 else _mappings(base, over, path, clash)


_WORDS = _list_of(word)
_SERVICE: dict[str, Rule] = {
    **dict.fromkeys(("command", "entrypoint", "healthcheck.test", "x-kato.host"), _replaced),
    **dict.fromkeys(
        ("annotations", "build.additional_contexts", "build.args", "build.labels", "deploy.labels", "environment",
         "labels", "sysctls"),
        _pairs,
    ),
    **dict.fromkeys(("extra_hosts", "build.extra_hosts"), _hosts),
    **dict.fromkeys(
        ("build.tags", "cap_add", "cap_drop", "dns", "dns_opt", "dns_search", "expose", "label_file", "links",
         "networks.*.aliases", "networks.*.link_local_ips", "profiles", "tmpfs"),
        _WORDS,
    ),
    "build": _build,
    "configs": _list_of(mounted("/")),
    "depends_on": _named({"condition": "service_started", "required": True}),
    "devices": _list_of(device),
    "env_file": _list_of(env_file),
    "logging": _logging,
    "models": _named(None),
    "networks": _named(None),
    "ports": _list_of(port),
    "secrets": _list_of(mounted("/run/secrets/")),
    "ulimits.*": _limits,
    "volumes": _list_of(mounted("")),
}  # fmt: skip
RULES: dict[Path, Rule] = {
    **{("services", "*", *key.split(".")): rule for key, rule in _SERVICE.items()},
    ("networks", "*", "labels"): _pairs,
    ("volumes", "*", "labels"): _pairs,
    ("networks", "*", "ipam", "config"): _list_of(subnet),
}
"""What is not merged as its form says: path, with `*` for any name, → how."""


def _rule(path: Path) -> Rule | None:
    if len(path) < 3:
        return None
    known = (path[0], "*", *path[2:])
    if len(path) > 3 and known[:3] in (("services", "*", "networks"), ("services", "*", "ulimits")):
        known = (*known[:3], "*", *known[4:])
    return RULES.get(known)
