"""The mirror: snapshot or events give the same World, a World never changes, and nothing is copied in vain."""

import asyncio
import gc
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from kato.model.app import App
from kato.model.deployment import Deployment, Record
from kato.model.errors import Compacted, StoreRefused
from kato.model.task import Task, TaskState
from kato.model.world import World
from kato.store import Delete, Events, KeyValue, Op, Put, Range, keys
from kato.store.changes import Change
from kato.store.ledger import Ledger
from kato.store.mirror import Mirror

WEB1, WEB2 = builders.app("/web"), builders.app("/web", version=builders.V2)
API1 = builders.app("/api")

pytestmark = pytest.mark.timeout(120)


class Writer:
    """A ledger whose every write goes to a mirror at once."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.mirror = Mirror()
        self.mirror.reset(self.ledger.range(""))

    def write(self, *ops: Op) -> Events | None:
        events = self.ledger.stage(ops)
        if events:
            self.ledger.commit(events)
            self.mirror.update(events)
        return events

    def wish(self, *apps: App) -> None:
        """Puts versions and points to them."""
        for app in apps:
            self.write(version(app))
            self.write(put(keys.app(app.id), Record(app=app.id, version=app.version)))


@pytest.fixture
def writer() -> Writer:
    return Writer()


def put(key: str, value: object) -> Put:
    return Put(key, keys.encode(value))


def version(app: App) -> Put:
    return put(keys.version(app.id, app.version), app)


def deployment(id: str, *, of: Mapping[str, str | None], **more: Any) -> Put:
    original: dict[str, str | None] = dict.fromkeys(of)
    made = Deployment(id=id, version=builders.V1, original=original, target=of, started=0, **more)
    return put(keys.deployment(id), made)


def place(task: Task) -> Put:
    return put(keys.task(task.node, task.id), task)


def report(task: Task, state: TaskState = TaskState.RUNNING, **more: Any) -> Put:
    return put(keys.status(task.node, task.id), builders.status(task, state, **more))


def frozen(world: World) -> dict[str, Any]:
    """A World's contents, copied: to compare with later."""
    copied: dict[str, Any] = {}
    for field in fields(world):
        value = getattr(world, field.name)
        if isinstance(value, Mapping):
            value = {key: dict(each) if isinstance(each, Mapping) else each for key, each in value.items()}
        copied[field.name] = value
    copied["spec"] = [world.spec(app.id, app.version) for app in (WEB1, WEB2, API1)]
    return copied


def same(one: World, other: World) -> set[str]:
    """The mappings that two Worlds share."""
    return {field.name for field in fields(one) if getattr(one, field.name) is getattr(other, field.name)}


def test_an_empty_store_is_an_empty_world(writer: Writer) -> None:
    assert frozen(writer.mirror.world()) == frozen(World(revision=1))
    assert Mirror().revision == 0


def test_a_world_holds_what_was_written(writer: Writer) -> None:
    task = builders.task(WEB1)
    writer.wish(WEB1)
    node = builders.node()
    writer.write(put(keys.node("n1"), node), put(keys.PLAN_SEQ, 7), put(keys.WISH_SEQ, 3))
    events = writer.write(place(task), report(task, alive=True))
    mirror = writer.mirror
    world = mirror.world(dark={"n1"})
    assert events and world.revision == mirror.revision == events.revision
    assert (world.seq, mirror.plan_seq, mirror.wish_seq) == (7, 7, 3)
    assert (world.apps, world.nodes, world.dark) == ({"/web": WEB1}, {"n1": node}, {"n1"})
    assert world.tasks == {"/web": {task.id: task}}
    assert world.statuses == {"/web": {task.id: builders.status(task, alive=True)}}
    assert mirror.get(keys.task("n1", task.id)) == task
    assert mirror.get(keys.version("/web", builders.V1)) == WEB1


def test_keys_have_revisions_to_compare_with(writer: Writer) -> None:
    assert (writer.mirror.modified(keys.LEADER), writer.mirror.leader) == (0, None)
    first = writer.write(put(keys.LEADER, keys.Leader(master="m1")))
    second = writer.write(put(keys.LEADER, keys.Leader(master="m1", address="x")))
    assert first and writer.mirror.created(keys.LEADER) == first.revision
    assert second and writer.mirror.modified(keys.LEADER) == second.revision
    assert writer.mirror.leader == keys.Leader(master="m1", address="x")
    writer.write(Delete(keys.LEADER))
    assert (writer.mirror.modified(keys.LEADER), writer.mirror.created(keys.LEADER)) == (0, 0)


def test_a_status_copies_its_own_app_and_nothing_else(writer: Writer) -> None:
    web, api = builders.task(WEB1), builders.task(API1)
    writer.wish(WEB1, API1)
    writer.write(place(web), place(api), report(web, TaskState.STAGING), report(api))
    before = writer.mirror.world()
    writer.write(report(web))
    after = writer.mirror.world()
    assert same(before, after) == {field.name for field in fields(World)} - {"revision", "statuses"}
    assert after.statuses["/api"] is before.statuses["/api"]
    assert before.statuses["/web"][web.id].state is TaskState.STAGING
    assert after.statuses["/web"][web.id].state is TaskState.RUNNING


def test_nothing_is_copied_while_no_world_holds_it(writer: Writer) -> None:
    task = builders.task(WEB1)
    writer.write(place(task), report(task))
    shared = writer.mirror.world().statuses
    writer.write(report(task, seq=2))
    writer.write(report(task, seq=3))
    own = writer.mirror._statuses._groups["/web"]
    writer.write(report(task, seq=4))
    assert writer.mirror._statuses._groups["/web"] is own
    assert writer.mirror.world().statuses["/web"] is own is not shared["/web"]


def test_a_world_that_did_not_change_is_the_same_object(writer: Writer) -> None:
    world = writer.mirror.world()
    assert writer.mirror.world() is world
    dark = writer.mirror.world(dark={"n1"})
    assert dark.dark == {"n1"} and writer.mirror.world(dark={"n1"}) is dark


def test_an_app_is_gone_from_tasks_and_statuses_with_its_last_task(writer: Writer) -> None:
    task = builders.task(WEB1)
    writer.write(place(task), report(task))
    writer.write(Delete(keys.task("n1", task.id)), Delete(keys.status("n1", task.id)))
    assert (writer.mirror.world().tasks, writer.mirror.world().statuses) == ({}, {})


def test_versions_are_decoded_at_their_first_use_and_once(writer: Writer) -> None:
    writer.write(version(WEB1), version(WEB2))
    assert writer.mirror._specs._decoded == {}
    spec = writer.mirror.world().spec
    assert spec("/web", builders.V2) == WEB2
    assert list(writer.mirror._specs._decoded) == [keys.version("/web", builders.V2)]
    writer.write(version(API1))
    later = writer.mirror.world().spec
    assert later("/web", builders.V2) is spec("/web", builders.V2)
    assert (spec("/api", builders.V1), later("/api", builders.V1)) == (None, API1)
    writer.write(Delete(keys.version("/web", builders.V2)))
    assert writer.mirror.world().spec("/web", builders.V2) is None
    assert spec("/web", builders.V2) == WEB2


class TestWishesInForce:
    """`World.apps` and `World.locks`: pointers, overlaid with what deployments say."""

    def test_a_deployments_target_is_in_force_from_the_flip_on_whole(self, writer: Writer) -> None:
        writer.wish(WEB1)
        writer.write(version(WEB2), version(API1))
        writer.write(deployment("d1", of={"/web": builders.V2, "/api": builders.V1}, settled=False))
        world = writer.mirror.world()
        assert world.apps == {"/web": WEB2, "/api": API1}
        assert world.locks == {"/web": "d1", "/api": "d1"}
        assert world.apps["/web"] is world.spec("/web", builders.V2)

    def test_a_target_of_none_removes_the_app(self, writer: Writer) -> None:
        writer.wish(WEB1, API1)
        writer.write(deployment("d1", of={"/web": None}))
        assert writer.mirror.world().apps == {"/api": API1}
        assert writer.mirror.world().locks == {"/web": "d1"}

    def test_the_newest_deployment_wins(self, writer: Writer) -> None:
        writer.write(version(WEB1), version(WEB2), version(API1))
        writer.write(deployment("z", of={"/web": builders.V1, "/api": builders.V1}))
        writer.write(deployment("a", of={"/web": builders.V2}))
        writer.write(deployment("z", of={"/web": builders.V1, "/api": builders.V1}))  # written anew, made before
        assert writer.mirror.world().apps == {"/web": WEB2, "/api": API1}
        assert writer.mirror.world().locks == {"/web": "a", "/api": "z"}
        writer.write(Delete(keys.deployment("a")))
        assert writer.mirror.world().apps == {"/web": WEB1, "/api": API1}
        assert writer.mirror.world().locks == {"/web": "z", "/api": "z"}

    def test_a_cancelled_deployment_holds_nothing(self, writer: Writer) -> None:
        writer.wish(WEB1)
        writer.write(version(WEB2), deployment("d1", of={"/web": builders.V2}))
        writer.write(deployment("d1", of={"/web": builders.V2}, cancelled=True))
        assert writer.mirror.world().apps == {"/web": WEB1}
        assert writer.mirror.world().locks == {}

    def test_a_cancelled_deployments_wish_stands_until_its_pointers_are_written(self, writer: Writer) -> None:
        writer.wish(WEB1)
        writer.write(version(WEB2), deployment("d1", of={"/web": builders.V2}, cancelled=True, settled=False))
        assert writer.mirror.world().apps == {"/web": WEB2}
        writer.wish(WEB2)
        writer.write(deployment("d1", of={"/web": builders.V2}, cancelled=True))
        assert writer.mirror.world().apps == {"/web": WEB2}

    def test_a_lock_counts_as_long_as_its_deployment_lives(self, writer: Writer) -> None:
        writer.write(deployment("d1", of={}, cancelled=True), put(keys.lock("/web"), "d1"))
        writer.write(put(keys.lock("/api"), "long over"))
        assert writer.mirror.world().locks == {"/web": "d1"}
        writer.write(Delete(keys.deployment("d1")), Delete(keys.lock("/web")))
        assert writer.mirror.world().locks == {}

    def test_a_version_that_is_missing_is_said(self, writer: Writer) -> None:
        with pytest.raises(StoreRefused, match=r"versions/web@2026.* is not in the store"):
            writer.write(put(keys.app("/web"), Record(app="/web", version=builders.V1)))


def test_a_value_that_cannot_be_read_is_said_and_changes_nothing(writer: Writer) -> None:
    before = frozen(writer.mirror.world())
    with pytest.raises(StoreRefused, match="nodes/n1 cannot be read"):
        writer.write(put(keys.PLAN_SEQ, 9), Put(keys.node("n1"), b"{"))
    assert frozen(writer.mirror.world()) == before
    with pytest.raises(StoreRefused, match="nodes/n1"):
        Mirror().reset(Range(5, (KeyValue(keys.node("n1"), b"[]", 1, 1, 1),)))


def test_a_key_of_a_newer_kato_is_passed_over(writer: Writer) -> None:
    before = frozen(writer.mirror.world())
    writer.write(Put("dreams/1", b"{"))
    writer.write(Delete("dreams/1"))
    assert frozen(writer.mirror.world()) == before | {"revision": before["revision"] + 2}
    (fresh := Mirror()).reset(Range(5, (KeyValue("dreams/1", b"{", 1, 1, 1),)))
    assert fresh.get("dreams/1") is None and fresh.revision == 5


TASKS = [builders.task(app, attempt, on=f"n{attempt % 2}") for app in (WEB1, API1) for attempt in range(4)]
KEYS = [keys.task(each.node, each.id) for each in TASKS] + [keys.status(each.node, each.id) for each in TASKS]
POINTERS = [keys.app("/web"), keys.app("/api"), keys.lock("/web"), keys.deployment("d1"), keys.deployment("d2")]
SOME_TASK = st.sampled_from(TASKS)
SOME_TARGET = st.dictionaries(st.sampled_from(["/web", "/api"]), st.sampled_from([builders.V1, None]))
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(place, SOME_TASK),
    st.builds(report, SOME_TASK, st.sampled_from(TaskState), seq=st.integers(0, 3)),
    st.builds(Delete, st.sampled_from([*KEYS, *POINTERS, keys.node("n1"), keys.PLAN_SEQ])),
    st.builds(
        deployment, st.sampled_from(["d1", "d2"]), of=SOME_TARGET, cancelled=st.booleans(), settled=st.booleans()
    ),
    st.builds(put, st.just(keys.app("/web")), st.just(Record(app="/web", version=builders.V2))),
    st.builds(put, st.just(keys.lock("/web")), st.sampled_from(["d1", "d2"])),
    st.builds(put, st.just(keys.node("n1")), st.builds(builders.node, cpus=st.floats(0, 8))),
    st.builds(put, st.just(keys.PLAN_SEQ), st.integers(0, 9)),
)


@given(st.lists(st.lists(OPS, min_size=1, max_size=4, unique_by=lambda op: op.key), max_size=12))
def test_events_or_a_snapshot_give_the_same_world_and_no_world_changes(writes: list[list[Op]]) -> None:
    writer = Writer()
    writer.write(version(WEB1), version(WEB2), version(API1))
    late = Mirror()
    taken: list[tuple[World, dict[str, Any]]] = []
    for n, ops in enumerate(writes):
        writer.write(*ops)
        if n % 2:
            late.reset(writer.ledger.range(""))
            late.world()
        world = writer.mirror.world()
        taken.append((world, frozen(world)))
    late.reset(writer.ledger.range(""))
    fresh = Mirror()
    fresh.reset(writer.ledger.range(""))
    assert frozen(writer.mirror.world()) == frozen(late.world()) == frozen(fresh.world())
    for world, before in taken:
        assert frozen(world) == before


async def test_a_subscriber_gets_every_change_decoded(writer: Writer) -> None:
    node = builders.node()
    with writer.mirror.changes() as changes:
        writer.write(put(keys.PLAN_SEQ, 1), put(keys.node("n1"), node))
        writer.write(put(keys.PLAN_SEQ, 2), version(WEB1))
        writer.write(Delete(keys.node("n1")))
        first = await anext(changes)
        assert first == (2, (Change(keys.PLAN_SEQ, None, 1), Change(keys.node("n1"), None, node)))
        second, third = await anext(changes), await anext(changes)
        assert second.items[1] == Change(keys.version("/web", builders.V1), None, WEB1)
        assert third == (4, (Change(keys.node("n1"), node, None),))
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.wait({waiting}, timeout=0)
        writer.write(put(keys.PLAN_SEQ, 3))
        assert (await waiting).items == (Change(keys.PLAN_SEQ, 2, 3),)


async def test_a_reset_tells_subscribers_only_what_it_changed(writer: Writer) -> None:
    writer.write(put(keys.PLAN_SEQ, 1), put(keys.WISH_SEQ, 1), put(keys.node("n1"), builders.node()))
    behind = Mirror()
    behind.reset(writer.ledger.range(""))
    writer.write(put(keys.PLAN_SEQ, 2), Delete(keys.node("n1")))
    with behind.changes() as changes:
        behind.reset(writer.ledger.range(""))
        told = await anext(changes)
    assert told == (3, (Change(keys.node("n1"), builders.node(), None), Change(keys.PLAN_SEQ, 1, 2)))


async def test_a_slow_subscriber_is_dropped_and_the_others_go_on(writer: Writer) -> None:
    slow, fast = writer.mirror.changes(limit=2), writer.mirror.changes(limit=3)
    for n in range(3):
        writer.write(put(keys.PLAN_SEQ, n))
    with pytest.raises(Compacted, match="fell 2 changes behind"):
        await anext(slow)
    assert [(await anext(fast)).revision for _ in range(3)] == [2, 3, 4]


async def test_a_subscription_that_is_closed_ends(writer: Writer) -> None:
    changes = writer.mirror.changes()
    waiting = asyncio.ensure_future(anext(changes, None))
    await asyncio.wait({waiting}, timeout=0)
    changes.close()
    assert await waiting is None
    writer.write(put(keys.PLAN_SEQ, 1))
    assert await anext(changes, None) is None


async def test_reached_waits_for_a_revision(writer: Writer) -> None:
    await writer.mirror.reached(1)
    third, second = (asyncio.ensure_future(writer.mirror.reached(revision)) for revision in (3, 2))
    await asyncio.wait({second, third}, timeout=0)
    writer.write(put(keys.PLAN_SEQ, 1))
    await second
    assert not third.done()
    third.cancel()
    await asyncio.wait({third})
    assert writer.mirror._awaited == [], "who gives up leaves nothing behind"
    writer.write(put(keys.PLAN_SEQ, 2))
    await writer.mirror.reached(3)


def test_what_one_write_costs_does_not_grow_with_the_deployment_that_it_belongs_to() -> None:
    few, many = (deploying(Writer(), count) for count in (20, 5_000))
    assert many < 10 * few


def deploying(writer: Writer, count: int) -> float:
    """Seconds of processor time for a thousand pointers of a deployment of so many apps."""
    apps = [builders.app(f"/a{n}") for n in range(count)]
    target = {app.id: app.version for app in apps}
    writer.write(*(version(app) for app in apps))
    deployment = Deployment(id="d", version=builders.V1, original={}, target=target, started=0, settled=False)
    writer.write(put(keys.deployment("d"), deployment))
    gc.collect()
    gc.disable()  # a look at all that other tests of this process left costs more than a thousand writes
    try:
        began = time.process_time()
        for n in range(1_000):
            writer.write(put(keys.lock(f"/a{n % count}"), "d"))
        return time.process_time() - began
    finally:
        gc.enable()
