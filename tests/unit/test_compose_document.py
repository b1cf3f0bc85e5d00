"""YAML and JSON become plain data with a line for every path; what is broken or too much is refused."""

import json

import pytest

from kato.language.document import MAX_CHARACTERS, MAX_YAML_CHARACTERS, read_document
from kato.model.errors import InvalidInput

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", None),
        ("# nothing", None),
        ("[true, null]", [True, None]),
        ("a: [true, false, null, ~, 1.5, 0x10, 0o10, 1_000]", {"a": [True, False, None, None, 1.5, 16, 8, 1000]}),
        ('{"a": 1,}', {"a": 1}),
        ("a: yes\nb: 017\nc: 12:30\nd: 2020-01-01", {"a": "yes", "b": 17, "c": "12:30", "d": "2020-01-01"}),
        ("1: a\ntrue: b", {"1": "a", "true": "b"}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}]}", {"a": {"b": 1, "c": 2}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ('{"a": [1, 2.5, null, true, "\\u00e9"]}', {"a": [1, 2.5, None, True, "é"]}),
        ('\ufeff {"a":\t1}', {"a": 1}),
        ("[]", []),
        ("%YAML 1.1\n---\na: yes\n", {"a": True}),
    ],
)
def test_data(text: str, data: object) -> None:
    assert read_document(text, "f").data == data


def test_places_of_yaml() -> None:
    document = read_document("a: 1\nb:\n  - x\n  - {c: 2}\nd: &d {e: 1}\nf: {<<: *d, g: 2}\n", "f.yaml")
    places = {("a",): "1:1", ("b",): "2:1", ("b", 0): "3:5", ("b", 1): "4:5", ("b", 1, "c"): "4:6"}
    places |= {("f", "e"): "5:8", ("f", "g"): "6:13"}
    assert {path: document.where(path) for path in places} == {path: f"f.yaml:{at}" for path, at in places.items()}


def test_places_of_json() -> None:
    document = read_document('{"a": 1,\n "b": [[], {"c}": "x,]"},\n\t2], "d": {}}', "f.json")
    places = {("a",): "1:2", ("b",): "2:2", ("b", 0): "2:8", ("b", 1): "2:12", ("b", 1, "c}"): "2:13"}
    places |= {("b", 2): "3:2", ("d",): "3:6"}
    assert {path: document.where(path) for path in places} == {path: f"f.json:{at}" for path, at in places.items()}


def test_a_path_that_is_not_there_is_where_the_nearest_part_is() -> None:
    document = read_document("a:\n  b: 1\n", "f")
    assert document.where(("a", "b", "c", 3)) == "f:2:3"
    assert document.where(("z",)) == "f:1:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: 'a' stands twice here, first in line 1."),
        ('{"a": 1,\n"a": 2}', "f:2:1: 'a' stands twice here, first in line 1."),
        ("a:\n\t- b\n", "f:2:1: YAML does not take tabs as indentation; use spaces."),
        ("a: [1,\n", "f:2:1: While parsing a flow node expected the node content"),
        ("a: b: c", "f:1:5: Mapping values are not allowed here"),
        ("a: *b", "f:1:4: Found undefined alias 'b'"),
        ("--- 1\n--- 2\n", "f:2:1: "),
        ("a: \x00", "f:1:1: This is not YAML: unacceptable character #x0000"),
        ("a: !!python/object:os.system x", "f:1:4: The tag 'python/object:os.system' is not taken here"),
        ("a: !!int x", "f:1:4: 'x' is not a number"),
        ("a: .nan", "f:1:4: '.nan' is not a number"),
        ("a: " + "9" * 5000, "f:1:4: '99999999"),
        ("? [a]\n: 1", "f:1:3: A key must be a plain word here."),
        ("a: {<<: 3}", "f:1:9: << takes a mapping"),
        ('{"a": NaN}', "f:1:1: This JSON cannot be taken: "),
        ('{"a": 1e999}', "f:1:1: This JSON cannot be taken: 1e999 is too large a number"),
        ('["\\ud800"]', "f:1:1: A text in this JSON has half of a surrogate pair"),
        ("[" + "9" * 5000 + "]", "f:1:1: This JSON cannot be taken: exceeds the limit"),
        ("&a [*a]", "f:1:1: The document is nested too deep or unfolds into too much"),
        ("a: &a\n  <<: *a\n", "f:1:4: The document is nested too deep or unfolds into too much"),
        ("[" * 200 + "]" * 200, "f:1:101: The document is nested too deep"),
        ("[" * 5000, "f:1:"),
        ("- " * 5000, "f:1:1: "),
        (BOMB, "f:1:"),
        (MERGE_BOMB, "f:1:"),
        ("a" * (MAX_CHARACTERS + 1), "f: the file has 8000001 characters"),
        ("a" * (MAX_YAML_CHARACTERS + 1), "f: the file has 1000001 characters"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_document(text, "f")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_json_comma_is_named_by_the_json_reader_where_yaml_cannot_read_it_either() -> None:
    with pytest.raises(InvalidInput, match="f:1:9: This is not JSON: expecting ',' delimiter"):
        read_document('{"a": 1 "b": 2}', "f")


def test_places_cover_every_path_of_a_large_json() -> None:
    data = {"apps": [{"id": f"/a{n}", "env": {"K": "v"}} for n in range(500)]}
    document = read_document(json.dumps(data, indent=1), "f")
    assert document.where(("apps", 499, "env", "K")) == f"f:{3 + 499 * 6 + 3}:5"
