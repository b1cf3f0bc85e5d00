"""An engine that says what is no event: what it says later is heard all the same."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from kato.drivers.runtime.docker import ends
from kato.drivers.runtime.docker.ends import Ends
from kato.drivers.runtime.docker.engine import LONGEST_LINE, Engine
from kato.drivers.runtime.docker.state import exit_of
from load import until

NONSENSE = [b"{]\n", b'{"Actor": {}}\n', b"[1]\n", b""]
ENDED = {
    "State": {"Status": "exited", "ExitCode": 7, "FinishedAt": "2026-11-23T06:30:46Z", "OOMKilled": False},
    "Config": {"Labels": {"kato.boot": "now"}},
}


class Watched(Ends):
    """looks: the requests for a description that were answered."""

    looks: list[web.Request]


@contextlib.asynccontextmanager
async def watching(folder: Path, events: Any, over: asyncio.Event) -> AsyncIterator[Watched]:
    """The watch of an engine that says `events`, and whose only container has ended once it is `over`."""

    looks: list[web.Request] = []

    async def look(request: web.Request) -> web.Response:
        looks.append(request)
        return web.json_response(ENDED if over.is_set() else {"State": {"Status": "running"}})

    app = web.Application()
    app.add_routes([web.get("/events", events), web.get("/containers/web/json", look)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "engine.sock")).start()
    engine = Engine(f"unix://{folder}/engine.sock")
    watch = Watched(engine, "{}", lambda seen: exit_of(seen, "now"))
    watch.looks = looks
    try:
        async with asyncio.timeout(60):
            yield watch
    finally:
        await watch.close()
        await engine.close()
        await runner.cleanup()


async def test_what_is_no_event_keeps_no_end_from_being_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "PAUSE", 0.001)
    said, over, left = iter(NONSENSE), asyncio.Event(), asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        nonsense = next(said, None)
        if nonsense is not None:
            await answer.write(nonsense)
            return answer
        over.set()
        await answer.write(msgspec.json.encode({"Actor": {"Attributes": {"name": "web"}}}) + b"\n")
        await left.wait()
        return answer

    async with watching(tmp_path, events, over) as watch:
        assert (await watch.of("web")).code == 7
        left.set()


async def test_an_event_that_is_longer_than_any_holds_up_no_other(tmp_path: Path) -> None:
    """It has all labels of its container. Káto looks at all whose end it awaits, and goes on listening."""
    long = b'{"long": "' + b"x" * (3 * LONGEST_LINE) + b'"}\n'
    short = msgspec.json.encode({"Actor": {"Attributes": {"name": "web"}}}) + b"\n"
    says: asyncio.Queue[bytes] = asyncio.Queue()
    asked, over = [], asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        answer = web.StreamResponse()
        await answer.prepare(request)
        while event := await says.get():
            await answer.write(event)
        return answer

    async with watching(tmp_path, events, over) as watch:
        try:
            for event, looks in ((long, 2), (short, 1)):  # the watch itself looks when it is connected
                before = len(watch.looks)
                waiting = asyncio.create_task(watch.of("web"))
                await until(lambda: len(watch.looks) == before + looks)  # noqa: B023
                over.set()
                says.put_nowait(event)
                assert (await waiting).code == 7
                watch.forget("web")
                over.clear()
            assert len(asked) == 1
        finally:
            for _ in asked:
                says.put_nowait(b"")  # so that the server's handlers end
