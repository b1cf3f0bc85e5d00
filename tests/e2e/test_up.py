"""`kato` as a person uses it, on a small application: it comes, changes, goes, and keeps to itself."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from machine import Machine, own_cell

SECRET = "correct-horse-battery"
COMPOSE = """
name: pair
services:
  left: &server
    command: exec python3 -m http.server --bind 127.0.0.1 $$PORT
    environment: {TOKEN: %s}
    expose: ["80"]
    x-kato: {runtime: process, host: left.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
  right:
    <<: *server
    x-kato: {runtime: process, host: right.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
"""
NOBODY = 65534
ESCAPE = "\x1b["


def written(machine: Machine, text: str = COMPOSE % SECRET) -> Path:
    file = machine.root / "compose.yaml"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def running() -> Iterator[Machine]:
    """A cell with the pair up."""
    with own_cell() as machine:
        machine.kato("up", str(written(machine)), "-d")
        yield machine


def test_ctrl_c_ends_it_all(machine: Machine) -> None:
    """In the foreground it shows each task on its way, then the URLs; Ctrl-C leaves nothing behind."""
    with subprocess.Popen(
        ["kato", "up", str(written(machine))], env=machine.env, stdout=subprocess.PIPE, text=True, cwd=machine.root
    ) as up:
        assert up.stdout is not None
        said = ""
        while (line := up.stdout.readline()) and not line.startswith("Ctrl-C"):
            said += line
        for app in ("/pair/left", "/pair/right"):
            states = re.findall(rf"^{app}\.1 +(\w+)", said, re.MULTILINE)
            assert states[-1] == "healthy" and len(states) > 1, said
            assert f"{app}  http://" in said
        assert machine.site("left.localhost")[0] == 200
        up.send_signal(signal.SIGINT)
        rest = up.stdout.read()
    assert up.returncode == 128 + signal.SIGINT, rest
    assert "The cell has ended." in rest
    assert machine.get("/ping") is None
    machine.until(lambda: not machine.processes())


def test_again_it_changes_only_what_changed(machine: Machine) -> None:
    machine.kato("up", str(written(machine)), "-d")
    before = {task["appId"]: task["id"] for task in machine.tasks()}
    text = (COMPOSE % SECRET).replace("host: right.localhost", "host: other.localhost")
    machine.kato("up", str(written(machine, text)), "-d")
    after = {task["appId"]: task["id"] for task in machine.tasks()}
    assert before["/pair/left"] == after["/pair/left"]
    assert before["/pair/right"] != after["/pair/right"]
    machine.until(lambda: machine.site("other.localhost")[0] == 200)
    machine.until(lambda: machine.site("right.localhost")[0] == 404)


def test_cells_live_side_by_side(running: Machine, machine: Machine) -> None:
    tasks = running.tasks()
    machine.kato("up", str(written(machine)), "-d")
    assert machine.site("left.localhost")[0] == running.site("left.localhost")[0] == 200
    ours, theirs = ({port for task in each.tasks() for port in task["ports"]} for each in (machine, running))
    assert not ours & theirs
    machine.kato("down", "--all")
    assert running.site("right.localhost")[0] == 200
    assert [task["id"] for task in running.tasks()] == [task["id"] for task in tasks]


def test_it_needs_no_root(machine: Machine) -> None:
    """With nothing but a home folder it finds its place and says which limits it cannot set."""
    home = machine.root / "home"
    home.mkdir()
    file = written(machine)
    file.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    del machine.env["KATO_DATA"]
    machine.data = home / ".local/share/kato"
    machine.env["HOME"] = str(home)
    said = _as_a_user(machine, "up", str(file), "-d")
    assert f"A cell has started in {machine.data}." in said
    assert machine.site("left.localhost")[0] == 200
    assert machine.data.stat().st_uid != 0
    assert machine.data.stat().st_mode & 0o077 == 0
    assert "The cell has ended." in _as_a_user(machine, "down", "--all")
    machine.until(lambda: not machine.processes())


def _as_a_user(machine: Machine, *words: str) -> str:
    """What a command says that is run by somebody who is not root."""
    line = [sys.executable, "-m", "kato", *words]
    if os.geteuid() == 0:
        line = [*_drop(machine), *line]
    done = subprocess.run(line, env=machine.env, capture_output=True, text=True, timeout=200, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr + machine.log()
    return done.stdout


def _drop(machine: Machine) -> list[str]:
    """The words that make root nobody, who may pass closed folders only where the checkout lies in one."""
    words = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    again = f"import subprocess; subprocess.run([{sys.executable!r}, '-c', 'import kato.node'], check=True)"
    trial = [*words, sys.executable, "-c", again]
    if subprocess.run(trial, env=machine.env, capture_output=True, cwd="/", check=False).returncode == 0:
        return words
    return [*words, "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]


@pytest.mark.parametrize("words", [("ls",), ("ps",), ("nodes",), ("why", "left"), ("plan", "compose.yaml")])
def test_every_listing_speaks_json_and_yaml(running: Machine, words: tuple[str, ...]) -> None:
    as_json = json.loads(running.kato(*words, "-o", "json"))
    as_yaml = YAML(typ="safe").load(running.kato(*words, "-o", "yaml"))
    for each in (as_json, as_yaml) if words == ("nodes",) else ():
        each[0].pop("taken")  # by whatever else listens on this machine
    assert as_json and as_json == as_yaml


def test_colour_is_for_terminals_that_want_it(running: Machine) -> None:
    plain = {name: value for name, value in running.env.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    assert ESCAPE in _on_a_terminal(plain)
    assert ESCAPE not in _on_a_terminal({**plain, "NO_COLOR": "1"})
    done = subprocess.run(["kato", "ls"], env=plain, capture_output=True, text=True, check=True)
    assert ESCAPE not in done.stdout


def test_a_narrow_terminal_gets_a_line_a_cell(running: Machine) -> None:
    wanted = {name: value for name, value in running.env.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    narrow = re.sub(r"\x1b\[[0-9;]*m", "", _on_a_terminal({**wanted, "COLUMNS": "40"})).splitlines()
    told = [line.split() for line in narrow]
    assert told[0] == ["APP", "/pair/left"] and ["STATE", "healthy"] in told
    wide = re.sub(r"\x1b\[[0-9;]*m", "", _on_a_terminal({**wanted, "COLUMNS": "120"})).splitlines()
    assert wide[0].split() == ["APP", "STATE", "TASKS", "CPUS", "MEM", "(MiB)", "PORTS", "URLS"]


def test_what_is_not_there_is_told_with_what_is(running: Machine) -> None:
    (version,) = {each["version"] for each in json.loads(running.kato("ps", "left", "-o", "json"))}
    said = running.kato("rollback", "left", "nope", code=1)
    assert said == f"kato: /pair/left has no version 'nope'. The last that it has: {version}.\n"
    assert "There is no app or task 'left.99'." in running.kato("logs", "left.99", code=1)


def _on_a_terminal(environ: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(["kato", "ls"], env=environ, stdout=theirs, stderr=theirs):
        os.close(theirs)
        said = b""
        with suppress(OSError):  # EIO: the other end has gone
            while piece := os.read(ours, 65536):
                said += piece
    os.close(ours)
    assert b"/pair/left" in said
    return said.decode()


def test_it_listens_on_loopback_only(running: Machine) -> None:
    assert "not loopback" in running.kato("serve", "--ingress", "0.0.0.0:8181", code=2)
    assert "No cell answers at https://127.0.0.1:9" in running.kato("ls", "--api", "0.0.0.0:9", code=1)
    ports = {int(address.rpartition(":")[2]) for address in (running.api, running.ingress)}
    ports |= {port for app in running.get("/v2/tasks")["tasks"] for port in app["servicePorts"]}
    found: dict[int, set[str]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port = local.rpartition(":")
            if state == "0A" and int(port, 16) in ports:
                found.setdefault(int(port, 16), set()).add(address)
    assert found == {port: {"0100007F"} for port in ports}


def test_its_folder_is_closed_to_others(running: Machine) -> None:
    for path in (running.data, *running.data.rglob("*")):
        with suppress(FileNotFoundError):  # written under another name first
            if not path.is_symlink() and not path.is_socket():
                mode = path.stat().st_mode
                assert mode & 0o066 == 0, f"{path} is {mode:o}"


def test_a_secret_in_the_environment_is_told_to_the_task_alone(running: Machine) -> None:
    (task,) = running.tasks("/pair/left")
    pid = running.pid(task["id"])
    assert f"TOKEN={SECRET}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    said = [running.kato(*words) for words in (("ls", "-o", "json"), ("ps", "-o", "json"), ("why", "left"))]
    changed = written(running, COMPOSE % f"{SECRET}-2")
    said.append(running.kato("plan", str(changed), code=1))
    said.append((running.data / "cell.log").read_text())
    assert not [text for text in said if SECRET in text]
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                assert SECRET.encode() not in (process / "cmdline").read_bytes()


def test_a_file_that_is_wrong_changes_nothing(running: Machine) -> None:
    """Every fault with its line, and nothing of the file is in force: neither the good part nor the bad."""
    before = running.get("/v2/groups")
    bad = (COMPOSE % SECRET).replace("left.localhost", "new.localhost") + "  third:\n    imagee: nginx\n"
    said = running.kato("up", str(written(running, bad)), "-d", code=2)
    assert "compose.yaml:13:5" in said and "Did you mean 'image'?" in said
    assert running.get("/v2/groups") == before
