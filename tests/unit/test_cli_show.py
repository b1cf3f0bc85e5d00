"""Listings: tables, JSON, YAML, and what the live view says of tasks."""

import json
import sys
from typing import Any

import pytest
from ruamel.yaml import YAML

from kato.cli.printing.live import changes, failures, rows
from kato.cli.printing.show import cell, listing
from kato.cli.views.listing import app_row, remarks, task_row
from kato.cli.views.logs import Lines
from kato.client import LogPiece
from kato.config import debugging, plain_output


def an_app(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An app as `/v1/apps` tells of it."""
    base = {
        "id": "/voting/vote",
        "state": "healthy",
        "wished": 1,
        "healthy": 1,
        "settled": True,
        "deployment": None,
        "cpus": 0.5,
        "mem": 64.0,
        "ports": [10001],
        "version": "2026-01-02T00:00:00.000Z",
        "checked": True,
        "failure": None,
        "problems": [],
    }
    return {**base, "tasks": list(tasks), **more}


def a_task(attempt: int = 1, state: str = "healthy", *, current: bool = True) -> dict[str, Any]:
    return {
        "id": f"voting_vote.instance-x._app.{attempt}",
        "short": f"voting_vote.{attempt}",
        "attempt": attempt,
        "state": state,
        "current": current,
        "serves": state == "healthy",
        "checks": "healthy",
        "health": None,
        "node": "n1",
        "pid": 4000 + attempt,
        "ports": [31000 + attempt],
        "started": 1_800_000_000.0,
        "version": "2026-01-02T00:00:00.000Z",
    }


def test_the_view_has_a_row_a_task_and_says_why_one_misses() -> None:
    app = an_app(a_task(1, current=False), a_task(3, "running"), a_task(12), wished=3)
    found = rows([app], {"/voting/vote": "needs 4 cpus: 1 node"})
    assert [(row.task, row.state, row.note) for row in found] == [
        (".1", "healthy", "the former version"),
        (".3", "running", ":31003"),
        (".12", "healthy", ":31012"),
        ("", "waiting", "needs 4 cpus: 1 node"),
    ]


def test_without_a_terminal_the_view_says_only_what_changed() -> None:
    before = rows([an_app(a_task(1, "running"), wished=2)], {})
    after = rows([an_app(a_task(1), a_task(2, "running"), wished=2)], {})
    lines = changes({row.key: row for row in before}, after, {})
    assert [line.split() for line in lines] == [
        ["/voting/vote.1", "healthy", ":31001"],
        ["/voting/vote.2", "running", ":31002"],
    ]
    assert changes({row.key: row for row in after}, after, {}) == []


def test_how_far_a_pull_is_moves_on_a_terminal_and_is_one_line_without() -> None:
    app = an_app(a_task(1, "starting"), a_task(2, "running"), wished=3)
    before = rows([app], {"/voting/vote": "its image is awaited"}, {"/voting/vote": "pulling vote:1, 34 MB of 80"})
    assert [(row.task, row.note) for row in before] == [
        (".1", "pulling vote:1, 34 MB of 80"),
        (".2", ":31002"),
        ("", "pulling vote:1, 34 MB of 80"),
    ]
    after = rows([app], {}, {"/voting/vote": "pulling vote:1, 41 MB of 80"})
    assert len(changes({}, before, {})) == 3
    assert changes({row.key: row for row in before}, after, {}) == []
    other = rows([app], {}, {"/voting/vote": "pulling vote:2, 1 MB of 80"})
    assert len(changes({row.key: row for row in before}, other, {})) == 2


def test_a_task_that_has_gone_says_how() -> None:
    app = an_app(a_task(1), a_task(2), wished=2)
    ends = failures([{**app, "failure": {"task": app["tasks"][1]["id"], "message": "killed by SIGKILL"}}])
    lines = changes({row.key: row for row in rows([app], {})}, [], ends)
    assert [" ".join(line.split()) for line in lines] == [
        "/voting/vote.1 gone",
        "/voting/vote.2 gone killed by SIGKILL",
    ]


ROWS = [app_row(an_app(a_task()), ["http://vote.localhost:8181/"])]


def test_a_task_is_listed_with_what_keeps_it() -> None:
    row = task_row({**a_task(3, "unhealthy"), "checks": "unhealthy", "health": "refused"}, "/voting/vote")
    assert (row["task"], row["state"], row["health"]) == ("voting_vote.3", "unhealthy", "unhealthy: refused")
    assert task_row(a_task(), "/voting/vote")["health"] == "healthy"
    assert row["pid"] == 4003
    assert task_row({**a_task(state="running"), "checks": None}, "/voting/vote")["health"] is None
    assert row["started"] == "2027-01-15T08:00:00.000Z" and row["app"] == "/voting/vote"
    assert task_row({**a_task(), "started": None}, "/voting/vote")["started"] is None


def test_a_table_is_aligned_and_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    listing([*ROWS, {"app": "/x", "state": "waiting"}], ["app", "state", "tasks", "urls"], "table", empty="-")
    assert capsys.readouterr().out.splitlines() == [
        "APP           STATE    TASKS  URLS",
        "/voting/vote  healthy  1/1    http://vote.localhost:8181/",
        "/x            waiting  -      -",
    ]


def test_json_and_yaml_hold_all(capsys: pytest.CaptureFixture[str]) -> None:
    listing(ROWS, ["app"], "json", empty="-")
    from_json = json.loads(capsys.readouterr().out)
    listing(ROWS, ["app"], "yaml", empty="-")
    from_yaml = YAML(typ="safe").load(capsys.readouterr().out)
    assert from_json == from_yaml == ROWS
    listing([], ["app"], "json", empty="-")
    assert capsys.readouterr().out == "[]\n"


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    listing([], ["app"], "table", empty="Nothing is deployed.")
    assert capsys.readouterr().out == "Nothing is deployed.\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("", "-"), ([], "-"), (1.50, "1.5"), ([1, 2], "1, 2"), ({"a": 1}, "a=1"), (True, "True")],
)
def test_a_cell(value: object, text: str) -> None:
    assert cell(value) == text


def test_log_lines_are_whole_and_carry_their_task() -> None:
    written: list[str] = []
    lines = Lines(written.append)
    one, two = "voting_vote.instance-x._app.1", "voting_db.instance-y._app.1"
    for task, stream, text in [(one, "stdout", "a\nb"), (two, "stderr", "c\r\n"), (one, "stdout", "b\nrest")]:
        lines.feed(LogPiece(task, stream, 0, text))
    assert written == ["voting_vote.1 | a", "voting_db.1   | c", "voting_vote.1 | bb"]
    lines.end()
    assert written[-1] == "voting_vote.1 | rest"
    alone = Lines(written.append, named=False)
    alone.feed(LogPiece(one, "stdout", 0, "mine | it is\n"))
    assert written[-1] == "mine | it is"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain\tKáto ✓", "plain\tKáto ✓"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x9b2J\rover\x00\x7f", "\\x1b[2J\\x9b2J\\x0dover\\x00\\x7f"),
    ],
)
def test_what_a_task_writes_does_nothing_to_a_terminal(
    written: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("NO_COLOR", "1")
    for terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda answer=terminal: answer)
        Lines(said.append).feed(LogPiece("a.instance-x._app.1", "stdout", 0, f"{written}\n"))
    assert said == [f"a.1 | {shown}", f"a.1 | {written}"]


def test_what_the_environment_says_of_output() -> None:
    assert plain_output({"NO_COLOR": "1"}) and plain_output({"TERM": "dumb"})
    assert not plain_output({"NO_COLOR": "", "TERM": "xterm"})
    assert debugging({"KATO_DEBUG": "1"}) and not debugging({})


def test_what_nodes_say_of_themselves_is_said_once() -> None:
    notes = ["process: No cpu limits.", "docker: There is no engine."]
    rows = [{"node": node, "notes": notes, "problems": []} for node in ("n1", "n2")]
    rows[1]["problems"] = ["port 80 is taken"]
    assert remarks(rows, ["process"]) == ["n1, n2: process: No cpu limits.", "n2: port 80 is taken"]
    assert remarks(rows, []) == ["n2: port 80 is taken"]
