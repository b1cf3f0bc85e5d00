"""The commands with which people look, wait and check, on a small application that runs."""

import json
import os
import pty
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from machine import PATIENCE, Machine, own_cell

pytestmark = pytest.mark.xdist_group("tool")

ESCAPE = "\x1b["
COMPOSE = """
name: pair
services:
  left:
    command: exec python3 -m http.server --bind 127.0.0.1 $$PORT
    expose: ["80"]
    x-kato: {runtime: process, host: left.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
  idle:
    command: exec sleep 1000
    x-kato: {runtime: process}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Machine]:
    with own_cell() as machine:
        machine.kato("up", str(written(machine.root, COMPOSE)), "-d")
        yield machine


def written(folder: Path, text: str) -> Path:
    file = folder / "compose.yaml"
    file.write_text(text)
    return file


def test_all_that_is_known_is_one_document(running: Machine) -> None:
    app = json.loads(running.kato("inspect", "left", "-o", "json"))
    assert app == YAML(typ="safe").load(running.kato("inspect", "/pair/left"))
    assert (app["app"], app["state"], app["why"]) == ("/pair/left", "healthy", ["1 of 1 tasks are healthy."])
    assert (
        app["urls"]
        == app["services"][0]["urls"]
        == [f"http://left.localhost:{running.ingress.rpartition(':')[2]}/"]
    )
    assert app["wish"]["cmd"].startswith("exec python3") and "tasks" not in app["wish"]
    assert app["versions"][0]["state"] == "present"
    (shown,) = app["tasks"]
    task = json.loads(running.kato("inspect", shown["task"], "-o", "json"))
    assert task["id"] == shown["id"] and task["wish"]["id"] == "/pair/left"
    assert task["services"][0]["state"] == "ready"
    node = json.loads(running.kato("inspect", task["node"], "-o", "json"))
    assert node["node"] == task["node"] and shown in node["tasks"]
    assert json.loads(running.kato("inspect", node["hostname"], "-o", "json"))["node"] == node["node"]
    said = running.kato("inspect", "lfet", code=1)
    assert said == "kato: There is no app, task or machine 'lfet'. Did you mean 'left'?\n"


def test_a_command_waits_until_it_is_done_unless_told_otherwise(running: Machine) -> None:
    running.kato("scale", "left", "2")
    assert running.healthy("/pair/left") == 2
    assert re.search(r"^The deployment of /pair/left has begun", running.kato("scale", "left", "1", "--no-wait"))
    running.kato("wait", "left")
    file = running.root / "slow.json"
    never = {"cmd": "sleep 9000", "healthChecks": [{"protocol": "TCP", "portIndex": 0}]}
    file.write_text(json.dumps({"id": "/slow", "cpus": 0.1, "mem": 32, **never}))
    said = running.kato("up", str(file), "--no-wait")
    assert re.search(r"^The deployment of /\S+ has begun. See: kato wait$", said, re.MULTILINE)
    assert "After 1 s this is not as wished" in running.kato("wait", "slow", "--timeout", "1", code=1)
    assert running.kato("rm", "slow", "--force", "--no-wait") == "/slow goes.\n"
    running.until(lambda: not running.tasks("/slow"))


def test_a_project_stands_for_its_apps_and_a_task_can_be_asked_about(running: Machine) -> None:
    tasks = {each["task"] for each in json.loads(running.kato("ps", "pair", "-o", "json"))}
    assert {each.rpartition(".")[0] for each in tasks} == {"pair_left", "pair_idle"}
    said = running.kato("why", "pair").splitlines()
    assert [line for line in said if line.startswith("/")] == [
        "/pair/idle: 1 of 1 healthy.",
        "/pair/left: 1 of 1 healthy.",
    ]
    assert [each["app"] for each in json.loads(running.kato("why", "/pair", "-o", "json"))] == [
        "/pair/idle",
        "/pair/left",
    ]
    (idle,) = (each for each in tasks if "idle" in each)
    assert running.kato("why", idle).startswith(f"{idle}: running.\n/pair/idle: 1 of 1 healthy.\n")
    assert "Done after" in running.kato("restart", "pair")
    after = {each["task"] for each in json.loads(running.kato("ps", "pair", "-o", "json"))}
    assert len(after) == 2 and not after & tasks, "all of them are others"
    running.until(lambda: running.kato("why", idle, code=None).startswith(f"{idle}: "))
    assert "/pair/idle: 1 of 1 healthy." in running.kato("why", idle), "it has ended, and its app goes on"
    assert "There is no app or project 'pari'. Did you mean 'pair'?" in running.kato("ps", "pari", code=1)


def test_what_was_written_lately_is_told_alone(running: Machine) -> None:
    line = "echo early; while test ! -e go; do sleep 0.1; done; echo late; exec sleep 1000"
    running.deploy({"id": "/lately", "cpus": 0.1, "mem": 32, "cmd": line})
    running.until(lambda: "early" in running.kato("logs", "lately"))
    (task,) = running.tasks("/lately")
    sandbox = running.data / "tasks" / task["id"] / "sandbox"
    then = datetime.now(UTC).isoformat()
    (sandbox / "go").touch()
    running.until(lambda: "late" in running.kato("logs", "lately"))
    said = running.kato("logs", "lately", "--since", then)
    assert "late" in said and "early" not in said
    assert "early" in running.kato("logs", "lately", "--since", "1h")
    running.kato("rm", "lately", "--force")


def test_machines_tell_only_what_matters_to_what_is_wished(running: Machine) -> None:
    said = running.kato("nodes")
    assert "MEM (MiB)" in said and "docker: " not in said and "oci: " not in said
    assert "MEM (MiB)" in running.kato("ls")
    (node,) = json.loads(running.kato("nodes", "-o", "json"))
    assert any(note.startswith(("docker: ", "oci: ")) for note in node["notes"]) and "mem" in node
    needs = {"id": "/needs", "cpus": 0.1, "mem": 32, "container": {"type": "DOCKER", "docker": {"image": "x"}}}
    running.ask("POST", "/v2/apps", needs)
    try:
        assert ("docker: " in running.kato("nodes")) is any(note.startswith("docker: ") for note in node["notes"])
    finally:
        running.kato("rm", "needs", "--force")


TURNS = """
mkdir ROOT/first 2>/dev/null && me=0 || me=1
while :; do
  n=$(cat ROOT/turn)
  if [ $((n % 2)) = $me ] && { [ $n -lt 20 ] || [ -e ROOT/more ]; }; then
    echo turn $n
    until grep -qx "turn $n" ../stdout.*; do sleep 0.01; done
    sleep 0.05; echo $((n + 1)) > ROOT/next; mv ROOT/next ROOT/turn
  fi
  sleep 0.01
done
"""
"""Two that speak by turns. Each waits until its keeper has heard it, which is what the time of a line tells."""


def test_what_tasks_write_is_told_in_the_order_of_time(running: Machine) -> None:
    folder = running.root / "turns"
    folder.mkdir()
    (folder / "turn").write_text("0\n")
    app = {"id": "/turns", "cmd": TURNS.replace("ROOT", str(folder)), "cpus": 0.1, "mem": 32, "instances": 2}
    running.ask("POST", "/v2/apps", app)
    try:
        running.until(lambda: (folder / "turn").read_text() == "20\n")
        told = running.kato("logs", "turns").splitlines()
        for words in (["/turns"], ["/"], []):
            assert set(told) <= set(running.kato("logs", *words).splitlines())
        assert not [each for each in running.kato("logs", "pair").splitlines() if each.startswith("turns")]
        assert len(told) == 20
        _in_turns(told, first=0)
        with subprocess.Popen(
            ["kato", "logs", "turns", "-f", "--tail", "2"], env=running.env, stdout=subprocess.PIPE, text=True
        ) as following:
            (folder / "more").touch()
            assert following.stdout is not None
            _in_turns([following.stdout.readline() for _ in range(20)])
            following.send_signal(signal.SIGINT)
        task = told[0].partition(" ")[0]
        assert running.kato("logs", task).startswith("turn 0\nturn 2\n")
    finally:
        running.kato("rm", "turns", "--force")


def _in_turns(lines: list[str], first: int | None = None) -> None:
    """Each line is the next turn, by the other task; of the first, `first`."""
    told = [line.strip().split(" | turn ") for line in lines]
    assert all(len(each) == 2 for each in told), lines
    first = int(told[0][1]) if first is None else first
    assert [int(turn) for _, turn in told] == list(range(first, first + len(told))), lines
    assert {task for task, _ in told[::2]} | {task for task, _ in told[1::2]} == {"turns.1", "turns.2"}
    assert len({task for task, _ in told[::2]}) == 1, lines


def test_what_happens_is_told_as_it_does(running: Machine) -> None:
    words = (["events"], ["events", "-o", "json"], ["events", "--app", "/pair/left"])
    attached = f"http://{running.api}/v2/events?event_type=event_stream_attached"
    request = urllib.request.Request(attached, headers={"Accept": "text/event-stream"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as came:
        listening = [
            subprocess.Popen(["kato", *each], env=running.env, stdout=subprocess.PIPE, text=True) for each in words
        ]
        for _ in (came, *listening):
            while not came.readline().startswith(b"data: "):
                pass
    try:
        ended = json.loads(running.kato("ps", "idle", "-o", "json"))[0]
        running.kato("restart", "idle", "--no-wait")
        running.kato("wait", "idle")
        running.kato("restart", "left")
        said, as_json, of_left = ("".join(_until_over(each, "/pair/left")) for each in listening)
    finally:
        for each in listening:
            each.kill()
            each.communicate()
    stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  /pair/idle  "
    for sentence in (
        r"is wished for as of",
        r"deployment \S+ began a step",
        r"pair_idle\.\d+ is running on",
        r"deployment \S+ is over",
    ):
        assert re.search(stamp + sentence, said, re.MULTILINE), sentence
    assert f"{ended['task']} is killed" in said
    kinds = {json.loads(line)["eventType"] for line in as_json.splitlines()}
    assert {"status_update_event", "deployment_success", "instance_changed_event"} <= kinds
    assert "/pair/left" in of_left and "/pair/idle" not in of_left
    # The task that ended is still known.
    assert json.loads(running.kato("inspect", ended["task"], "-o", "json"))["state"] == "ended"


def _until_over(process: "subprocess.Popen[str]", app: str) -> Iterator[str]:
    """Lines, until a deployment of an app is over."""
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if app in line and ("is over" in line or "deployment_success" in line):
            return


def test_waiting_ends_when_all_is_as_wished(running: Machine) -> None:
    assert "2 apps as wished after" in running.kato("wait")
    assert "1 app as wished after" in running.kato("wait", "left", "--timeout", "60")
    running.kato("scale", "idle", "2", "--no-wait")
    running.kato("wait", "idle")
    assert len(json.loads(running.kato("ps", "idle", "-o", "json"))) == 2
    running.kato("scale", "idle", "21", "--no-wait")
    said = running.kato("wait", "idle", "left", "--timeout", "1", code=1)
    assert "After 1 s this is not as wished:" in said and "/pair/idle:" in said and "/pair/left:" not in said
    running.kato("scale", "idle", "1", "--force")
    assert "There is no app or project 'nosuch'" in running.kato("wait", "nosuch", code=1)


def test_where_an_app_answers_is_opened_where_there_is_a_browser(running: Machine) -> None:
    (url,) = json.loads(running.kato("inspect", "left", "-o", "json"))["urls"]
    environ = {name: value for name, value in running.env.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    shown = running.root / "shown"
    for browser in ("", f"sh -c 'echo %s > {shown}'"):
        done = subprocess.run(
            ["kato", "open", "left"],
            env={**environ, "BROWSER": browser},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{url}\n"
        assert shown.exists() is bool(browser)
    assert shown.read_text() == f"{url}\n"
    assert "/pair/idle answers nowhere" in running.kato("open", "idle", code=1)


def test_files_are_judged_and_converted_without_a_cell(machine: Machine, tmp_path: Path) -> None:
    right = written(tmp_path, COMPOSE)
    (bad := tmp_path / "bad").mkdir()
    written(bad, COMPOSE.replace("expose:", "expsoe:") + "  more:\n    imagee: x\n")
    (twice := tmp_path / "twice").mkdir()
    same = "expose: ['80']\n    x-kato: {runtime: process, host: left.localhost}"
    written(twice, COMPOSE.replace("x-kato: {runtime: process}", same))
    assert re.search(r"compose.yaml +2 +right$", machine.kato("validate", str(right)), re.MULTILINE)
    said = machine.kato("validate", str(right), str(bad), str(twice), str(tmp_path / "none"), code=2)
    assert "compose.yaml:6:5: " in said and "Did you mean 'expose'?" in said
    assert "compose.yaml:12:5: " in said and "Did you mean 'image'?" in said
    assert "left.localhost" in said, "two apps of one file want the same host"
    assert f"There is no file or folder {tmp_path}/none." in said
    rows = json.loads(
        subprocess.run(
            ["kato", "validate", str(right), str(bad), "-o", "json"],
            env=machine.env,
            capture_output=True,
            check=False,
        ).stdout
    )
    assert [row["state"] for row in rows] == ["right", "wrong"] and len(rows[1]["faults"]) > 1
    group = json.loads(machine.kato("convert", str(right)))
    assert group["id"] == "/pair" and {app["id"] for app in group["apps"]} == {"/pair/left", "/pair/idle"}
    assert YAML(typ="safe").load(machine.kato("convert", str(right), "-o", "yaml")) == group
    (again := tmp_path / "marathon.json").write_text(json.dumps(group))
    assert json.loads(machine.kato("convert", str(again))) == group
    assert machine.get("/ping") is None and not machine.data.exists()


def test_a_watched_listing_is_shown_whenever_it_changes(running: Machine) -> None:
    words = (["ls", "-w"], ["ps", "-w", "-o", "json"], ["ps", "idle", "--watch", "-o", "yaml"])
    watching = [
        subprocess.Popen(["kato", *each], env=running.env, stdout=subprocess.PIPE, text=True) for each in words
    ]
    try:
        table, rows, documents = ("" for _ in watching)
        while (table := table + _line(watching[0])).count("\n") < 3:
            pass
        while (rows := rows + _line(watching[1])).count("\n") < 2:
            pass
        while "health:" not in (documents := documents + _line(watching[2])):
            pass
        running.kato("scale", "idle", "2")
        while "2/2" not in (table := table + _line(watching[0])):
            pass
        running.kato("scale", "idle", "1")
        while '"gone": true' not in (rows := rows + _line(watching[1])):
            pass
        while documents.count("---\n") < 3:
            documents += _line(watching[2])
    finally:
        for each in watching:
            each.send_signal(signal.SIGINT)
            each.communicate()
    assert [each.returncode for each in watching] == [130] * 3
    assert table.startswith("APP ") and table.count("\n\nAPP ") >= 1 and ESCAPE not in table
    lines = [json.loads(line) for line in rows.splitlines()]
    assert [line["app"] for line in lines[:2]] == ["/pair/idle", "/pair/left"]
    assert all(line["app"] == "/pair/idle" for line in lines[2:]), "what did not change is not told again"
    assert len(list(YAML(typ="safe").load_all(documents))) >= 3


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it has ended"
    return line


def test_a_watched_table_begins_anew_on_a_terminal(running: Machine) -> None:
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in running.env.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(["kato", "ls", "-w"], env=environ, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        said = b""
        while b"idle" not in said:
            said += os.read(ours, 65536)
        running.kato("scale", "idle", "2")
        while b"2/2" not in said:
            said += os.read(ours, 65536)
        running.kato("scale", "idle", "1")
        watching.kill()
    os.close(ours)
    assert said.count(b"\x1b[H\x1b[2J") >= 2 and said.startswith(b"\x1b[H")
