"""`kato uninstall`: what a cell has made on a machine is told, and goes, in whatever state the cell is."""

import os
import pty
import signal
import subprocess
from pathlib import Path

from engine import IMAGE, Dockerd, registry
from kato.agent import parcels
from machine import Machine
from runtimes import as_root

FILE = """
name: shop
services:
  web:
    command: echo up; exec sleep 1000
    stop_grace_period: 1s
    x-kato: {runtime: process}
    volumes: ["kept:/kept"]
volumes: {kept: }
"""
CONTAINER = """
name: boxed
services:
  web:
    image: {image}
    command: [sh, -c, "trap 'exit 0' TERM; sleep 1000 & wait"]  # a container's first process ends by no default
    volumes: ["kept:/kept"]
volumes: {{kept: }}
"""


def up(machine: Machine, text: str = FILE) -> None:
    (machine.root / "compose.yaml").write_text(text)
    machine.kato("up", "-d", str(machine.root / "compose.yaml"))


def test_what_there_is_is_told_and_nothing_goes_unasked(machine: Machine) -> None:
    assert "there is nothing to remove" in machine.kato("uninstall")
    machine.env["KATO_SHIP"] = f"file:{machine.root / 'shipped.jsonl'}"
    up(machine)
    machine.until(lambda: (machine.data / parcels.FILE).exists())
    said = machine.kato("uninstall", code=1)
    for line in ("processes: 1", "the volume shop_kept", f"the cell in {machine.data}", "Nothing was removed."):
        assert line in said, said
    assert "--purge --yes" in machine.kato("uninstall", "--purge", code=2)
    assert answered(machine, "n\n") == 1
    assert len(machine.tasks()) == 1
    assert answered(machine, "y\n") == 0
    assert not machine.data.exists()
    machine.until(lambda: machine.processes() == [])


def test_nothing_is_deleted_through_a_link(machine: Machine) -> None:
    elsewhere = machine.root / "elsewhere"
    elsewhere.mkdir(mode=0o711)
    machine.data.mkdir()
    (machine.data / "volumes").symlink_to(elsewhere)
    up(machine)
    (elsewhere / "shop_kept/votes").write_text("1")
    machine.kato("rm", "/shop/web")
    said = machine.kato("volumes", "rm", "shop_kept", code=1)
    assert f"is a link to {elsewhere}, and nothing is deleted through a link" in said
    said = machine.kato("uninstall", "--purge", "--yes")
    assert "the volume" not in said and f"led to {elsewhere}, where all stays" in said
    assert (elsewhere / "shop_kept/votes").read_text() == "1"
    assert not machine.data.exists()


def answered(machine: Machine, word: str) -> int:
    """The exit code of a purge that is asked whether on a terminal, and told `word`."""
    ours, theirs = pty.openpty()
    with open(ours, "wb", buffering=0) as keys:
        keys.write(word.encode())
        done = subprocess.run(
            ["kato", "uninstall", "--purge"], env=machine.env, stdin=theirs, capture_output=True, timeout=240
        )
        os.close(theirs)
    assert b"[y/N]" in done.stdout
    return done.returncode


def test_a_killed_cell_with_a_damaged_store_goes_with_its_tasks(machine: Machine) -> None:
    up(machine)
    (machine.data / "notes.txt").write_text("mine")
    os.kill(machine.get("/v1/cell")["pid"], signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None)
    (machine.data / "cell.sqlite").write_bytes(b"no store")
    (machine.data / "cell.sqlite-wal").unlink(missing_ok=True)
    said = machine.kato("uninstall", "--purge", "--yes")
    assert f"{machine.data} stays, for what is not Káto's in it: notes.txt." in said
    assert list(machine.data.iterdir()) == [machine.data / "notes.txt"]
    (machine.data / "notes.txt").unlink()
    machine.until(lambda: machine.processes() == [])


def test_a_folder_that_is_no_cells_is_left_alone(machine: Machine) -> None:
    (machine.data / "tasks").mkdir(parents=True)
    (machine.data / "volumes/mine").mkdir(parents=True)
    assert "No cell lives in" in machine.kato("uninstall", "--purge", "--yes")
    (machine.data / "notes.txt").write_text("mine")
    assert "No cell lives in" in machine.kato("uninstall", "--purge", "--yes")
    assert {each.name for each in machine.data.iterdir()} == {"tasks", "volumes", "notes.txt"}
    assert (machine.data / "volumes/mine").is_dir()


def test_containers_networks_and_images_go_too_and_those_of_others_stay(engine: Dockerd, tmp_path: Path) -> None:
    with engine.network(), registry(engine, tmp_path) as address:
        machine = Machine()
        machine.env |= {"DOCKER_HOST": engine.url, "DOCKER_CONFIG": str(tmp_path)}
        before = standing(engine)
        try:
            up(machine, CONTAINER.format(image=f"{address}/test:1"))
            assert f"{address}/test:1" in standing(engine)[2] and standing(engine) != before
            machine.kato("uninstall", "--purge", "--yes")
            assert standing(engine) == before
            assert not machine.data.exists()
        finally:
            machine.close()
    assert IMAGE in before[2]


def standing(engine: Dockerd) -> tuple[list[str], ...]:
    """The containers, networks, images and volumes of the engine."""
    asked = (
        ("ps", "--all", "--quiet"),
        ("network", "ls", "--quiet"),
        ("images", "--format", "{{.Repository}}:{{.Tag}}"),
        ("volume", "ls", "--quiet"),
    )
    return tuple(sorted(engine.ask(*words).split()) for words in asked)  # of one second, in any order


@as_root
def test_without_systemd_it_is_said_what_to_do(machine: Machine) -> None:
    # In a mount namespace without /run, so that a machine which has systemd is not changed either.
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec kato service "$1"', "sh"]
    for act in ("install", "uninstall"):
        done = subprocess.run([*hidden, act], env=machine.env, capture_output=True, text=True)
        assert done.returncode == 1
        assert "This machine was not started by systemd" in done.stderr and "kato serve" in done.stderr
