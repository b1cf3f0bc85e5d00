"""The store in memory: shared by many, on a clock that jumps, watched at every revision, and made to fail."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from kato.model.errors import NotFound, StoreUnavailable
from kato.store import Events, Put
from kato.store.engine import Engine
from kato.store.memory import FailAt, MemoryStore


class JumpingClock(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(_Jump(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _Jump(selectors.DefaultSelector):
    def __init__(self, loop: JumpingClock) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is left to do, and someone still waits"
        self._loop.now += timeout
        return super().select(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingClock) as runner:
        runner.run(main)


def test_a_lease_lives_on_the_loops_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = MemoryStore()
        lease = await store.lease(30)
        await store.txn([], [Put("leader", b"m1", lease.id)])
        for _ in range(10):
            await asyncio.sleep(20)
            assert await lease.keep_alive() == 30
        start = (await store.range("")).revision
        assert [event.now for event in (await anext(store.watch("leader", start))).items] == [None]
        assert loop.time() == pytest.approx(230)

    run(main())


def test_a_client_that_is_cut_off_hears_nothing_and_its_lease_runs_out_for_the_others() -> None:
    async def main() -> None:
        engine = Engine()
        lost, other = MemoryStore(engine), MemoryStore(engine)
        lease = await lost.lease(10)
        revision = (await lost.txn([], [Put("leader", b"lost", lease.id)])).revision
        watching = asyncio.ensure_future(anext(lost.watch("", revision)))
        await asyncio.sleep(1)
        lost.cut()
        for verb in (watching, lost.get("leader"), lost.txn([], [Put("a", b"")]), lease.keep_alive()):
            with pytest.raises(StoreUnavailable, match="cut off"):
                await verb
        assert await other.get("leader")
        await anext(other.watch("leader", revision))
        assert await other.get("leader") is None
        lost.heal()
        assert await lost.get("a") is None
        with pytest.raises(NotFound):
            await lease.keep_alive()

    run(main())


async def test_stores_of_one_engine_share_everything_and_closing_one_leaves_the_others() -> None:
    engine = Engine()
    one, two = MemoryStore(engine), MemoryStore(engine)
    await one.txn([], [Put("a", b"1")])
    await one.close()
    found = await two.get("a")
    assert found and found.value == b"1"


async def test_an_observer_sees_every_revision_before_anyone_hears_of_it() -> None:
    store = MemoryStore()
    seen: list[Events] = []
    store.engine.observers.append(seen.append)
    watch = store.watch("", 1)
    lease = await store.lease(60)
    answer = await store.txn([], [Put("a", b""), Put("b", b"", lease.id)])
    assert [events.revision for events in seen] == [answer.revision]
    await lease.revoke()
    assert [[event.key for event in events.items] for events in seen] == [["a", "b"], ["b"]]
    assert [await anext(watch), await anext(watch)] == seen


@pytest.mark.parametrize(("when", "arrived"), [("before", False), ("after", True)])
async def test_a_write_fails_before_or_after_its_commit(when: Any, arrived: bool) -> None:
    store = MemoryStore(faults=FailAt(2, when))
    await store.txn([], [Put("a", b"")])
    assert not (await store.txn([], [])).revision > 2, "a transaction that writes nothing has no number"
    with pytest.raises(StoreUnavailable, match=r"[Ww]rite 2"):
        await store.txn([], [Put("b", b"")])
    await store.txn([], [Put("c", b"")])
    assert (await store.get("b") is not None) is arrived
    assert store.writes == 3


async def test_every_verb_gives_way_to_other_tasks() -> None:
    store = MemoryStore()
    ticks = 0

    async def count() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for verb in (store.get("a"), store.range(""), store.txn([], [Put("a", b"")])):
        before = ticks
        await verb
        assert ticks > before
    counting.cancel()
