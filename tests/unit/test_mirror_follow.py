"""A store that is cut off, forgets or waits goes in; a mirror that has followed it without a gap comes out."""

import asyncio

import pytest

import builders
from kato.model.errors import StoreRefused, StoreUnavailable
from kato.store import Delete, Put, keys
from kato.store.engine import Engine
from kato.store.ledger import Ledger
from kato.store.memory import MemoryStore
from kato.store.mirror import Mirror, follow

pytestmark = pytest.mark.timeout(120)


def put(key: str, value: object) -> Put:
    return Put(key, keys.encode(value))


async def following(store: MemoryStore) -> tuple[Mirror, "asyncio.Task[None]"]:
    mirror = Mirror()
    task = asyncio.create_task(follow(store, mirror))
    await mirror.reached(1)
    return mirror, task


async def test_it_keeps_up() -> None:
    store = MemoryStore()
    await store.txn([], [put(keys.PLAN_SEQ, 1)])
    mirror, task = await following(store)
    assert mirror.plan_seq == 1
    for n in range(2, 20):
        await mirror.reached((await store.txn([], [put(keys.PLAN_SEQ, n)])).revision)
        assert mirror.world().seq == n
    task.cancel()


async def test_it_goes_on_without_a_gap_when_the_store_answers_again() -> None:
    engine = Engine()
    store, other = MemoryStore(engine), MemoryStore(engine)
    mirror, task = await following(store)
    changes = mirror.changes()
    store.cut()
    for n in range(5):
        last = await other.txn([], [put(keys.PLAN_SEQ, n)])
    store.heal()
    await mirror.reached(last.revision)
    assert [(await anext(changes)).items[0].now for _ in range(5)] == [0, 1, 2, 3, 4]
    task.cancel()


async def test_it_reads_anew_where_history_is_gone() -> None:
    engine = Engine(Ledger(keep_revisions=2))
    store, other = MemoryStore(engine), MemoryStore(engine)
    await store.txn([], [put(keys.node("n1"), builders.node())])
    mirror, task = await following(store)
    store.cut()
    await other.txn([], [Delete(keys.node("n1"))])
    for n in range(5):
        last = await other.txn([], [put(keys.PLAN_SEQ, n)])
    store.heal()
    await mirror.reached(last.revision)
    assert (mirror.world().seq, mirror.world().nodes) == (4, {})
    task.cancel()


async def test_it_waits_for_a_store_that_does_not_answer_at_first() -> None:
    store = MemoryStore()
    store.cut()
    mirror = Mirror()
    task = asyncio.create_task(follow(store, mirror))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    store.heal()
    await mirror.reached(1)
    task.cancel()


async def test_it_ends_where_a_value_cannot_be_read() -> None:
    store = MemoryStore()
    _, task = await following(store)
    await store.txn([], [Put(keys.node("n1"), b"{")])
    with pytest.raises(StoreRefused, match="nodes/n1"):
        await task
