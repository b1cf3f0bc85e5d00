"""Whole nodes on virtual time: whatever fails around them, every promise holds.

Lives of Káto crash at any write, are cut off and stopped; the store is slow, away, or another one; drivers and
checks fail; users are hasty.
"""

import pytest

from kato.sim import simulate

SEEDS = 200
GROUPS = 20
MINUTES = 3.0

ENDLESS = "a master that is ended just as it loses the lead does not end"
LATE = "a status that was given up and lands late replaces a newer one"
FOUND = {
    ENDLESS: ((3, 62), (3, 84), (3, 190), (1, 15)),
    LATE: ((3, 80), (3, 91), (3, 121), (3, 130), (1, 18), (1, 25)),
}
"""Faults that the simulation found, by machines and seed. They are mended, and their seeds stay."""


@pytest.mark.parametrize("group", range(GROUPS))
def test_promises_hold_on_three_machines(group: int) -> None:
    for seed in range(1 + group, SEEDS + 1, GROUPS):
        report = simulate(seed, minutes=MINUTES, machines=3)
        assert report.tasks, f"seed {seed} placed nothing"


@pytest.mark.parametrize("group", range(4))
def test_promises_hold_on_one_machine(group: int) -> None:
    seeds = range(1 + group, 41, 4)
    assert sum(simulate(seed, minutes=MINUTES, machines=1).crashes for seed in seeds), "no crash was simulated"


@pytest.mark.parametrize("group", range(4))
def test_promises_hold_where_the_store_is_put_back_from_copies(group: int) -> None:
    """No task is placed or started twice, though the store forgets which were."""
    for seed in range(1 + group, 41, 4):
        report = simulate(seed, minutes=MINUTES, machines=1, copies=True)
        assert report.tasks, f"seed {seed} placed nothing"


@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("group", range(2))
def test_promises_hold_of_apps_that_end(group: int, machines: int) -> None:
    """What has ended well is not run again, whatever fails; on one machine, also where the store is put back."""
    for seed in range(1 + group, 25, 2):
        report = simulate(seed, minutes=MINUTES, machines=machines, jobs=True, copies=machines == 1)
        assert report.tasks, f"seed {seed} placed nothing"


@pytest.mark.parametrize(("fault", "which"), [(fault, each) for fault, seeds in FOUND.items() for each in seeds])
def test_what_the_simulation_found_stays_mended(fault: str, which: tuple[int, int]) -> None:
    machines, seed = which
    assert simulate(seed, minutes=MINUTES, machines=machines).tasks, fault


def test_the_same_seed_gives_the_same_history() -> None:
    assert simulate(7, minutes=2) == simulate(7, minutes=2)


def test_nothing_is_logged_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(7, minutes=1)
    assert capsys.readouterr().out == ""
    simulate(7, minutes=1, log=True)
    assert "this master leads" in capsys.readouterr().out
