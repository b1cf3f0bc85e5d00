"""docs/compose.md says of every key of the Compose Specification what becomes of it: each row is tried."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from compose_keys import file_with, keys, text_of, without
from kato.language import Manifest, read, refusals
from kato.model.errors import InvalidApp, InvalidInput

ROOT = Path(__file__).parents[2]
TABLES = {
    "A file": "",
    "A service": "services.*.",
    "`build`": "services.*.build.",
    "`deploy`": "services.*.deploy.",
    "A network": "networks.*.",
    "A volume": "volumes.*.",
    "A secret": "secrets.*.",
    "A config": "configs.*.",
}
FILES = {
    "/srv/shop/a.env": "A='b'",
    "/srv/shop/common.yaml": "services: {other: {command: [y], labels: {of: common}}}",
    "/srv/shop/inc.yaml": "services: {inc: {command: ['${A-none}'], env_file: {path: a.env, required: false}}}",
}
AS_IF_UNSAID = {
    "services.*.ports[].host_ip": "loopback is where the balancer listens",
    "services.*.ports[].mode": "ingress is the default",
    "services.*.ports[].protocol": "tcp is the default",
    "services.*.volumes[].type": "without it the kind of volume is not known",
    "services.*.volumes[].bind": "a folder is made where it is missing",
    "services.*.volumes[].bind.create_host_path": "a folder is made where it is missing",
    "services.*.networks.*.priority": "one network alone has no order",
    "services.*.depends_on.*.required": "what is there is depended on",
    "services.*.env_file[].required": "the file is there",
    "services.*.build.context": "a service without one has nothing to build",
    "services.*.secrets[].target": "it is where it is anyway",
    "networks.*.driver": "bridge is the default",
    "volumes.*.driver": "local is the default",
}
"""Keys that are kept, whose smallest file means the same without them, and why."""


class Row(NamedTuple):
    """What the page says of a key: in a container, as a process."""

    container: str
    process: str


def rows() -> Iterator[tuple[str, Row]]:
    prefix = None
    for line in (ROOT / "docs" / "compose.md").read_text().splitlines():
        if line.startswith("#"):
            prefix = TABLES.get(line.lstrip("# "))
        elif prefix is not None and line.startswith("| `"):
            named, *states = (cell.strip() for cell in line.strip("|").split(" | "))
            process = states[1] if prefix == "services.*." else states[0]
            for key, below in re.findall(r"`([^`]+)`( and below)?", named):
                yield prefix + key, Row(states[0], process)
                for each in keys() if below else ():
                    if each.startswith((f"{prefix}{key}.", f"{prefix}{key}[]")):
                        yield each, Row(states[0], process)


MATRIX = dict(rows())


def test_the_matrix_has_every_key_of_the_specification_once_and_no_other() -> None:
    found = [key for key, _ in rows()]
    assert sorted(found) == sorted(set(found))
    assert set(found) == set(keys())


def manifest(text: str) -> Manifest:
    return read(text, path="/srv/shop/compose.yaml", environ={"V": "v"}, files=FILES.get)


def outcome(key: str, *, process: bool) -> str:
    """What becomes of the smallest file with a key. Its faults and warnings must name its line, and it."""
    data = file_with(key, process=process)
    text = text_of(data)
    names = {re.sub(r"\W", "", word) for word in key.split(".")} | {"type"}
    at = [n for n, line in enumerate(text.splitlines(), 1) if _first(key) in line.split(":")[0].split()]
    try:
        found = manifest(text)
    except InvalidApp as error:
        for fault in error.faults:
            assert int(fault.path.split(":")[1]) in at, f"{fault} of\n{text}"
            assert names & set(re.split(r"\W+", fault.message)), fault
        return "refused"
    for warning in found.warnings:
        assert int(warning.split(":")[1]) in at and names & set(re.split(r"\W+", warning)), warning
    if found.warnings:
        return "warned"
    return "silent" if key not in AS_IF_UNSAID and _same_without(data, key, found) else "done"


def _first(key: str) -> str:
    """The key that begins a line: of a service its own, else that of the file."""
    steps = key.split(".")
    return re.sub(r"\W", "", steps[2] if steps[0] == "services" and len(steps) > 2 else steps[0])


def _same_without(data: dict[str, object], key: str, found: Manifest) -> bool:
    try:
        return manifest(text_of(without(data, key))) == found
    except InvalidInput:
        return False


@pytest.mark.parametrize("key", MATRIX)
def test_each_key_becomes_what_the_matrix_says(key: str) -> None:
    said = MATRIX[key]
    assert outcome(key, process=False) == said.container
    if key.startswith("services.*.") and not key.startswith("services.*.build."):
        assert outcome(key, process=True) == said.process


def test_every_key_that_the_code_knows_is_in_the_matrix() -> None:
    known = {word for key in MATRIX for word in re.split(r"[.\[\]*]+", key) if word}
    page = (ROOT / "docs" / "compose.md").read_text()
    kato = set(re.findall(r"[a-z_]+", page[page.index("## x-kato") : page.index("## How a container runs")]))
    for name in ("WARNED", "WARNED_CONTAINER", "REFUSED", "REFUSED_CONTAINER", "NEEDS_DAEMON", "REFUSED_PROJECT"):
        assert set(getattr(refusals, name)) - {"x-kato"} <= known, name
    asked = set(_asked())
    assert {"image", "healthcheck", "create_host_path", "runtime"} <= asked
    assert asked - known - kato - {"x-kato"} == set()


def _asked() -> Iterator[str]:
    """Every key that a reader of Compose files takes off a part, as its source says."""
    takes = ("raw", "part", "text", "flag", "number", "whole", "seconds", "mib", "items", "words", "pairs")
    for path in [*(ROOT / "src/kato/language").glob("service*.py"), ROOT / "src/kato/language/compose.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            first = node.args[0]
            if node.func.attr in takes and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
