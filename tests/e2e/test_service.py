"""Káto as a service of a whole machine that systemd boots: installed, restarted, stopped, rebooted, taken away."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from booted import Booted, booted
from load import pressing, until_answers

APP = """
import http.server, os, sys

class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
FILE = """
name: shop
services:
  web:
    command: exec python3 /srv/app.py
    deploy: {replicas: 2}
    ports: ["80"]
    stop_grace_period: 2s
    x-kato: {runtime: process, host: shop.localhost, health: {http: /, interval: 0.5s}}
    volumes: ["kept:/kept"]
volumes: {kept: }
"""
TASKS = 2
PAUSE = 0.01
"""Seconds between the requests of a client: the machine has but two cores, and installs and boots meanwhile."""
NEWER = {
    "model/task.py": ("    created: float\n", '    created: float\n    shade: str = "blue"\n'),
    "store/keys.py": ('Kind("cell", Cell),', 'Kind("cell", Cell), Kind("moods", int),'),
    "founding.py": (
        "    if cell.format <",
        '    await store.txn([], [Put("moods/1", b"1")])\n    if cell.format <',
    ),
}
"""A version that stores more, of the same format: a field of tasks, and a room of keys."""
REBOOT = 60.0
"""Seconds in which all is healthy again after a reboot, without a hand."""


class Scene:
    """The machine, and what stood on it before Káto came."""

    def __init__(self, machine: Booted) -> None:
        self.machine = machine
        machine.write("/srv/app.py", APP)
        machine.write("/srv/compose.yaml", FILE)
        self.before = machine.standing()
        self.programs = machine.processes()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A machine with Káto as its service, and an app on it."""
    with booted() as machine:
        scene = Scene(machine)
        said = machine.run("kato", "service", "install")
        assert "kato.service runs the cell in /var/lib/kato, now and after each boot." in said
        machine.run("kato", "up", "/srv/compose.yaml", "--detach")
        yield scene


def cell(machine: Booted) -> int:
    """The process of the cell; 0 where none answers."""
    return int((machine.ask("/v1/cell") or {"pid": 0})["pid"])


def another_than(machine: Booted, former: int) -> Callable[[], bool]:
    """Whether a cell answers that is not the former."""
    return lambda: cell(machine) not in (0, former)


def test_the_unit_is_as_systemd_wants_it_and_says_when_the_cell_is_up(scene: Scene) -> None:
    assert scene.machine.run("systemd-analyze", "verify", "/etc/systemd/system/kato.service") == ""
    shown = scene.machine.run(
        "systemctl", "show", "kato", "--property=Type,SubState,Delegate,KillMode,UnitFileState"
    )
    assert set(shown.split()) == {
        "Type=notify", "SubState=running", "Delegate=yes", "KillMode=process", "UnitFileState=enabled",
    }  # fmt: skip


async def test_restarts_and_a_killed_cell_fail_no_request_and_end_no_task(scene: Scene) -> None:
    machine, tasks = scene.machine, scene.machine.tasks()
    assert len(tasks) == TASKS
    with machine.room.network():
        async with pressing(8181, "shop.localhost", keep_alive=False, clients=4, pause=PAUSE) as tally:
            for act in (
                ("systemctl", "restart", "kato"),
                ("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "kato"),
                ("kato", "service", "install"),
            ):
                former = machine.ask("/v1/cell")["pid"]
                await asyncio.to_thread(machine.run, *act)
                await asyncio.to_thread(machine.until, another_than(machine, former))
                await until_answers(tally, 100)
    assert tally.failures == []
    machine.until(lambda: machine.healthy() == TASKS)
    assert machine.tasks() == tasks


async def test_a_stopped_service_leaves_its_tasks_and_what_serves_them(scene: Scene) -> None:
    machine, tasks = scene.machine, scene.machine.tasks()
    with machine.room.network():
        async with pressing(8181, "shop.localhost", keep_alive=True, clients=2, pause=PAUSE) as tally:
            await asyncio.to_thread(machine.run, "systemctl", "stop", "kato")
            assert machine.ask("/ping") is None and "No cell answers" in machine.run("kato", "ls", code=1)
            await until_answers(tally, 100)
            # What starts a cell where none runs starts the service, and not a second one beside it.
            await asyncio.to_thread(machine.run, "kato", "up", "/srv/compose.yaml", "--detach")
    assert tally.failures == []
    assert machine.run("systemctl", "is-active", "kato").strip() == "active"
    assert machine.tasks() == tasks


def test_down_all_removes_apps_and_leaves_the_service(scene: Scene) -> None:
    said = scene.machine.run("kato", "down", "--all")
    assert "The cell stays, for it is a service of this machine: kato service uninstall." in said
    assert scene.machine.ask("/v1/cell") is not None and scene.machine.tasks() == {}
    scene.machine.run("kato", "up", "/srv/compose.yaml", "--detach")


def test_after_a_reboot_all_is_healthy_again_without_a_hand(scene: Scene) -> None:
    machine, tasks = scene.machine, scene.machine.tasks()
    machine.reboot()
    # Until its agent has looked, a cell knows of its tasks what it knew before.
    machine.until(lambda: machine.healthy() == TASKS and not tasks.keys() & machine.tasks().keys(), REBOOT)


async def test_an_upgrade_of_kato_and_the_way_back_fail_no_request_and_end_no_task(scene: Scene) -> None:
    machine = scene.machine
    older = f"{machine.folder}/kato/bin/python"
    newer = machine.another("newer", "9.9.9", NEWER)
    machine.run(newer, "-m", "kato", "service", "install")
    machine.run("kato", "restart", "web")  # so that the newer has written tasks
    tasks = machine.tasks()
    assert "moods/1" in stored(machine) and "shade" in stored(machine)
    with machine.room.network():
        async with pressing(8181, "shop.localhost", keep_alive=False, clients=4, pause=PAUSE) as tally:
            for python, version in ((older, "0.1.0"), (newer, "9.9.9")):
                await asyncio.to_thread(machine.run, python, "-m", "kato", "service", "install")
                assert machine.ask("/v1/cell")["version"] == version
                await until_answers(tally, 100)
    assert tally.failures == []
    machine.until(lambda: machine.healthy() == TASKS)
    assert machine.tasks() == tasks
    assert "moods/1" in stored(machine)  # kept for the newer


async def test_a_store_that_is_too_new_is_refused_and_what_it_was_is_put_back(scene: Scene) -> None:
    machine, tasks = scene.machine, scene.machine.tasks()
    next_format = machine.another("next", "10.0.0", {"store/keys.py": ("FORMAT = 1\n", "FORMAT = 2\n")})
    former = "/var/lib/kato/cell.sqlite.format-1.backup"
    with machine.room.network():
        async with pressing(8181, "shop.localhost", keep_alive=False, clients=2, pause=PAUSE) as tally:
            await asyncio.to_thread(machine.run, next_format, "-m", "kato", "service", "install")
            said = await asyncio.to_thread(lambda: machine.run("kato", "service", "install", code=1))
            assert (
                "has format 2, and this Káto knows formats up to 1." in said and f"kato restore {former}" in said
            )
            machine.run("systemctl", "stop", "kato")
            await asyncio.to_thread(machine.run, "kato", "restore", former)
            await asyncio.to_thread(machine.run, "systemctl", "start", "kato")
            await until_answers(tally, 100)
    assert tally.failures == []
    machine.until(lambda: machine.healthy() == TASKS)
    assert machine.tasks() == tasks


def stored(machine: Booted) -> str:
    """All that stands in the store, as a backup has it."""
    machine.run("kato", "backup", "/tmp/stored")
    return machine.run("cat", "/tmp/stored")


def test_the_machine_asks_a_service_for_names_until_it_is_one_no_more(scene: Scene) -> None:
    machine, tasks, former = scene.machine, scene.machine.tasks(), "nameserver 192.0.2.1\n"
    machine.write("/etc/resolv.conf", former)

    def named() -> bool:
        return "127.0.0.1" in machine.run("getent", "ahosts", "web.shop.kato", code=None)

    machine.run("kato", "service", "install", "--dns-own")
    machine.until(named)
    machine.run("kato", "service", "uninstall")
    assert machine.run("cat", "/etc/resolv.conf") == former
    assert "before-kato" not in machine.run("ls", "-a", "/etc")
    machine.run("kato", "service", "install")
    machine.until(lambda: machine.healthy() == TASKS)
    assert machine.tasks() == tasks and machine.run("cat", "/etc/resolv.conf") == former


def test_another_cell_is_not_put_in_the_place_of_this_one(scene: Scene) -> None:
    said = scene.machine.run("kato", "service", "install", "--data", "/srv/other", code=1)
    assert "runs the cell in /var/lib/kato. kato service uninstall takes it away" in said


def test_an_uninstalled_service_leaves_tasks_which_the_next_takes_over(scene: Scene) -> None:
    machine, tasks = scene.machine, scene.machine.tasks()
    said = machine.run("kato", "service", "uninstall")
    assert "Its tasks go on" in said and machine.ask("/ping") is None
    assert "no service to uninstall" in machine.run("kato", "service", "uninstall", code=1)
    machine.run("kato", "up", "/srv/compose.yaml", "--detach")  # a cell that is no service
    machine.run("kato", "service", "install")
    machine.until(lambda: machine.healthy() == TASKS)
    assert machine.tasks() == tasks


def test_purge_leaves_the_machine_as_it_was(scene: Scene) -> None:
    machine = scene.machine
    assert machine.standing() != scene.before and machine.processes() != scene.programs
    said = machine.run("kato", "uninstall", code=1)
    for line in ("the service kato.service", "processes: 2", "the volume shop_kept", "Nothing was removed."):
        assert line in said, said
    assert "--purge --yes" in machine.run("kato", "uninstall", "--purge", code=2)
    assert machine.healthy() == TASKS
    assert "All of it is removed" in machine.run("kato", "uninstall", "--purge", "--yes")
    assert machine.standing() == scene.before
    machine.until(lambda: machine.processes() == scene.programs)
    assert machine.run("systemctl", "list-units", "--all", "--no-legend", "kato*").strip() == ""
    assert "nothing to remove" in machine.run("kato", "uninstall", "--purge", "--yes")
