"""How a cell starts where it cannot: what it says, and that it leaves nothing of itself."""

import subprocess
from collections.abc import Iterator

import pytest

from kato.drivers.runtime import Options
from machine import Machine
from runtimes import as_root, cgroup

CELLS = 12


@pytest.fixture
def crowd() -> Iterator[list[Machine]]:
    """Cells in folders of their own that are all told to listen for their API at one port."""
    machines = [Machine() for _ in range(CELLS)]
    for machine in machines:
        machine.api = machine.env["KATO_API"] = machines[0].api
    try:
        yield machines
    finally:
        for machine in machines:
            machine.close()


def serving(machine: Machine) -> "subprocess.Popen[str]":
    """`kato serve`, under way."""
    return subprocess.Popen(
        ["kato", "serve"],
        env=machine.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(400)
def test_of_many_cells_at_one_api_port_one_lives_and_the_others_leave_nothing(crowd: list[Machine]) -> None:
    started = [serving(machine) for machine in crowd]
    try:
        crowd[0].until(lambda: sum(each.poll() is None for each in started) == 1, 200)
        crowd[0].until(lambda: crowd[0].get("/ping") == "pong")
        (lives,) = (each for each in started if each.poll() is None)
        for machine, process in zip(crowd, started, strict=True):
            if process is not lives:
                said = process.communicate()[0]
                assert process.returncode == 2
                assert said.count("\n") == 1 and f"The API cannot listen on {machine.api}" in said, said
                assert machine.processes() == [], said
                assert not (machine.data / "balancer").exists(), "nothing was begun"
    finally:
        for process in started:
            process.terminate()
            process.communicate(timeout=240)


@as_root
def test_a_cell_that_is_told_to_end_while_it_starts_leaves_nothing(crowd: list[Machine]) -> None:
    """Its cgroups are there before all that it needs is."""
    for machine in crowd[:3]:
        place = cgroup(Options(folder=machine.data / "tasks", volumes=machine.data), "pids").parent
        started = serving(machine)
        machine.until(place.exists)
        started.terminate()
        said = started.communicate(timeout=240)[0]
        assert started.returncode == 0 and not place.exists(), said
