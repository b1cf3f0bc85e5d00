"""A broken version on its way: it is mended by the next `up`, taken back for good, and told to others who are in
its way; what its tasks wrote is found.
"""

import json
import re
from pathlib import Path
from typing import Any

from machine import Machine

SERVER = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
CHECK = {"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1, "delaySeconds": 0}
FRONT = {"cpus": 0.1, "mem": 32, "cmd": SERVER, "healthChecks": [CHECK]}


def written(machine: Machine, *apps: dict[str, Any], group: str = "/notes") -> str:
    """A file of a whole group."""
    file = machine.root / f"{group.strip('/')}.json"
    file.write_text(json.dumps({"id": group, "apps": [{**FRONT, **each} for each in apps]}))
    return str(file)


def test_the_newest_wish_of_a_project_wins_and_a_rollback_never_goes_forward(machine: Machine) -> None:
    front, back = {"id": "front"}, {"id": "back"}
    machine.kato("up", written(machine, front, back), "-d")
    broken = written(machine, {**front, "cmd": "echo broken; exit 3"}, back)
    said = machine.kato("up", broken, "-d", "--timeout", "1", code=1)
    assert "Mend the file and `kato up` it" in said
    mended = written(machine, {**front, "env": {"STEP": "2"}}, back)
    said = machine.kato("plan", mended, code=1)
    assert re.search(r"A deployment is exchanging the tasks of /notes/front since \S+Z", said), said
    assert "kato up takes it over." in said
    said = machine.kato("up", mended, "-d")
    assert re.search(
        r"^Takes over from the deployment since \S+Z, which waited for /notes/front\.$", said, re.MULTILINE
    ), said
    machine.kato("up", broken_again(machine), "-d", "--timeout", "1", code=1)
    said = machine.kato("rollback", "front")
    assert said.startswith("update /notes/front: cmd exit 4 → ") and "Done after" in said
    said = machine.kato("rollback", "front")
    assert said.startswith("update /notes/front: env.STEP 2 → none\n")
    said = machine.kato("rollback", "front", code=1)
    assert "/notes/front has no former version that once was whole" in said and "kato versions notes/front" in said
    listed = machine.kato("versions", "front").splitlines()
    assert [re.split(r"  +", line)[1] for line in listed[:2]] == ["STATE", "present"]
    assert sum(" not whole " in line for line in listed) == 2


def broken_again(machine: Machine) -> str:
    return written(machine, {"id": "front", "cmd": "exit 4", "env": {"STEP": "2"}}, {"id": "back"})


def test_a_deployment_of_others_is_not_taken_over_and_is_told(machine: Machine) -> None:
    one = {**FRONT, "id": "/one/app", "cmd": "sleep 1000"}
    two = {**FRONT, "id": "/two/app", "cmd": "sleep 1000"}
    both = Path(machine.root, "both.json")
    both.write_text(json.dumps([one, two]))
    machine.kato("up", str(both), "-d", "--timeout", "1", code=1)
    own = written(machine, {"id": "app"}, group="/one")
    said = machine.kato("plan", own, code=1)
    assert "is starting /one/app, starting /two/app since" in said and "refused until it has ended" in said
    said = machine.kato("up", own, "-d", code=1)
    assert "is starting /one/app, starting /two/app since" in said and "kato rollback one/app" in said
    assert machine.kato("scale", "two/app", "2", code=1) == said
    assert "1 app as wished" in machine.kato("up", own, "-d", "--force")


def test_where_nothing_is_written_yet_the_tasks_that_did_are_named(machine: Machine) -> None:
    """And a cell in the foreground says where it listens."""
    machine.start()
    assert f"api=http://{machine.api} ingress=http://{machine.ingress}" in machine.log()
    file = written(machine, {"id": "front", "cmd": f"[ $VERSION = 2 ] || echo first words; {SERVER}"})
    text = Path(file).read_text()
    for version in ("1", "2"):
        Path(file).write_text(text.replace('"cmd"', f'"env": {{"VERSION": "{version}"}}, "cmd"'))
        machine.kato("up", file, "-d")
    machine.until(lambda: len(machine.tasks("/notes/front")) == 1)
    machine.until(lambda: "notes_front.1" in machine.kato("logs", "front"))
    said = machine.kato("logs", "front")
    assert said == "kato: Nothing is written yet. Ended tasks, whose output is kept: notes_front.1.\n"
    assert machine.kato("logs", "notes_front.1").startswith("first words\n")
