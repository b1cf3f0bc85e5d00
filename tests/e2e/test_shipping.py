"""Output and log of real cells go to real receivers: files and sockets that are slow, die, and come back."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

from machine import Machine
from receivers import Listening, records, texts

SMALL = {"cpus": 0.1, "mem": 32}
COUNTING = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo done; exec sleep 9000"
WORDS = ["--ship", "tcp:127.0.0.1:9", "--log", "json"]
WHOLE = [f"line {n}" for n in range(1, 301)] + ["done"]


def deploy(machine: Machine, id: str, cmd: str) -> None:
    file = machine.root / "app.json"
    file.write_text(json.dumps({"id": id, "cmd": cmd, **SMALL}))
    machine.kato("up", str(file), "-d")


def test_all_that_tasks_write_and_the_cell_logs_is_in_the_file(machine: Machine) -> None:
    file = machine.root / "shipped.log"
    machine.env["KATO_SHIP"] = f"file:{file}"
    deploy(
        machine,
        "/g/says",
        "echo out; echo 'to stderr' >&2; printf 'caf\\303\\251 and no newline'; exec sleep 9000",
    )
    late = [machine.kato("up", str(machine.root / "app.json"), "-d", *flags) for flags in ([], WORDS)]
    assert "as it was started" not in late[0]
    assert f"kato: the cell ships to file:{file}, not to tcp:127.0.0.1:9, as it was started." in late[1]
    assert "kato: the cell logs as text, not json, as it was started." in late[1]
    (task,) = machine.tasks("/g/says")
    machine.until(lambda: texts(file.read_bytes()) == ["out"])
    moved = file.rename(machine.root / "moved.log")  # as a rotation of logs does
    machine.kato("rm", "says")
    machine.until(lambda: file.exists() and "café and no newline" in texts(file.read_bytes()))
    said = records(moved.read_bytes()) + records(file.read_bytes())
    (out,) = (record for record in said if record.get("text") == "out")
    assert out.keys() == {"time", "node", "app", "task", "stream", "text"}
    assert (out["app"], out["task"], out["stream"]) == ("/g/says", task["id"], "stdout")
    assert [record["stream"] for record in said if record.get("text") == "to stderr"] == ["stderr"]
    assert any(record.get("event", "").startswith("place ") and record["task"] == task["id"] for record in said)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_cell_that_is_killed_goes_on_where_it_was(machine: Machine) -> None:
    file = machine.root / "shipped.log"
    machine.env["KATO_SHIP"] = f"file:{file}"
    cell = machine.start()
    deploy(machine, "/counts", COUNTING)
    machine.until(lambda: len(texts(file.read_bytes())) > 100)
    os.kill(cell.pid, signal.SIGKILL)
    cell.wait()
    ended = _shipped(file)
    machine.start()
    machine.until(lambda: "done" in texts(file.read_bytes()))
    shipped = texts(file.read_bytes())
    assert list(dict.fromkeys(shipped)) == WHOLE, "nothing is lost, and the order is kept"
    twice = [text for text, times in Counter(shipped).items() if times > 1]
    assert len(twice) < 150 and set(twice) <= set(ended), "only what was shipped just before is shipped twice"


def _shipped(file: Path) -> list[str]:
    return texts(file.read_bytes())


def test_a_receiver_that_dies_and_returns_gets_the_rest(machine: Machine) -> None:
    path = machine.root / "receiver.sock"
    machine.env["KATO_SHIP"] = f"unix:{path}"
    first = Listening(path)
    try:
        deploy(machine, "/counts", COUNTING)
        machine.until(lambda: len(texts(bytes(first.data))) > 50)
    finally:
        first.close()
    path.unlink()
    machine.until(lambda: "kato_ship_connected 0.0" in machine.get("/metrics"))
    machine.kato("ls")
    second = Listening(path)
    try:
        machine.until(lambda: "done" in texts(bytes(second.data)))
        had = texts(bytes(first.data)), texts(bytes(second.data))
        assert had[0] + had[1] == WHOLE, "what was not read waits where the task wrote it"
        machine.until(lambda: "kato_ship_connected 1.0" in machine.get("/metrics"))
        assert any(
            "is not received; it waits" in record.get("event", "") for record in records(bytes(second.data))
        )
    finally:
        second.close()


def test_a_receiver_that_does_not_read_holds_up_neither_task_nor_cell(machine: Machine) -> None:
    receiver = Listening(slow=True)
    try:
        machine.env["KATO_SHIP"] = f"tcp:127.0.0.1:{receiver.port}"
        line = "$(head -c 3000 /dev/zero | tr '\\0' x)"
        flood = f'yes "{line}" | head -c 60000000; echo; echo last; echo over > done; exec sleep 9000'
        deploy(machine, "/floods", flood)
        (task,) = machine.tasks("/floods")
        done = machine.data / "tasks" / task["id"] / "sandbox" / "done"
        machine.until(done.exists)
        assert "floods" in machine.kato("ls")
        receiver.read()
        machine.until(lambda: bytes(receiver.data[-2000:]).find(b'"text":"last"') >= 0)
        assert 20_000_000 < _dropped(machine) < 60_000_000
        kept = sum(len(text) + 1 for text in texts(bytes(receiver.data), "floods"))
        assert abs(kept + _dropped(machine) - 60_000_000) < 100_000, "what is lost is counted"
    finally:
        receiver.close()


def _dropped(machine: Machine) -> float:
    lines = machine.get("/metrics").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("kato_ship_dropped_bytes_total")))
