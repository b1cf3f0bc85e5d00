"""Marathon's numbers for upgrades, and who goes first."""

import pytest

from builders import V2, app, node, task
from kato.model.app import App, AppVolume, Container, External, Persistent, UpgradeStrategy
from kato.plan.rollout import Runner, Strategy, restart_strategy, roll_out, victims

DATA = Container(type="MESOS", volumes=(AppVolume(container_path="data", persistent=Persistent(size=1)),))


def wished(instances: int, least: float, over: float, *, resident: bool = False) -> App:
    strategy = UpgradeStrategy(minimum_health_capacity=least, maximum_over_capacity=over)
    return app(version=V2, instances=instances, upgrade_strategy=strategy, container=DATA if resident else None)


@pytest.mark.parametrize(
    ("instances", "least", "over", "running", "resident", "kill_now", "capacity"),
    [
        (10, 0.5, 0.0, 10, False, 5, 10),
        (10, 0.5, 1.0, 10, False, 5, 20),
        (10, 1.0, 1.0, 10, False, 0, 20),
        (10, 1.0, 0.5, 10, False, 0, 15),
        (10, 1.0, 0.0, 10, False, 0, 11),  # nothing could move: one above
        (10, 1.0, 0.0, 10, True, 1, 10),  # nothing could move: one below
        (10, 1.0, 0.0, 9, False, 0, 10),  # there is room for one
        (10, 1.0, 0.0, 12, False, 2, 11),
        (10, 1.0, 0.0, 12, True, 3, 10),
        (10, 0.0, 0.0, 10, False, 10, 10),
        (10, 0.55, 0.15, 10, False, 4, 11),  # 5.5 up to 6, 11.5 down to 11
        (3, 0.7, 0.1, 3, False, 0, 4),  # 2.1 up to 3, 3.3 down to 3: equal
        (1, 1.0, 0.0, 1, False, 0, 2),
        (1, 0.5, 0.0, 1, True, 1, 1),
        (1, 0.0, 0.0, 1, False, 1, 1),
        (5, 1.0, 1.0, 0, False, 0, 10),
        (10, 0.7, 0.1, 10, False, 3, 11),  # 10 × 1.1 is 11, whatever binary fractions say
    ],
)
def test_restart_strategy(
    instances: int, least: float, over: float, running: int, resident: bool, kill_now: int, capacity: int
) -> None:
    found = restart_strategy(wished(instances, least, over, resident=resident), running)
    assert found == Strategy(kill_now, capacity)


def test_a_volume_that_is_only_read_is_no_data_of_one_s_own() -> None:
    read = AppVolume(container_path="data", external=External(name="v", provider="kato"), mode="RO")
    written = AppVolume(container_path="more", external=External(name="w", provider="kato"))
    for volumes, found in (((read,), Strategy(0, 2)), ((read, written), Strategy(1, 1))):
        careful = UpgradeStrategy(minimum_health_capacity=1.0, maximum_over_capacity=0.0)
        wish = app(version=V2, upgrade_strategy=careful, container=Container(type="MESOS", volumes=volumes))
        assert restart_strategy(wish, 1) == found


def runners(old: str, new: str, of: App) -> list[Runner]:
    """`old` and `new` as letters: s serves, x does not."""
    was = app(instances=of.instances)
    return [
        *(Runner(task(was, n + 1, created=float(n)), letter == "s") for n, letter in enumerate(old)),
        *(Runner(task(of, n + 50, created=50.0 + n), letter == "s") for n, letter in enumerate(new)),
    ]


@pytest.mark.parametrize(
    ("least", "over", "old", "new", "leaving", "place", "retired"),
    [
        (1.0, 1.0, "ssss", "", 0, 4, 0),
        (1.0, 1.0, "ssss", "xxxx", 0, 0, 0),
        (1.0, 1.0, "ssss", "ssxx", 0, 0, 2),  # one old goes for each new that serves
        (1.0, 1.0, "ss", "ssxx", 2, 0, 0),
        (1.0, 1.0, "ssss", "ssss", 0, 0, 4),
        (0.5, 0.0, "ssss", "", 0, 0, 2),  # two at once, and room only once they are gone
        (0.5, 0.0, "ss", "", 2, 0, 0),
        (0.5, 0.0, "ss", "", 0, 2, 0),
        (0.5, 0.0, "xxss", "", 0, 0, 2),
        (1.0, 0.0, "ssss", "", 0, 1, 0),
        (1.0, 0.0, "ssss", "x", 0, 0, 0),
        (1.0, 0.0, "ssss", "s", 0, 0, 1),
        (1.0, 0.0, "sss", "s", 1, 0, 0),
        (1.0, 0.0, "sss", "s", 0, 1, 0),
        (0.0, 0.0, "ssss", "", 0, 0, 4),
        (0.0, 0.0, "", "", 4, 0, 0),
        (0.0, 0.0, "", "", 0, 4, 0),
    ],
)
def test_an_upgrade_moves_by_marathons_rule(
    least: float, over: float, old: str, new: str, leaving: int, place: int, retired: int
) -> None:
    to = wished(4, least, over)
    move = roll_out(to, runners(old, new, to), leaving, {})
    assert (move.place, len(move.victims)) == (place, retired)


def test_old_tasks_that_do_not_serve_go_first() -> None:
    to = wished(4, 0.5, 0.0)
    found = runners("sxsx", "", to)
    assert {victim.attempt for victim in roll_out(to, found, 0, {}).victims} == {2, 4}


def test_to_no_instances_is_scaling_only() -> None:
    to = wished(0, 1.0, 1.0)
    move = roll_out(to, runners("ss", "s", to), 0, {})
    assert (move.place, len(move.victims)) == (0, 3)


@pytest.mark.parametrize(("selection", "gone"), [("YOUNGEST_FIRST", [4, 3]), ("OLDEST_FIRST", [1, 2])])
def test_kill_selection(selection: str, gone: list[int]) -> None:
    to = app(kill_selection=selection)
    among = [Runner(task(to, n, created=float(n)), True) for n in (2, 1, 4, 3)]
    assert [victim.attempt for victim in victims(to, among, 2, {})] == gone


def test_those_that_do_not_run_go_before_those_that_are_not_healthy() -> None:
    to = app()
    among = [
        Runner(task(to, 1), True),
        Runner(task(to, 2), False, runs=True),
        Runner(task(to, 3), False, runs=False),
    ]
    assert [victim.attempt for victim in victims(to, among, 2, {})] == [3, 2]


def test_group_by_takes_from_the_largest_group() -> None:
    to = app(constraints=(("@zone", "GROUP_BY"),))
    nodes = {"a": node("a", zone="a"), "b": node("b", zone="b")}
    among = [Runner(task(to, n, on="a" if n < 4 else "b", created=float(n)), True) for n in range(5)]
    gone = victims(to, among, 3, nodes)
    assert [victim.node for victim in gone].count("a") == 3
    assert [victim.attempt for victim in gone] == [3, 2, 1]
