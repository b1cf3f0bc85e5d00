"""What people call apps and tasks."""

import pytest

from kato.cli.words.names import find_app, find_task
from kato.model.errors import InvalidInput, NotFound
from kato.model.ids import short_task, task_id

APPS = ["/voting/vote", "/voting/db", "/shop/db", "/hello"]


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("vote", "/voting/vote"),
        ("voting/vote", "/voting/vote"),
        ("/voting/vote", "/voting/vote"),
        ("/voting/vote/", "/voting/vote"),
        ("hello", "/hello"),
        ("shop/db", "/shop/db"),
    ],
)
def test_an_app_is_found_by_its_whole_name_or_its_end(name: str, id: str) -> None:
    assert find_app(name, APPS) == id


def test_an_end_that_two_apps_have_names_both() -> None:
    with pytest.raises(InvalidInput, match="'db' may be /shop/db or /voting/db"):
        find_app("db", APPS)


def test_an_absolute_name_is_no_end() -> None:
    with pytest.raises(NotFound):
        find_app("/vote", APPS)


@pytest.mark.parametrize(
    ("name", "apps", "said"),
    [
        ("vot", APPS, "Did you mean 'vote'?"),
        ("voting/vot", APPS, "Did you mean 'voting/vote'?"),
        ("quite-another", APPS, "There are: /hello, /shop/db, /voting/db, /voting/vote."),
        ("vote", [], "nothing is deployed"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, apps: list[str], said: str) -> None:
    with pytest.raises(NotFound) as caught:
        find_app(name, apps)
    assert said in str(caught.value)


def test_a_task_is_found_by_its_id_and_by_its_short_form() -> None:
    task = task_id("/voting/vote", "v", 3)
    other = task_id("/voting/vote", "v", 13)
    for name in (task, "vote.3", "voting_vote.3"):
        assert find_task(name, [task, other], APPS) == task
    assert find_task("vote", [task, other], APPS) == "/voting/vote"


def test_a_task_that_has_ended_is_said_to_be_no_task() -> None:
    with pytest.raises(NotFound, match="no task"):
        find_task(task_id("/voting/vote", "v", 3), [], APPS)


def test_what_is_no_task_stays_as_it_is() -> None:
    assert short_task("odd") == "odd"
