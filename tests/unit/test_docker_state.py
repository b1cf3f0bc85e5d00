"""What the engine says of images, as checks that the node makes."""

from typing import Any

import pytest

from kato.drivers.runtime.docker.images import Progress
from kato.drivers.runtime.docker.state import check_of
from kato.model.app import Command


def image(**check: Any) -> dict[str, Any]:
    return {"Config": {"Healthcheck": check}}


@pytest.mark.parametrize(
    "seen",
    [
        {"Config": {}},
        {"Config": {"Healthcheck": None}},
        image(),
        image(Test=[]),
        image(Test=["NONE"]),
        image(Test=["CMD"]),
    ],
)
def test_an_image_that_asks_nothing_has_no_check(seen: dict[str, Any]) -> None:
    assert check_of(seen) is None


def test_a_pull_is_the_sum_of_its_layers_and_unpacking_is_none_of_it() -> None:
    progress = Progress()
    assert (progress.got, progress.whole) == (0, None)
    for told in (
        {"status": "Pulling from web", "id": "1"},
        {"status": "Already exists", "progressDetail": {}, "id": "a"},
        {"status": "Downloading", "progressDetail": {"current": 10, "total": 100}, "id": "b"},
        {"status": "Downloading", "progressDetail": {"current": 5, "total": 50}, "id": "c"},
        {"status": "Download complete", "progressDetail": {}, "id": "c"},
        {"status": "Extracting", "progressDetail": {"current": 1, "total": 50}, "id": "c"},
    ):
        progress.hear(told)
    assert (progress.got, progress.whole) == (60, 150)


def test_a_healthcheck_has_docker_s_defaults() -> None:
    check = check_of(image(Test=["CMD-SHELL", "test -f /ok || exit 1"]))
    assert check is not None and check.command == Command(value="test -f /ok || exit 1")
    assert (check.interval_seconds, check.timeout_seconds, check.grace_period_seconds) == (30, 30, 30)


def test_times_are_nanoseconds_and_nobody_is_ended_for_it() -> None:
    check = check_of(
        image(Test=["CMD", "pg_isready", "-q"], Interval=500_000_000, Timeout=10**9, StartPeriod=10**10)
    )
    assert check is not None and check.command == Command(argv=("pg_isready", "-q"))
    assert (check.interval_seconds, check.timeout_seconds, check.grace_period_seconds) == (0.5, 1, 10.5)
    assert (check.delay_seconds, check.max_consecutive_failures) == (0.5, 0)
