"""The cell's log, as programs read it, over a whole life of an app: every line says what it is about."""

import json
import os
import re
import signal
from datetime import UTC, datetime
from typing import Any

from machine import WEB, Machine

TASK = re.compile(r"[\w.-]+\.instance-[0-9a-f-]+\._app\.\d+")
SHORT = re.compile(r"^(?:place |stop )?(?:g_\w+)\.\d+\b")


def lines(machine: Machine) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (machine.data / "cell.log").read_text().splitlines()]


def test_every_line_of_a_task_s_life_has_its_ids(machine: Machine) -> None:
    machine.env["KATO_LOG"] = "json"
    file = machine.root / "g.json"
    broken = {"id": "/g/broken", "cmd": "exit 3", "cpus": 0.1, "mem": 32, "user": "nobody-is-called-so"}
    file.write_text(json.dumps({"id": "/g", "apps": [WEB]}))
    machine.kato("up", str(file), "-d")
    machine.kato("scale", "web", "2")
    (node,) = machine.get("/v1/nodes")["nodes"]
    first, second = sorted(
        (task["id"] for task in machine.tasks("/g/web")), key=lambda id: int(id.rpartition(".")[2])
    )
    os.kill(machine.pid(first), signal.SIGKILL)
    machine.until(lambda: first not in {task["id"] for task in machine.tasks()} and machine.healthy("/g/web") == 2)
    machine.ask("POST", "/v2/apps", broken)
    machine.until(lambda: any("could not be started" in line["event"] for line in lines(machine)))
    machine.kato("rm", "broken", "--force")
    machine.kato("rm", "web")

    said = lines(machine)
    for line in said:
        assert {"time", "level", "event", "node"} <= line.keys() and line["node"] == node["id"], line
        assert abs(datetime.fromisoformat(line["time"]).timestamp() - datetime.now(UTC).timestamp()) < 600
        if tasks := TASK.findall(line["event"]):
            assert line["task"] == tasks[0], line
        if "task" in line:
            assert line["app"] in ("/g/web", "/g/broken"), line
            assert line["task"].startswith(line["app"].strip("/").replace("/", "_") + "."), line
        if SHORT.match(line["event"]):
            assert "task" in line, line
        if deployment := re.search(r"deployment ([0-9a-f-]{36})", line["event"]):
            assert line["deployment"] == deployment[1], line

    life = [line["event"] for line in said if line.get("task") == second]
    steps = "place ", "g_web.2 is starting", "g_web.2 is running", "health check 0 passes", "stop ", "forget "
    for step in steps:
        assert any(step in event for event in life), (step, life)
    began = [line for line in said if line["event"].startswith("deployment ") and "has begun" in line["event"]]
    placed = next(line for line in said if line["event"].startswith("place ") and line["task"] == second)
    assert placed["deployment"] in {line["deployment"] for line in began}
    ends = [line for line in said if line.get("task") == first and "g_web.1 is failed" in line["event"]]
    assert [line["app"] for line in ends] == ["/g/web"], [line for line in said if line.get("task") == first]


def test_a_line_is_text_unless_asked_otherwise(machine: Machine) -> None:
    machine.start()
    assert re.search(r"^\d{4}-\S+Z \[info     \] this cell listens .*node=\S+", machine.log(), re.MULTILINE)
    assert "--log (or KATO_LOG) is 'xml'; it takes text or json." in machine.kato("serve", "--log", "xml", code=2)
