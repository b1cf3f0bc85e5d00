"""Whole nodes on virtual time: whatever fails around them, every promise holds.

Lives of Káto crash at any write, are cut off and stopped; the store is slow, away, or another one; drivers and
checks fail; users are hasty.
"""

import pytest

from kato.sim import simulate
from kato.sim.clock import Stuck
from kato.sim.invariants import Breach

SEEDS = 200
GROUPS = 20
MINUTES = 3.0

ENDLESS = "a master that is ended just as it loses the lead does not end"
LATE = "a status that was given up and lands late replaces a newer one"
FOUND: dict[tuple[int, int], tuple[str, type[Exception]]] = {
    **{(3, seed): (ENDLESS, Stuck) for seed in (62, 84, 190)},
    **{(3, seed): (LATE, Breach) for seed in (80, 91, 121, 130)},
    (1, 15): (ENDLESS, Stuck),
    **{(1, seed): (LATE, Breach) for seed in (18, 25)},
}
"""Machines and seed → a fault that is not mended yet. They leave this table with the mend."""


@pytest.mark.parametrize("group", range(GROUPS))
def test_promises_hold_on_three_machines(group: int) -> None:
    for seed in range(1 + group, SEEDS + 1, GROUPS):
        if (3, seed) not in FOUND:
            report = simulate(seed, minutes=MINUTES, machines=3)
            assert report.tasks, f"seed {seed} placed nothing"


@pytest.mark.parametrize("group", range(4))
def test_promises_hold_on_one_machine(group: int) -> None:
    seeds = [seed for seed in range(1 + group, 41, 4) if (1, seed) not in FOUND]
    assert sum(simulate(seed, minutes=MINUTES, machines=1).crashes for seed in seeds), "no crash was simulated"


@pytest.mark.parametrize(
    ("machines", "seed"),
    [
        pytest.param(
            *which, id=f"{fault}-{which}", marks=pytest.mark.xfail(strict=True, raises=error, reason=fault)
        )
        for which, (fault, error) in FOUND.items()
    ],
)
def test_what_the_simulation_found(machines: int, seed: int) -> None:
    simulate(seed, minutes=MINUTES, machines=machines)


def test_the_same_seed_gives_the_same_history() -> None:
    assert simulate(7, minutes=2) == simulate(7, minutes=2)


def test_nothing_is_logged_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    simulate(7, minutes=1)
    assert capsys.readouterr().out == ""
    simulate(7, minutes=1, log=True)
    assert "this master leads" in capsys.readouterr().out
