"""Listings: tables, JSON, YAML, and what the live view says of tasks."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from kato.cli.live import changes, failures, rows
from kato.cli.logs import Lines
from kato.cli.show import cell, listing
from kato.cli.state import app_row, app_state, good_tasks, settled, task_state
from kato.client import LogPiece

V1, V2 = "2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"
CHECK = {"protocol": "HTTP"}
ALIVE = {"alive": True, "consecutiveFailures": 0}
FAILING = {"alive": False, "consecutiveFailures": 2}
UNKNOWN = {"alive": False, "consecutiveFailures": 0}


def an_app(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {
        "id": "/voting/vote",
        "instances": 1,
        "healthChecks": [CHECK],
        "versionInfo": {"lastConfigChangeAt": V2},
    }
    return {**base, "tasks": list(tasks), **more}


def a_task(
    attempt: int = 1, *results: dict[str, Any], state: str = "TASK_RUNNING", version: str = V2
) -> dict[str, Any]:
    id = f"voting_vote.instance-x._app.{attempt}"
    return {"id": id, "appId": "/voting/vote", "state": state, "version": version, "ports": [31000 + attempt],
            "host": "n1", "healthCheckResults": list(results)}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "word"),
    [
        (a_task(state="TASK_STAGING"), "staging"),
        (a_task(), "running"),
        (a_task(1, UNKNOWN), "running"),
        (a_task(1, ALIVE), "healthy"),
        (a_task(1, FAILING), "unhealthy"),
        (a_task(1, ALIVE, state="TASK_KILLING"), "stopping"),
        (a_task(state="TASK_FAILED"), "failed"),
    ],
)
def test_how_far_a_task_has_come(task: dict[str, Any], word: str) -> None:
    assert task_state(task, an_app()) == word


def test_a_task_without_checks_is_good_when_it_runs() -> None:
    app = an_app(a_task(), healthChecks=[])
    assert good_tasks(app) == 1
    assert settled(app)


@pytest.mark.parametrize(
    "app",
    [
        an_app(),
        an_app(a_task(1, UNKNOWN)),
        an_app(a_task(1, ALIVE, version=V1)),
        an_app(a_task(1, ALIVE), a_task(2, ALIVE)),
        an_app(a_task(1, ALIVE), deployments=[{"id": "d"}]),
    ],
)
def test_what_is_not_settled(app: dict[str, Any]) -> None:
    assert not settled(app)


@pytest.mark.parametrize(
    ("app", "word"),
    [
        (an_app(a_task(1, ALIVE)), "healthy"),
        (an_app(a_task(1), healthChecks=[]), "running"),
        (an_app(), "waiting"),
        (an_app(a_task(1, FAILING)), "unhealthy"),
        (an_app(instances=0), "stopped"),
        (an_app(deployments=[{"id": "d"}]), "deploying"),
    ],
)
def test_how_an_app_is(app: dict[str, Any], word: str) -> None:
    assert app_state(app) == word


def test_the_view_has_a_row_a_task_and_says_why_one_misses() -> None:
    app = an_app(a_task(1, ALIVE, version=V1), a_task(12, ALIVE), a_task(3, UNKNOWN), instances=3)
    found = rows([app], {"/voting/vote": "needs 4 cpus: 1 node"})
    assert [(row.task, row.state, row.note) for row in found] == [
        (".1", "healthy", "the former version"),
        (".3", "running", ":31003"),
        (".12", "healthy", ":31012"),
        ("", "waiting", "needs 4 cpus: 1 node"),
    ]


def test_without_a_terminal_the_view_says_only_what_changed() -> None:
    before = rows([an_app(a_task(1, UNKNOWN), instances=2)], {})
    after = rows([an_app(a_task(1, ALIVE), a_task(2, UNKNOWN), instances=2)], {})
    lines = changes({row.key: row for row in before}, after, {})
    assert [line.split() for line in lines] == [
        ["/voting/vote.1", "healthy", ":31001"],
        ["/voting/vote.2", "running", ":31002"],
    ]
    assert changes({row.key: row for row in after}, after, {}) == []


def test_a_task_that_has_gone_says_how() -> None:
    app = an_app(a_task(1, ALIVE), a_task(2, ALIVE), instances=2)
    ends = failures(
        [{**app, "lastTaskFailure": {"taskId": app["tasks"][1]["id"], "message": "killed by SIGKILL"}}]
    )
    lines = changes({row.key: row for row in rows([app], {})}, [], ends)
    assert [" ".join(line.split()) for line in lines] == [
        "/voting/vote.1 gone",
        "/voting/vote.2 gone killed by SIGKILL",
    ]


APP = an_app(a_task(1, ALIVE), cpus=0.5, mem=64.0, version=V2, portDefinitions=[{"port": 10001}])
ROWS = [app_row(APP, {"/voting/vote": ["http://vote.localhost:8181/"]})]


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
    assert written == ["voting_vote.1 | a", "voting_db.1 | c", "voting_vote.1 | bb"]
    lines.end()
    assert written[-1] == "voting_vote.1 | rest"
