"""Who waits for whom: one meaning for validation (no circles) and for the planner (by depth)."""

import pytest

from builders import app
from kato.model.app import App
from kato.model.dependencies import CIRCLES, Dependencies
from kato.model.deployment import GroupRecord
from kato.model.groups import validate_group


def depends(id: str, *on: str) -> App:
    return app(id, dependencies=on)


def whole(apps: list[App], groups: list[GroupRecord] | None = None) -> Dependencies:
    return Dependencies({each.id: each for each in apps}, {each.id: each for each in groups or []})


@pytest.mark.parametrize(
    ("apps", "groups", "expected"),
    [
        ([depends("/a", "/b"), depends("/b")], [], []),
        ([depends("/a", "/nowhere")], [], []),
        ([depends("/a", "/b"), depends("/b", "/a")], [], [("/a", "/b", "/a")]),
        ([depends("/a", "/b"), depends("/b", "/c"), depends("/c", "/b")], [], [("/b", "/c", "/b")]),
        ([depends("/g/a", "/h"), depends("/h/b", "/g")], [], [("/g/a", "/h/b", "/g/a")]),
        ([depends("/g/a", "/g"), depends("/g/b")], [], []),
        (
            [depends("/g/a"), depends("/h/b")],
            [GroupRecord(id="/g", version="", dependencies=("/h",)), GroupRecord(id="/h", version="")],
            [],
        ),
        (
            [depends("/g/a"), depends("/h/b")],
            [
                GroupRecord(id="/g", version="", dependencies=("/h",)),
                GroupRecord(id="/h", version="", dependencies=("/g",)),
            ],
            [("/g/a", "/h/b", "/g/a")],
        ),
    ],
)
def test_circles(apps: list[App], groups: list[GroupRecord], expected: list[tuple[str, ...]]) -> None:
    assert whole(apps, groups).circles() == expected
    assert [fault.path for fault in validate_group(apps, groups)] == ["/dependencies"] * len(expected)


def test_a_long_chain_is_walked_without_recursion() -> None:
    apps = [depends(f"/a{n}", f"/a{n + 1}") for n in range(5000)]
    assert whole([*apps, depends("/a5000")]).circles() == []
    [circle] = whole([*apps, depends("/a5000", "/a0")]).circles()
    assert len(circle) == 5002


SELF = [depends("/g/a", "/g"), depends("/g/b"), depends("/g/h/c")]


@pytest.mark.parametrize(
    ("apps", "groups", "depths"),
    [
        ([depends("/a", "/b"), depends("/b", "/c"), depends("/c"), depends("/d", "/nowhere")], [], [2, 1, 0, 0]),
        ([depends("/a", "/g"), depends("/g/b", "/g/c"), depends("/g/c")], [], [2, 1, 0]),
        (SELF, [], [1, 0, 0]),  # a group around it means the others in it
        (SELF[1:], [GroupRecord(id="/g", version="", dependencies=("/g",))], [0, 0]),
        (SELF[1:], [GroupRecord(id="/g/h", version="", dependencies=("/g",))], [0, 1]),
        ([depends("/a"), depends("/g/b", "/")], [], [0, 1]),
    ],
)
def test_depth(apps: list[App], groups: list[GroupRecord], depths: list[int]) -> None:
    found = whole(apps, groups)
    assert [found.depth(each.id) for each in apps] == depths
    assert found.circles() == []


def test_two_apps_that_each_wait_for_their_whole_group_wait_for_each_other() -> None:
    found = whole([depends("/g/a", "/g"), depends("/g/b", "/g")])
    assert found.circles() == [("/g/a", "/g/b", "/g/a")]
    assert {found.depth("/g/a"), found.depth("/g/b")} == {0, 1}


def test_a_circle_through_a_group_is_told_in_apps() -> None:
    found = whole([depends("/a", "/g"), depends("/g/b", "/c"), depends("/c", "/g")])
    assert found.circles() == [("/g/b", "/c", "/g/b")]


def test_only_the_first_circles_are_told() -> None:
    tangle = [depends(f"/g/a{n}", "/g") for n in range(300)]
    assert len(whole(tangle).circles()) == CIRCLES


def test_an_app_names_what_its_own_dependencies_mean() -> None:
    apps = [depends("/g/a", "/g", "/b", "/nowhere"), depends("/g/c"), depends("/b"), depends("/d")]
    groups = [GroupRecord(id="/g", version="", dependencies=("/d",))]
    assert whole(apps, groups).named(apps[0]) == {"/g/c", "/b"}
