"""The loop acts at once, gathers bursts, and backs off for as long as it fails; elections outlast an outage."""

import asyncio
import itertools

import pytest

from fakes import run
from kato.loop import Backoff, Loop, Pass, Told
from kato.master.leader import TTL, elect, keep
from kato.model.errors import LeadershipLost, Unavailable
from kato.store.memory import MemoryStore
from kato.store.mirror import Mirror, follow


def test_the_pause_doubles_to_its_limit_and_stays_there() -> None:
    backoff = Backoff()
    pauses = [backoff.longer() for _ in range(2000)]
    assert pauses[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert set(pauses[6:]) == {5.0}
    backoff.reset()
    assert backoff.longer() == 0.1


def test_a_loop_outlives_any_number_of_failures() -> None:
    async def main() -> int:
        calls = 0

        async def step() -> Pass:
            nonlocal calls
            calls += 1
            if calls < 2000:
                raise Unavailable("the store is away")
            over.set()
            return Pass((Told("done", {"app": "/a"}),))

        over = asyncio.Event()
        running = asyncio.create_task(Loop("test", step).run())
        await over.wait()
        running.cancel()
        return calls

    assert run(main()) == 2000


def test_in_a_long_burst_rests_grow_and_a_lone_wake_never_waits() -> None:
    async def main() -> list[float]:
        passes: list[float] = []
        clock = asyncio.get_running_loop().time

        async def step() -> Pass:
            passes.append(clock())
            return Pass()

        loop = Loop("test", step, gathers=0.1)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(1)
        for _ in range(200):
            loop.wake()
            await asyncio.sleep(0.005)
        last = clock() - 0.005
        await asyncio.sleep(1)
        loop.wake()
        await asyncio.sleep(0)
        lone, woken = passes[-1], clock()
        loop.wake()
        await asyncio.sleep(1)
        running.cancel()
        assert lone == woken and passes[-1] == pytest.approx(woken + 0.02)
        assert last <= passes[-3] <= last + 0.1
        return passes[1:-2]

    burst = run(main())
    rests = [later - one for one, later in itertools.pairwise(burst)]
    assert rests[:4] == pytest.approx([0.02, 0.04, 0.08, 0.1]) and max(rests) < 0.1 + 1e-9
    assert len(burst) <= 13


def test_the_first_wake_is_acted_on_at_once_and_a_burst_is_one_pass() -> None:
    async def main() -> list[float]:
        passes: list[float] = []
        clock = asyncio.get_running_loop().time

        async def step() -> Pass:
            passes.append(clock())
            return Pass()

        loop = Loop("test", step)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(1)
        for _ in range(10):
            loop.wake()
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        running.cancel()
        return passes

    assert run(main()) == [0.0, 1.0, pytest.approx(1.02)]


def test_an_election_outlasts_an_outage_and_a_lost_lease_is_noticed() -> None:
    async def main() -> tuple[bool, float]:
        store, mirror = MemoryStore(), Mirror()
        following = asyncio.create_task(follow(store, mirror))
        await mirror.reached(1)
        store.cut()
        electing = asyncio.create_task(elect(store, mirror, "m1", ""))
        await asyncio.sleep(60)
        waited = not electing.done()
        store.heal()
        term = await electing
        store.cut()
        began = asyncio.get_running_loop().time()
        with pytest.raises(LeadershipLost):
            await keep(term)
        following.cancel()
        return waited, asyncio.get_running_loop().time() - began

    waited, lost_after = run(main())
    assert waited
    assert lost_after <= TTL
