"""A dependency on what does not exist is taken, as in Marathon; a plan tells it with what was meant, `why` too."""

import pytest

from builders import app, node, world
from kato.api.unmet import MOST, unmet
from kato.api.wish import Wish
from kato.model.action import Plan
from kato.model.app import App
from kato.model.deployment import GroupRecord
from kato.plan import why

APPS = [app("/notes/store", ports=1), app("/notes/deep/cache"), app("/shop/db"), app("/other")]


def warnings(*wished: App, groups: tuple[GroupRecord, ...] = ()) -> list[str]:
    cell = world(apps=[*APPS, *wished], nodes=[node()], groups={group.id: group for group in groups})
    return unmet(cell, Wish(apps={each.id: each for each in wished}, groups={each.id: each for each in groups}))


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("/notes/front/store", " Did you mean '../store'?"),
        ("/notes/front/deep/cache", " Did you mean '../deep/cache'?"),
        ("/notes/front/other", " Did you mean '../../other'?"),
        ("/notes/db", " Did you mean '/shop/db'?"),
        ("/notes/stor", " Did you mean '/notes/store'?"),
        ("/ghost", ""),
    ],
)
def test_a_dependency_that_does_not_exist_is_told_with_what_was_meant(word: str, meant: str) -> None:
    host = f"{word.rsplit('/')[-1].upper()}_HOST"
    said = f"depends on {word}, which does not exist: it is not waited for, and {host} is not set."
    assert warnings(app("/notes/front", dependencies=(word,))) == [f"/notes/front {said}{meant}"]


@pytest.mark.parametrize("word", ["/notes/store", "/notes", "/notes/deep", "/notes/front", "/", "/empty"])
def test_a_dependency_on_an_app_or_a_group_that_exists_is_none(word: str) -> None:
    front = app("/notes/front", dependencies=(word,))
    assert warnings(front, groups=(GroupRecord(id="/empty", version=""),)) == []


def test_a_variable_that_is_set_is_not_called_unset() -> None:
    front = app("/notes/front", dependencies=("/ghost", "/x/store", "/notes/store"), env={"GHOST_HOST": "here"})
    assert [each.partition(" Did")[0] for each in warnings(front)] == [
        "/notes/front depends on /ghost, which does not exist: it is not waited for.",
        "/notes/front depends on /x/store, which does not exist: it is not waited for.",
    ]


def test_a_group_s_dependency_that_does_not_exist_is_told() -> None:
    group = GroupRecord(id="/notes", version="", dependencies=("/notes/shop",))
    said = "The group /notes depends on /notes/shop, which does not exist: it is not waited for."
    assert warnings(groups=(group,)) == [f"{said} Did you mean '../shop'?"]
    cell = world(apps=APPS, nodes=[node()], groups={"/notes": group})
    assert said in why(cell, Plan(), "/notes/store", 0.0).sentences
    assert said not in why(cell, Plan(), "/other", 0.0).sentences


def test_why_says_what_an_app_depends_on_that_does_not_exist() -> None:
    cell = world(apps=[app("/web", dependencies=("/ghost", "/db")), app("/db")], nodes=[node()])
    said = "/web depends on /ghost, which does not exist: it is not waited for, and GHOST_HOST is not set."
    assert why(cell, Plan(), "/web", 0.0).sentences == (said,)


def test_many_are_told_up_to_a_number() -> None:
    assert len(warnings(*(app(f"/a{n}", dependencies=("/ghost",)) for n in range(2 * MOST)))) == MOST
