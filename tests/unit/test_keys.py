"""Keys: what is written comes back, each key belongs to one room, and what cannot be read is said."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from kato.model.deployment import Deployment, GroupRecord, Kill, Launches, Nudge, Progress, Record
from kato.model.errors import StoreRefused
from kato.model.frontend import BorderAck
from kato.model.secret import Secret
from kato.store import keys

APP = builders.app("/voting/vote", ports=2)
TASK = builders.task(APP)
ALL = [
    (keys.CELL, keys.Cell(id="c1"), "cell", ""),
    (keys.app(APP.id), Record(app=APP.id, version=APP.version), "apps", APP.id),
    (keys.version(APP.id, APP.version), APP, "versions", f"{APP.id}@{APP.version}"),
    (keys.group("/voting"), GroupRecord(id="/voting", version=APP.version), "groups", "/voting"),
    (
        keys.deployment("d1"),
        Deployment(id="d1", version=APP.version, original={}, target={APP.id: None}, started=1.5),
        "deployments",
        "d1",
    ),
    (keys.lock(APP.id), "d1", "locks", APP.id),
    (keys.WISH_SEQ, 3, "wish", "seq"),
    (keys.kill(TASK.id), Kill(task=TASK.id, app=APP.id), "kills", TASK.id),
    (keys.nudge(APP.id), Nudge(app=APP.id), "nudges", APP.id),
    (keys.task("n1", TASK.id), TASK, "tasks", f"n1/{TASK.id}"),
    (keys.progress("d1"), Progress(deployment="d1"), "progress", "d1"),
    (keys.launches(APP.id), Launches(app=APP.id), "launches", APP.id),
    (keys.secret("shop/pw"), Secret(value=b"\0\xff", since=1.0), "secrets", "shop/pw"),
    (keys.PLAN_SEQ, 4, "plan", "seq"),
    (keys.node("n1"), builders.node("n1"), "nodes", "n1"),
    (keys.status("n1", TASK.id), builders.status(TASK), "status", f"n1/{TASK.id}"),
    (keys.border("n1"), BorderAck(node="n1", seq=1), "borders", "n1"),
    (keys.link("n1"), "m1", "links", "n1"),
    (keys.LEADER, keys.Leader(master="m1"), "leader", ""),
]


@pytest.mark.parametrize(("key", "value", "room", "id"), ALL, ids=[key for key, *_ in ALL])
def test_what_is_written_comes_back_and_its_key_says_what(key: str, value: object, room: str, id: str) -> None:
    assert keys.decode(key, keys.encode(value)) == value
    assert keys.read(key, keys.encode(value)) == value
    assert keys.split(key) == (room, id)


def test_every_room_has_a_key_here() -> None:
    assert {room for _, _, room, _ in ALL} == set(keys.KINDS)


PATHS = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", fullmatch=True), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(PATHS, PATHS)
def test_the_versions_of_one_app_are_under_its_prefix_and_no_other_ones(one: str, other: str) -> None:
    key = keys.version(other, builders.V1)
    assert key.startswith(keys.versions(one)) is (one == other)
    assert keys.is_version(key)
    assert keys.version_of(key) == (other, builders.V1)


@given(PATHS, PATHS)
def test_the_versions_below_a_group_are_those_of_apps_in_it(group: str, other: str) -> None:
    key = keys.version(other, builders.V1)
    assert key.startswith(keys.versions_below(group)) is other.startswith(group + "/")
    assert key.startswith(keys.versions_below("/"))


@pytest.mark.parametrize("key", [key for key, *_ in ALL if not key.startswith("versions/")])
def test_no_other_key_is_a_version(key: str) -> None:
    assert not keys.is_version(key)


def test_a_groups_prefix_holds_the_versions_of_what_is_in_it() -> None:
    held = {id: keys.version(id, builders.V1) for id in ("/shop", "/shop/web", "/shop/a/db", "/shopping/web")}
    below = keys.versions_below("/shop")
    assert [id for id, key in held.items() if key.startswith(below)] == ["/shop/web", "/shop/a/db"]
    assert all(key.startswith(keys.versions_below("/")) for key in held.values())
    assert {id: keys.version_of(key) for id, key in held.items()} == {id: (id, builders.V1) for id in held}


def test_a_value_that_cannot_be_read_is_said_with_its_key() -> None:
    with pytest.raises(StoreRefused, match=r"at apps/web cannot be read: .*version.*Run the Káto that wrote it"):
        keys.read(keys.app("/web"), b'{"app": "/web"}')
    with pytest.raises(StoreRefused, match="nodes/n1"):
        keys.read(keys.node("n1"), b"\xff")


def test_a_key_of_no_room_is_said() -> None:
    with pytest.raises(StoreRefused, match="holds dreams/1, which this Káto does not know"):
        keys.read("dreams/1", b"{}")
    with pytest.raises(KeyError):
        keys.split("dreams/1")


def test_what_is_stored_is_json_of_plain_words() -> None:
    assert msgspec.json.decode(keys.encode(keys.Cell(id="c1"))) == {"id": "c1", "incarnation": 1, "format": 1}
