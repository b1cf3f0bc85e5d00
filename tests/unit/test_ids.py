"""Ids and times: what is beyond the calendar stays writable."""

import pytest

from kato.model.ids import instance_id, short_task, task_id, timestamp


def test_another_incarnation_gives_other_ids_that_are_called_alike() -> None:
    first, second = (task_id("/g/web", "v", 3, life) for life in (1, 2))
    assert first == task_id("/g/web", "v", 3) and second == first.replace("._app", "-2._app")
    assert instance_id(second) == instance_id(first) + "-2"
    assert short_task(first) == short_task(second) == "g_web.3"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (1440628404.225, "2015-08-26T22:33:24.225Z"),
        (253402300799.0, "9999-12-31T23:59:59.000Z"),
        (253402300800.0, "9999-12-31T23:59:59.000Z"),
        (1e18, "9999-12-31T23:59:59.000Z"),
        (float("inf"), "9999-12-31T23:59:59.000Z"),
    ],
)
def test_a_time_is_written_and_the_last_one_is_the_calendars_end(seconds: float, written: str) -> None:
    assert timestamp(seconds) == written
