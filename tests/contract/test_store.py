"""What every store does alike. A driver joins with one line in DRIVERS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kato.model.errors import Compacted, InvalidInput, NotFound, StoreUnavailable, TxnTooLarge
from kato.store import (
    MAX_TXN_BYTES,
    MAX_TXN_OPERATIONS,
    Committed,
    Compare,
    Delete,
    Event,
    Events,
    KeyValue,
    Op,
    Put,
    Store,
)
from kato.store.engine import Engine
from kato.store.ledger import KEEP_REVISIONS
from kato.store.memory import MemoryStore
from kato.store.opening import open_store

SHORT = 0.1
"""Seconds of a lease that is meant to run out."""
LONG = 60.0

pytestmark = pytest.mark.timeout(120)

Open = Callable[[], Awaitable[Store]]


def _in_memory() -> Open:
    engine = Engine()

    async def open_it() -> Store:
        return MemoryStore(engine)

    return open_it


DRIVERS: dict[str, Callable[[Path], Open]] = {
    "memory": lambda folder: _in_memory(),
    "local": lambda folder: lambda: open_store(f"local:{folder / 'cell.sqlite'}"),
}


@pytest.fixture(params=DRIVERS)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the same store anew; one that is open already is closed first, as the local store has one owner."""
    driver = DRIVERS[request.param](tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        last: list[Store] = []

        async def open_it() -> Store:
            if last:
                await last.pop().close()
            last.append(await driver())
            stack.push_async_callback(last[-1].close)
            return last[-1]

        yield open_it


@pytest.fixture
async def store(opened: Open) -> Store:
    return await opened()


async def put(store: Store, key: str, value: bytes = b"", lease: int = 0) -> int:
    return (await store.txn([], [Put(key, value, lease)])).revision


async def take(events: AsyncIterator[Events], count: int) -> list[Events]:
    return [await anext(events) for _ in range(count)]


async def removal_of(key: str, store: Store, since: int) -> Event:
    async for events in store.watch(key, since):
        for event in events.items:
            if event.now is None:
                return event
    raise AssertionError("a watch never ends")


async def test_a_key_carries_its_revisions_and_the_count_of_its_writes(store: Store) -> None:
    first = await put(store, "a", b"1")
    second = await put(store, "a", b"2")
    assert await store.get("a") == KeyValue("a", b"2", created=first, modified=second, version=2)
    await store.txn([], [Delete("a")])
    assert await store.get("a") is None
    again = await put(store, "a", b"3")
    assert await store.get("a") == KeyValue("a", b"3", created=again, modified=again, version=1)


async def test_unknown_keys_are_nothing(store: Store) -> None:
    assert await store.get("none") is None
    assert (await store.range("none")).items == ()
    before = (await store.range("")).revision
    assert await store.txn([], [Delete("none"), Delete("none/", prefix=True)]) == Committed(True, before)


async def test_each_transaction_that_writes_raises_the_revision_by_one(store: Store) -> None:
    start = (await store.range("")).revision
    assert start >= 1, "revision 0 means: nothing read yet"
    assert await store.txn([], [Put("a", b""), Put("b", b""), Put("c", b"")]) == Committed(True, start + 1)
    assert [item.modified for item in (await store.range("")).items] == [start + 1] * 3
    assert await store.txn([Compare("a", "version", "=", 7)], [Put("a", b"")]) == Committed(False, start + 1)
    assert await store.txn([], []) == Committed(True, start + 1)
    assert (await store.range("")).revision == start + 1


async def test_a_range_is_in_key_order_and_ends_with_its_prefix(store: Store) -> None:
    names = ["a", "a/", "a/b", "a/\U0010ffff", "a/é", "a0", "b"]
    for name in reversed(names):
        await put(store, name)
    assert [item.key for item in (await store.range("a/")).items] == ["a/", "a/b", "a/é", "a/\U0010ffff"]
    assert [item.key for item in (await store.range("")).items] == sorted(names)


HELD: list[tuple[str, str, Any, bool]] = [
    ("value", "=", b"m", True),
    ("value", "=", b"n", False),
    ("value", "!=", b"n", True),
    ("value", "!=", b"m", False),
    ("value", "<", b"n", True),
    ("value", "<", b"m", False),
    ("value", ">", b"a", True),
    ("value", ">", b"m", False),
    ("version", "=", 2, True),
    ("version", "!=", 2, False),
    ("version", "<", 3, True),
    ("version", ">", 2, False),
    ("lease", "=", 0, True),
    ("lease", ">", 0, False),
]


@pytest.mark.parametrize(("field", "is_", "to", "holds"), HELD)
async def test_compares(store: Store, field: Any, is_: Any, to: Any, holds: bool) -> None:
    await put(store, "k", b"l")
    await put(store, "k", b"m")
    assert (await store.txn([Compare("k", field, is_, to)], [Put("done", b"")])).done is holds
    assert (await store.get("done") is not None) is holds


async def test_compares_of_revisions_and_leases(store: Store) -> None:
    lease = await store.lease(LONG)
    created = await put(store, "k")
    modified = await put(store, "k", lease=lease.id)
    for field, value in (("created", created), ("modified", modified), ("lease", lease.id)):
        for is_, to, holds in (
            ("=", value, True),
            ("!=", value, False),
            ("<", value, False),
            (">", value - 1, True),
        ):
            compare = Compare("k", field, is_, to)  # type: ignore[arg-type]
            assert (await store.txn([compare], [])).done is holds, compare


async def test_what_does_not_exist_compares_as_zero_and_has_no_value(store: Store) -> None:
    field: Any
    is_: Any
    for field in ("modified", "created", "version", "lease"):
        assert (await store.txn([Compare("none", field, "=", 0)], [])).done, field
        assert not (await store.txn([Compare("none", field, ">", 0)], [])).done, field
    for is_ in ("=", "!=", "<", ">"):
        assert not (await store.txn([Compare("none", "value", is_, b"")], [])).done, is_


async def test_one_compare_that_fails_stops_every_operation(store: Store) -> None:
    await put(store, "a", b"1")
    compares = [Compare("a", "value", "=", b"1"), Compare("b", "modified", ">", 0)]
    assert not (await store.txn(compares, [Put("c", b""), Delete("a")])).done
    assert [item.key for item in (await store.range("")).items] == ["a"]


async def test_compares_and_operations_share_one_limit(store: Store) -> None:
    compares = [Compare(f"c{n}", "modified", "=", 0) for n in range(64)]
    ops: list[Op] = [Put(f"k{n}", b"") for n in range(MAX_TXN_OPERATIONS - 64)]
    assert (await store.txn(compares, ops)).done
    with pytest.raises(TxnTooLarge, match=r"129.*128"):
        await store.txn([], [Put(f"x{n}", b"") for n in range(MAX_TXN_OPERATIONS + 1)])
    with pytest.raises(TxnTooLarge):
        await store.txn(compares, [*ops, Delete("x")])
    assert (await store.range("x")).items == ()


async def test_a_transaction_of_too_many_bytes_is_refused_whole(store: Store) -> None:
    assert (await store.txn([], [Put("a", bytes(MAX_TXN_BYTES - 1))])).done
    with pytest.raises(TxnTooLarge):
        await store.txn([], [Put("b", bytes(MAX_TXN_BYTES - 1)), Put("c", b"")])
    with pytest.raises(TxnTooLarge):
        await store.txn([Compare("é", "value", "=", bytes(MAX_TXN_BYTES - 1))], [])
    assert [item.key for item in (await store.range("")).items] == ["a"]


@pytest.mark.parametrize(
    "ops",
    [
        [Put("a", b"1"), Put("a", b"2")],
        [Put("a", b"1"), Delete("a")],
        [Delete("a"), Delete("a")],
        [Put("a/b", b"1"), Delete("a/", prefix=True)],
        [Delete("a/", prefix=True), Delete("a/b", prefix=True)],
        [Put("", b"")],
    ],
)
async def test_operations_that_meet_on_one_key_are_refused(store: Store, ops: list[Op]) -> None:
    with pytest.raises(ValueError, match=r"two operations on a|a key is empty"):
        await store.txn([], ops)
    assert (await store.range("")).items == ()


async def test_a_compare_with_the_wrong_type_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="version"):
        await store.txn([Compare("a", "version", "=", b"1")], [])
    with pytest.raises(ValueError, match="value"):
        await store.txn([Compare("a", "value", "=", 1)], [])


async def test_a_prefix_is_removed_whole_and_nothing_beside_it(store: Store) -> None:
    await store.txn([], [Put(name, b"") for name in ("a", "a/", "a/1", "a/2", "a0", "b")])
    committed = await store.txn([], [Delete("a/", prefix=True), Put("c", b"")])
    assert [item.key for item in (await store.range("")).items] == ["a", "a0", "b", "c"]
    events = await anext(store.watch("a/", committed.revision - 1))
    assert [(event.key, event.now) for event in events.items] == [("a/", None), ("a/1", None), ("a/2", None)]


async def test_fifty_writers_count_on_one_key_and_lose_nothing(store: Store) -> None:
    async def count(times: int) -> None:
        while times:
            found = await store.get("n")
            value = int(found.value) if found else 0
            compare = Compare("n", "modified", "=", found.modified if found else 0)
            times -= (await store.txn([compare], [Put("n", str(value + 1).encode())])).done

    await asyncio.gather(*(count(4) for _ in range(50)))
    found = await store.get("n")
    assert found and (found.value, found.version) == (b"200", 200)


async def test_writes_that_are_decided_together_see_each_other(store: Store) -> None:
    answers = await asyncio.gather(
        store.txn([Compare("a", "modified", "=", 0)], [Put("a", b"1")]),
        store.txn([Compare("a", "value", "=", b"1")], [Put("b", b""), Delete("a")]),
        store.txn([Compare("a", "modified", "=", 0)], [Put("a", b"2"), Delete("b", prefix=True)]),
        store.txn([Compare("a", "value", "=", b"1")], [Put("never", b"")]),
    )
    assert [answer.done for answer in answers] == [True, True, True, False]
    assert [(item.key, item.value, item.version) for item in (await store.range("")).items] == [("a", b"2", 1)]


async def test_a_watch_tells_every_revision_whole_and_in_order(store: Store) -> None:
    start = (await store.range("")).revision
    await store.txn([], [Put("a/1", b"x"), Put("b", b""), Put("a/2", b"y")])
    await put(store, "b", b"not under the prefix")
    await store.txn([], [Delete("a/1"), Put("a/2", b"z")])
    first, second = await take(store.watch("a/", start), 2)
    assert (first.revision, second.revision) == (start + 1, start + 3)
    assert [event.key for event in first.items] == ["a/1", "a/2"]
    assert all(event.before is None for event in first.items)
    assert second.items == (
        Event("a/1", None, KeyValue("a/1", b"x", start + 1, start + 1, 1)),
        Event(
            "a/2",
            KeyValue("a/2", b"z", start + 1, start + 3, 2),
            KeyValue("a/2", b"y", start + 1, start + 1, 1),
        ),
    )


async def test_a_watch_that_waits_hears_what_comes(store: Store) -> None:
    waiting = asyncio.ensure_future(anext(store.watch("a", (await store.range("")).revision)))
    await put(store, "b")
    revision = await put(store, "a")
    assert (await waiting).revision == revision


async def test_a_watch_from_a_range_has_no_gap_while_others_write(store: Store) -> None:
    async def write() -> None:
        for n in range(300):
            await put(store, f"k{n % 7}", str(n).encode())

    writing = asyncio.create_task(write())
    state: dict[str, bytes] = {}
    while len(state) < 3:
        await asyncio.wait({writing}, timeout=0)
        seen = await store.range("")
        state = {item.key: item.value for item in seen.items}
    revision = seen.revision
    async for events in store.watch("", seen.revision):
        assert events.revision == revision + 1
        revision = events.revision
        state.update((event.key, event.now.value) for event in events.items if event.now)
        if events.items[0].now and events.items[0].now.value == b"299":
            break
    await writing
    assert state == {item.key: item.value for item in (await store.range("")).items}


async def test_a_watch_goes_on_after_a_restart_where_it_stood(opened: Open) -> None:
    store = await opened()
    start = (await store.range("")).revision
    await put(store, "a", b"1")
    seen = (await anext(store.watch("", start))).revision
    await put(store, "a", b"2")
    await store.txn([], [Delete("a")])
    store = await opened()
    await put(store, "a", b"3")
    events = await take(store.watch("", seen), 3)
    assert [each.revision for each in events] == [seen + 1, seen + 2, seen + 3]
    assert [each.items[0].now and each.items[0].now.value for each in events] == [b"2", None, b"3"]


async def test_what_was_written_and_its_revisions_outlive_a_restart(opened: Open) -> None:
    store = await opened()
    await store.txn([], [Put("a", b"\x00\xff"), Put("b", b""), Put("gone", b"")])
    await store.txn([], [Put("a", b"2"), Delete("gone")])
    before = await store.range("")
    store = await opened()
    assert await store.range("") == before
    assert await put(store, "c") == before.revision + 1


@pytest.mark.parametrize("urgent", [False, True])
async def test_a_disk_that_is_not_full_has_room(store: Store, urgent: bool) -> None:
    assert await store.room(urgent=urgent)


async def test_a_closed_store_says_so_and_its_watches_end(opened: Open) -> None:
    store = await opened()
    waiting = asyncio.ensure_future(anext(store.watch("", (await store.range("")).revision)))
    await asyncio.wait({waiting}, timeout=0)
    await store.close()
    for verb in (
        waiting,
        store.get("a"),
        store.range(""),
        store.txn([], []),
        store.lease(1),
        store.room(urgent=True),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            await verb
    await store.close()


async def test_history_that_is_gone_is_said_and_reading_anew_mends_it(store: Store) -> None:
    start = (await store.range("")).revision
    behind = store.watch("", start)
    await put(store, "first")
    assert (await anext(behind)).revision == start + 1
    for _ in range(KEEP_REVISIONS // 500 + 1):
        await asyncio.gather(*(put(store, "k", b"x") for _ in range(500)))
    with pytest.raises(Compacted):
        await anext(behind)
    with pytest.raises(Compacted):
        await anext(store.watch("first", start))
    seen = await store.range("")
    assert len(await take(store.watch("", seen.revision - KEEP_REVISIONS), KEEP_REVISIONS)) == KEEP_REVISIONS


async def test_a_lease_that_is_not_renewed_takes_its_keys(store: Store) -> None:
    lease = await store.lease(5 * SHORT)
    start = await put(store, "mine", b"x", lease.id)
    assert (await removal_of("mine", store, start)).before == KeyValue("mine", b"x", start, start, 1, lease.id)
    assert await store.get("mine") is None
    with pytest.raises(NotFound, match=str(lease.id)):
        await lease.keep_alive()
    with pytest.raises(NotFound):
        await lease.revoke()
    with pytest.raises(NotFound):
        await put(store, "mine", b"y", lease.id)


async def test_a_lease_that_is_renewed_keeps_its_keys(store: Store) -> None:
    kept, witness = await store.lease(10 * SHORT), await store.lease(21 * SHORT)
    await put(store, "kept", lease=kept.id)
    start = await put(store, "witness", lease=witness.id)
    gone = asyncio.create_task(removal_of("witness", store, start))
    while not gone.done():  # renewed more than twice as long as it lasts by itself
        assert await kept.keep_alive() == pytest.approx(10 * SHORT)
        await asyncio.wait({gone}, timeout=SHORT)
    assert await store.get("kept") is not None


async def test_revoking_a_lease_takes_all_of_its_keys_in_one_revision(store: Store) -> None:
    lease, other = await store.lease(LONG), await store.lease(LONG)
    await put(store, "a", lease=lease.id)
    await put(store, "c", lease=other.id)
    start = await put(store, "b", lease=lease.id)
    await lease.revoke()
    events = await anext(store.watch("", start))
    assert [(event.key, event.now) for event in events.items] == [("a", None), ("b", None)]
    assert [item.key for item in (await store.range("")).items] == ["c"]
    with pytest.raises(NotFound):
        await lease.revoke()


async def test_a_key_that_is_written_without_its_lease_outlives_it(store: Store) -> None:
    lease = await store.lease(LONG)
    await put(store, "a", b"1", lease.id)
    await put(store, "a", b"2")
    await lease.revoke()
    found = await store.get("a")
    assert found and (found.value, found.lease) == (b"2", 0)


async def test_a_lease_that_never_was_is_refused_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(NotFound, match="4711"):
        await store.txn([], [Put("a", b""), Put("b", b"", 4711)])
    assert (await store.range("")).items == ()


@pytest.mark.parametrize("url", ["", "local", "local:", "memory:name", "consul:there", "/var/lib/kato"])
async def test_another_url_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"memory:.*local:PATH"):
        await open_store(url)


async def test_a_store_in_memory_is_alone() -> None:
    one, two = await open_store("memory:"), await open_store("memory:")
    await put(one, "a")
    assert await two.get("a") is None
