"""The names' half of a border, and a master's end: views flow in; what the name server was given comes out."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from builders import app, node, status, task
from fakes import run
from kato.border.names import NameServer
from kato.drivers.dns import Options
from kato.master.borders import Borders
from kato.model.deployment import Record
from kato.model.errors import DriverError, Unavailable
from kato.model.names import AppNames, Names
from kato.model.task import TaskState
from kato.store import Op, Put, keys
from kato.store.memory import MemoryStore
from kato.store.mirror import Mirror, follow


class Fake:
    """A name server that keeps what it was given."""

    name = "fake"

    def __init__(self) -> None:
        self.applied: list[Names] = []
        self.broken: DriverError | None = None

    @classmethod
    async def open(cls, options: Options) -> Self:
        return cls()

    async def apply(self, view: Names) -> None:
        if self.broken is not None:
            raise self.broken
        self.applied.append(view)

    async def close(self) -> None:
        return


class Link:
    """A master that sends what a test puts in. An error breaks the link."""

    def __init__(self) -> None:
        self.views: asyncio.Queue[Names | Exception] = asyncio.Queue()

    async def names(self, node: str) -> AsyncIterator[Names]:
        while True:
            each = await self.views.get()
            if isinstance(each, Exception):
                raise each
            yield each


def view(seq: int) -> Names:
    return Names(seq, {"/web": AppNames("/web", "web.kato", {"web.kato": (f"10.0.0.{seq}",)})})


def test_each_view_is_applied_also_after_the_link_broke_and_the_driver_failed() -> None:
    async def main() -> None:
        link, dns = Link(), Fake()
        running = asyncio.create_task(NameServer(link, dns, "n1").run())
        link.views.put_nowait(view(1))
        await asyncio.sleep(1)
        link.views.put_nowait(Unavailable("nobody leads"))
        await asyncio.sleep(10)
        assert [each.seq for each in dns.applied] == [1]
        dns.broken = DriverError("It cannot.")
        link.views.put_nowait(view(2))
        await asyncio.sleep(10)
        dns.broken = None
        await asyncio.sleep(10)
        assert [each.seq for each in dns.applied] == [1, 2]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(main())


def test_a_master_sends_a_view_when_names_change_and_not_otherwise() -> None:
    async def main() -> None:
        store, mirror = MemoryStore(), Mirror()
        web = app(ports=1)
        one = task(web)
        running = asyncio.create_task(follow(store, mirror))

        async def put(key: str, value: object) -> None:
            ops: list[Op] = [Put(key, keys.encode(value))]
            await store.txn([], ops)
            await asyncio.sleep(1)

        views: list[Names] = []

        async def listen() -> None:
            async for each in Borders(store=store, mirror=mirror).names("n1"):
                views.append(each)

        listening = asyncio.create_task(listen())
        await put(keys.node("n1"), node())
        await put(keys.version(web.id, web.version), web)
        await put(keys.app(web.id), Record(app=web.id, version=web.version))
        assert [each.apps.keys() for each in views] == [set(), {"/web"}]
        await put(keys.task("n1", one.id), one)
        await put(keys.status("n1", one.id), status(one, TaskState.STARTING, seq=1))
        await put(keys.node("n1"), node(mem=1.0))
        assert len(views) == 2
        await put(keys.status("n1", one.id), status(one, seq=2))
        await put(keys.status("n1", one.id), status(one, seq=3, pid=7))
        await put(keys.status("n1", one.id), status(one, TaskState.FAILED, seq=4))
        assert [each.apps["/web"].hosts["web.kato"] for each in views[1:]] == [(), ("127.0.0.1",), ()]
        assert [each.seq for each in views] == sorted({each.seq for each in views})
        for each in (running, listening):
            each.cancel()
        await asyncio.gather(running, listening, return_exceptions=True)

    run(main())
