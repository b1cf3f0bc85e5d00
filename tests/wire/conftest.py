"""Cells to talk to: an engine of real parts, started for one test and ended with it."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cells import Background, Cell, Machine, Start, answering

from kato.api import Api
from kato.config import Config
from kato.master import Master, decide_inline
from kato.store import Put, Store, keys
from kato.store.memory import Faults, MemoryStore
from kato.store.mirror import Mirror, follow
from load import free_port


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts cells, with or without a leader and a machine; ends them all."""
    async with contextlib.AsyncExitStack() as stack:

        async def starting(
            *,
            leads: bool = True,
            faults: Faults | None = None,
            store: Store | None = None,
            https: bool = False,
        ) -> Cell:
            store = store or MemoryStore()
            mirror = Mirror()
            await store.txn([], [Put(keys.CELL, keys.encode(keys.Cell(id="test-cell")))])
            api_store = MemoryStore(store.engine, faults) if isinstance(store, MemoryStore) else store
            machine = Machine(store, mirror)
            api_at = f"127.0.0.1:{free_port()}"
            config = Config(data=tmp_path, api=api_at, https=https, ingress="127.0.0.1:8181")
            ids = (f"00000000-0000-4000-8000-{n:012}" for n in itertools.count(1))
            stopped = asyncio.Event()
            api = Api(
                config=config,
                store=api_store,
                mirror=mirror,
                calls=machine,
                clock=time.time,
                leader=lambda: mirror.leader.address if mirror.leader else None,
                stop=stopped.set,
                uuid=lambda: next(ids),
            )
            tasks = await stack.enter_async_context(Background())
            tasks.start(follow(store, mirror))
            await mirror.reached(1)
            if leads:
                master = Master(
                    store=store, mirror=mirror, id="m1", address=config.api, clock=time.time, decide=decide_inline
                )
                tasks.start(master.run())
                tasks.start(machine.run())
            tasks.start(api.run())
            session = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False))
            )
            cell = Cell(
                config.url,
                store,
                mirror,
                machine,
                session,
                stopped,
                tasks.running,
                api.application().routes,
            )
            if leads:
                await cell.until(lambda: bool(mirror.leader and mirror.world().nodes))
            await answering(cell)
            return cell

        yield starting


@pytest.fixture
async def cell(start: Start) -> Cell:
    """A cell with a leader and a machine."""
    return await start()
