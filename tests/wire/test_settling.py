"""Wishes of many transactions: in force from the flip on, finished by whoever comes next, never by halves."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from cells import Cell, Start

from builders import app
from kato.api.wish import Wish, Wishes
from kato.api.wish.commit import TRIES
from kato.api.wish.wish import Asked
from kato.model.app import App
from kato.model.deployment import Deployment
from kato.model.errors import InvalidApp, StoreUnavailable
from kato.model.world import World
from kato.store import Put, keys
from kato.store.memory import FailAt, MemoryStore
from kato.store.mirror import Mirror, follow

COUNT = 150
CUTS: list[tuple[int, Literal["before", "after"]]] = [
    *((write, "before") for write in range(1, 9)),
    *((write, "after") for write in range(1, 9)),
]


@contextlib.asynccontextmanager
async def mirrored(store: MemoryStore) -> AsyncIterator[Mirror]:
    await store.txn([], [Put(keys.CELL, keys.encode(keys.Cell(id="c")))])
    mirror = Mirror()
    following = asyncio.create_task(follow(store, mirror))
    await mirror.reached(1)
    yield mirror
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


def wishes(store: MemoryStore, mirror: Mirror) -> Wishes:
    ids = (f"d{n}" for n in itertools.count(1))
    return Wishes(store=store, mirror=mirror, clock=lambda: 1_800_000_000.0, uuid=lambda: next(ids))


def many(_world: World) -> Wish:
    apps: dict[str, App | None] = {f"/a{n}": app(f"/a{n}", version="", version_info=None) for n in range(COUNT)}
    return Wish(apps=apps)


@pytest.mark.parametrize(("write", "when"), CUTS)
async def test_a_wish_is_whole_or_not_at_all_wherever_it_is_cut(
    write: int, when: Literal["before", "after"]
) -> None:
    store = MemoryStore()
    async with mirrored(store) as mirror:
        cut = MemoryStore(store.engine, FailAt(write, when))
        with contextlib.suppress(StoreUnavailable):
            await wishes(cut, mirror).commit(many)
        await mirror.reached(store.engine.ledger.revision)
        assert len(mirror.world().apps) in (0, COUNT)
        await wishes(store, mirror).settle()
        world = mirror.world()
        assert len(world.apps) in (0, COUNT)
        for deployment in world.deployments.values():
            assert deployment.settled
            for id, version in deployment.target.items():
                assert mirror.get(keys.app(id)).version == version
                assert mirror.get(keys.lock(id)) == deployment.id


async def test_however_much_was_left_unsettled_it_is_settled_at_once() -> None:
    store = MemoryStore()
    async with mirrored(store) as mirror:
        for n in range(TRIES + 2):
            app_id, version = f"/a{n}", "2026-01-01T00:00:00.000Z"
            left = Deployment(
                id=f"d{n}",
                version=version,
                original={app_id: None},
                target={app_id: version},
                started=0.0,
                settled=False,
            )
            made = [
                Put(keys.version(app_id, version), keys.encode(app(app_id, version=version))),
                Put(keys.deployment(left.id), keys.encode(left)),
            ]
            await mirror.reached((await store.txn([], made)).revision)
        await wishes(store, mirror).settle()
        assert all(each.settled for each in mirror.world().deployments.values())
        assert all(mirror.get(keys.app(f"/a{n}")) for n in range(TRIES + 2))


async def test_two_apis_at_once_lose_nothing() -> None:
    store = MemoryStore()
    async with mirrored(store) as mirror:
        one, two = wishes(store, mirror), wishes(store, mirror)

        def add(name: str) -> Asked:
            return lambda world: Wish(apps={name: app(name, version="", version_info=None)})

        done = await asyncio.gather(
            *(each.commit(add(f"/{who}{n}")) for n in range(20) for who, each in (("x", one), ("y", two)))
        )
        assert len(mirror.world().apps) == 40
        assert len({each.version for each in done}) == 40


async def test_of_two_wishes_at_once_for_one_port_one_is_in_force() -> None:
    store = MemoryStore()
    async with mirrored(store) as mirror, mirrored(store) as other:

        def add(name: str) -> Asked:
            return lambda world: Wish(apps={name: app(name, ports=1, version="", version_info=None)})

        done = await asyncio.gather(
            wishes(store, mirror).commit(add("/one")),
            wishes(store, other).commit(add("/two")),
            return_exceptions=True,
        )
        (refused,) = [each for each in done if isinstance(each, BaseException)]
        assert isinstance(refused, InvalidApp) and refused.faults[0].path == "/portDefinitions(0)/port"
        assert len(mirror.world().apps) == 1


async def test_a_crowd_costs_few_transactions_and_not_the_lead(start: Start) -> None:
    cell = await start()
    epoch, revision = cell.mirror.created(keys.LEADER), cell.mirror.revision
    apps = [{"id": f"a{n}", "cmd": "sleep 1", "instances": 0, "ports": []} for n in range(1_000)]
    made = await cell.call("PUT", "/v2/groups/crowd", {"apps": apps})
    assert made.status == 200
    await cell.over(made.deployment)
    assert cell.mirror.revision - revision < 80, "versions, pointers with locks, and locks again: 62 each"
    assert cell.mirror.created(keys.LEADER) == epoch


async def test_a_wish_for_many_is_drafted_beside_the_event_loop() -> None:
    store = MemoryStore()
    async with mirrored(store) as mirror:
        drafting: list[int] = []

        def many(world: World) -> Wish:
            drafting.append(threading.get_ident())
            return Wish(apps={f"/a{n}": app(f"/a{n}", version="", version_info=None) for n in range(COUNT)})

        await wishes(store, mirror).commit(many)
        assert drafting and threading.get_ident() not in drafting


async def test_a_group_of_many_apps_is_deployed_over_the_wire(start: Start) -> None:
    cell: Cell = await start()
    apps = [{"id": f"a{n}", "cmd": "sleep 1", "instances": 0} for n in range(COUNT)]
    made = await cell.call("PUT", "/v2/groups/big", {"apps": apps})
    assert made.status == 200
    await cell.over(made.deployment)
    assert len((await cell.get("/v2/apps"))["apps"]) == COUNT
    gone = await cell.call("DELETE", "/v2/groups/big")
    await cell.over(gone.deployment)
    assert (await cell.get("/v2/apps"))["apps"] == []


@pytest.mark.parametrize("write", [5, 6, 7])
async def test_a_store_that_is_away_while_a_wish_settles_holds_nothing_up(start: Start, write: int) -> None:
    cell = await start(faults=FailAt(write, "before"))
    apps = [{"id": f"a{n}", "cmd": "sleep 1", "instances": 0} for n in range(COUNT)]
    made = await cell.call("PUT", "/v2/groups/big", {"apps": apps})
    assert made.status == 200
    await cell.over(made.deployment)
    assert len((await cell.get("/v2/apps"))["apps"]) == COUNT
