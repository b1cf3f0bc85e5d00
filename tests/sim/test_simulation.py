"""Whole nodes on virtual time: with crashes at any write, failing tasks and hasty users, every promise holds."""

import pytest

from kato.sim import simulate

SEEDS = 200
GROUPS = 20


@pytest.mark.parametrize("group", range(GROUPS))
def test_promises_hold_on_three_machines(group: int) -> None:
    for seed in range(1 + group, SEEDS + 1, GROUPS):
        report = simulate(seed, minutes=3, machines=3)
        assert report.tasks, f"seed {seed} placed nothing"


@pytest.mark.parametrize("group", range(4))
def test_promises_hold_on_one_machine(group: int) -> None:
    crashes = sum(simulate(seed, minutes=3, machines=1).crashes for seed in range(1 + group, 41, 4))
    assert crashes, "no crash was simulated"


def test_the_same_seed_gives_the_same_history() -> None:
    assert simulate(7, minutes=2) == simulate(7, minutes=2)
