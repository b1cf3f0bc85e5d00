"""Versions that once were whole go in; where a rollback goes comes out."""

from typing import Any

import msgspec
import pytest

from builders import app, node, status, task, world
from kato.api.wish.history import former_of, kept, rolled_back
from kato.model.app import App
from kato.model.deployment import Deployment, Launches
from kato.model.errors import NotFound
from kato.model.world import World
from kato.plan import Recall, decide

NAMES = [f"2026-01-0{n}T00:00:00.000Z" for n in range(1, 8)]


def history(*said: str, whole: str = "", **more: Any) -> World:
    """An app that said these words, one a version; `whole`: the numbers of versions that were."""
    specs = [app(version=NAMES[n], cmd=words) for n, words in enumerate(said)]
    record = Launches(app="/web", whole=tuple(NAMES[int(n) - 1] for n in whole))
    return world(apps=specs[-1:], old=specs, launches=[record], **more)


@pytest.mark.parametrize(
    ("said", "whole", "former"),
    [
        (["a", "b"], "12", "1"),
        (["a", "bad"], "1", "1"),
        (["a", "bad", "worse"], "1", "1"),
        (["a", "bad", "a"], "13", None),  # taken back, and never forward to it again
        (["a", "b", "bad", "b"], "124", "1"),
        (["a", "b", "c", "b"], "1234", "1"),
        (["a", "b", "c", "b", "a"], "12345", None),
        (["a", "b", "c", "a", "d"], "12345", "4"),
        (["a", "b", "a"], "12", None),  # the way back is not yet whole
        (["a"], "1", None),
        (["bad", "worse"], "", None),
    ],
)
def test_a_rollback_goes_to_what_was_whole_and_was_not_taken_back(
    said: list[str], whole: str, former: str | None
) -> None:
    found = former_of(history(*said, whole=whole), "/web")
    assert (found.version if found else None) == (NAMES[int(former) - 1] if former else None)


def test_where_nothing_was_whole_it_is_said() -> None:
    with pytest.raises(NotFound, match=r"/web has no former version that once was whole.*kato versions web"):
        rolled_back(history("bad", "worse"), "/web", None)


def under_way(**sides: tuple[App | None, App | None]) -> Deployment:
    named = {f"/{id}": side for id, side in sides.items()}
    return Deployment(
        id="d",
        version=NAMES[6],
        original={id: old.version if old else None for id, (old, _) in named.items()},
        target={id: new.version if new else None for id, (_, new) in named.items()},
        started=1.0,
    )


def test_a_deployment_is_taken_back_whole_but_to_what_was_whole() -> None:
    """Its original was as bad: a second `up` had taken over. What it removed comes again, the new goes."""
    good, bad, worse = (app("/web", version=NAMES[n], cmd=f"{n}") for n in range(3))
    new, gone = app("/new", version=NAMES[2]), app("/gone")
    look = world(
        apps=[worse, new],
        old=[good, bad, gone],
        launches=[Launches(app="/web", whole=(good.version,))],
        deployments=[under_way(web=(bad, worse), new=(None, new), gone=(gone, None))],
    )
    for asked in ("/web", "/gone"):
        wish = rolled_back(look, asked, None)
        assert (dict(wish.apps), wish.cancel) == ({"/web": good, "/new": None, "/gone": gone}, ("d",))


def test_the_listing_says_what_each_version_changed_and_where_a_rollback_goes() -> None:
    look = history("a", "bad", "b", "c", whole="134")
    assert [(each.version, each.state, each.change) for each in kept(look, "/web", NAMES)] == [
        (NAMES[3], "present", "update /web: cmd b → c"),
        (NAMES[2], "former", "update /web: cmd bad → b"),
        (NAMES[1], "not whole", "update /web: cmd a → bad"),
        (NAMES[0], "whole", None),
    ]


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_version_is_whole_once_its_deployment_has_ended_with_all_healthy(cancelled: bool) -> None:
    old, new = app(version=NAMES[0]), app(version=NAMES[1], cmd="b")
    only = task(new)
    deployment = msgspec.structs.replace(under_way(web=(old, new)), cancelled=cancelled)
    look = world(
        apps=[new], old=[old], nodes=[node()], tasks=[only], statuses=[status(only)], deployments=[deployment]
    )
    said = [str(each) for each in decide(look, 10.0, Recall()).actions]
    assert any("deployment d is over" in each for each in said)
    assert any(f"version {new.version} is whole" in each for each in said) is not cancelled
