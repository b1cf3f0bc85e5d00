"""Variables in Compose's manner, and env files in Compose's format."""

from collections.abc import Mapping

import pytest

from kato.language.dotenv import read_env
from kato.language.interpolation import interpolate
from kato.model.errors import InvalidInput

ENV: Mapping[str, str] = {"SET": "value", "EMPTY": "", "lower_1": "low"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b$SET-c", "avaluebvalue-c"),
        ("$lower_1", "low"),
        ("$$SET", "$SET"),
        ("$$$SET", "$value"),
        ("a $1 $ $(x) $", "a $1 $ $(x) $"),
        ("${UNSET:-$}", "$"),
        ("$${SET}", "${SET}"),
        ("[$UNSET]", "[]"),
        ("${UNSET:-x}${UNSET-y}", "xy"),
        ("${EMPTY:-x}[${EMPTY-y}]", "x[]"),
        ("${SET:-x}${SET-y}", "valuevalue"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:b/c d}", "a:b/c d"),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-${EMPTY:-${SET:-n}}}!", "value!"),
        ("${UNSET:-$$}", "$"),
        ("${UNSET:-a}b}", "ab}"),
        ("${SET:+x}${SET+y}", "xy"),
        ("[${EMPTY:+x}${EMPTY+y}]", "[y]"),
        ("[${UNSET:+x}${UNSET+y}]", "[]"),
        ("${SET:?why}${SET?why}", "valuevalue"),
        ("[${EMPTY?why}]", "[]"),
    ],
)
def test_interpolation(text: str, expected: str) -> None:
    assert interpolate(text, ENV.get) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET?say so}", "the variable UNSET is not set: say so"),
        ("${EMPTY:?say so}", "the variable EMPTY is not set: say so"),
        ("${UNSET?}", "the variable UNSET is not set: it is required"),
        ("${UNSET:?$SET}", "the variable UNSET is not set: value"),
        ("${", "is not closed"),
        ("${1A}", "${1A} is no variable"),
        ("${A!}", "${A!} is no variable"),
        ("${}", "${} is no variable"),
        ("${A:-" * 100 + "}" * 100, "is not closed"),
    ],
)
def test_interpolation_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        interpolate(text, ENV.get)
    assert message in str(caught.value)


def test_names_that_are_not_set_are_told_once_each_time_they_are_blank() -> None:
    unset: list[str] = []
    interpolate("$A ${B} ${C:-c} ${D-d} ${E+e}", ENV.get, unset.append)
    assert unset == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# only\n\n   # comments", {}),
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("  A = 1  ", {"A": "1"}),
        ("A: 1", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("export\tA=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=one two # not this", {"A": "one two"}),
        ("A=one#two", {"A": "one#two"}),
        ("A=# nothing", {"A": ""}),
        ("A='one # $SET \\n'", {"A": "one # $SET \\n"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A="one # $SET" # not this', {"A": "one # value"}),
        ('A="a\\nb\\t\\"c\\" \\\\ \\q"', {"A": 'a\nb\t"c" \\ \\q'}),
        ('A="\\$SET $$SET"', {"A": "$SET $SET"}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A='two\nlines'", {"A": "two\nlines"}),
        ("A=1\nB=${A}2\nC=$B", {"A": "1", "B": "12", "C": "12"}),
        ("A=${NONE:-d}", {"A": "d"}),
        ("SET\nNONE\nA=1", {"SET": "value", "A": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ("a.b-c=1", {"a.b-c": "1"}),
        ("A=x=y", {"A": "x=y"}),
    ],
)
def test_env_file(text: str, expected: dict[str, str]) -> None:
    assert read_env(text, ".env", ENV.get) == expected


def test_the_environment_wins_over_earlier_lines() -> None:
    assert read_env("SET=file\nA=$SET", ".env", ENV.get) == {"SET": "file", "A": "value"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n\n=2", ".env:3: '=2' is no variable; "),
        ("A=1\nB C", ".env:2: 'B C' is no variable; "),
        ("1A=2", ".env:1: '1A=2' is no variable; "),
        ("A='x", ".env:1: A: the ' is not closed; "),
        ('A=1\nB="x', '.env:2: B: the " is not closed; '),
        ('A="x" y', ".env:1: A: ' y' follows the closing \"; "),
        ("A=${", ".env:1: A: a '${' is not closed; "),
        ("A=${B:?tell}", ".env:1: A: the variable B is not set: tell"),
    ],
)
def test_env_file_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_env(text, ".env", ENV.get)
    assert str(caught.value).startswith(message)


def test_a_message_shows_no_value() -> None:
    with pytest.raises(InvalidInput) as caught:
        read_env("PASSWORD=hunter2${secret", ".env", ENV.get)
    assert "hunter2" not in str(caught.value) and "secret" not in str(caught.value)
