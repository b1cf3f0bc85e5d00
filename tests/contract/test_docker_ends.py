"""An engine that says what is no event: what it says later is heard all the same."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from kato.drivers.runtime.docker import ends
from kato.drivers.runtime.docker.ends import Ends
from kato.drivers.runtime.docker.engine import Engine
from kato.drivers.runtime.docker.state import exit_of

NONSENSE = [b"{]\n", b'{"Actor": {}}\n', b"[1]\n", b""]
ENDED = {
    "State": {"Status": "exited", "ExitCode": 7, "FinishedAt": "2026-11-23T06:30:46Z", "OOMKilled": False},
    "Config": {"Labels": {"kato.boot": "now"}},
}


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

    async def look(_request: web.Request) -> web.Response:
        return web.json_response(ENDED if over.is_set() else {"State": {"Status": "running"}})

    app = web.Application()
    app.add_routes([web.get("/events", events), web.get("/containers/web/json", look)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    engine = Engine(f"unix://{tmp_path}/engine.sock")
    watch = Ends(engine, "{}", lambda seen: exit_of(seen, "now"))
    try:
        async with asyncio.timeout(60):
            assert (await watch.of("web")).code == 7
    finally:
        left.set()
        await watch.close()
        await engine.close()
        await runner.cleanup()
