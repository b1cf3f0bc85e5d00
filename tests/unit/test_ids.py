"""Ids and times: what is beyond the calendar stays writable."""

import uuid

import pytest

from kato.model.ids import instance_id, short_task, task_id, timestamp


def test_another_incarnation_gives_other_ids_in_the_same_form() -> None:
    lives = [task_id("/g/web", "v", 3, life) for life in (1, 2, 3)]
    assert lives[0] == task_id("/g/web", "v", 3) and len(set(lives)) == 3
    for task in lives:
        app, _, token = instance_id(task).partition(".instance-")
        assert (app, str(uuid.UUID(token))) == ("g_web", token)
        assert task == f"g_web.instance-{token}._app.3" and short_task(task) == "g_web.3"


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
