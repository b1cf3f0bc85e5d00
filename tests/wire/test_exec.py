"""Commands beside tasks over real connections: both sides speak at once, and refusals are as of any request."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from cells import DEADLINE, Cell

from kato.client import Client
from kato.model.conversation import Command, Keys, Left, Said, Size, Typed, Wrote
from kato.model.errors import KatoError, NotFound, Unavailable

RUN = {"type": "command", "argv": ["cat"]}


async def nothing() -> AsyncIterator[Typed]:
    return
    yield


async def said(cell: Cell, name: str, *argv: str) -> list[Said]:
    async with Client(cell.base.removeprefix("http://")) as client, asyncio.timeout(DEADLINE):
        return [each async for each in client.exec(name, Command(argv), nothing())]


async def test_both_sides_speak_at_once(cell: Cell) -> None:
    await cell.deploy({"id": "/web", "cmd": "x"})
    heard = asyncio.Event()

    async def typing() -> AsyncIterator[Typed]:
        yield Keys(b"\x03\xff")
        await heard.wait()
        yield Size(50, 132)

    async with Client(cell.base.removeprefix("http://")) as client, asyncio.timeout(DEADLINE):
        words = client.exec("web", Command(("cat",), interactive=True), typing())
        assert await anext(words) == Wrote("stdout", b'{"type":"keys","data":"A/8="}')
        heard.set()
        rest = [each async for each in words]
    assert rest == [Wrote("stdout", b'{"type":"size","rows":50,"columns":132}'), Left(0)]


async def test_a_task_is_named_by_its_id_and_an_app_stands_for_one_that_runs(cell: Cell) -> None:
    await cell.deploy({"id": "/web", "cmd": "x", "instances": 2})
    for name in ("/web", *cell.mirror.world().tasks["/web"]):
        assert await said(cell, name, "true") == [Left(0)]
    with pytest.raises(NotFound, match="neither an app nor a task 'wbe'"):
        await said(cell, "wbe", "true")
    await cell.deploy({"id": "/none", "cmd": "x", "instances": 0})
    with pytest.raises(NotFound, match="No task of /none runs"):
        await said(cell, "none", "true")


async def test_what_cannot_be_run_is_refused_and_what_breaks_is_told(cell: Cell) -> None:
    await cell.deploy({"id": "/web", "cmd": "x"})
    with pytest.raises(KatoError, match="nosuch could not be run"):
        await said(cell, "web", "nosuch")
    with pytest.raises(Unavailable, match="The engine went away"):
        await said(cell, "web", "breaks")
    refused = await cell.call("POST", "/v1/exec/web", {"type": "command", "argv": ["nosuch"]})
    assert refused.status == 409 and refused.json["message"] == "nosuch could not be run."
    for body in (
        {},
        {"type": "keys", "data": ""},
        {"type": "command", "argv": []},
        {"type": "command", "argv": ["cat"], "rows": 65_536},
        {"type": "command", "argv": ["cat"], "columns": -1},
        {"type": "command", "argv": ["cat"], "kind": "a\0b"},
        b"\xff\n",
        b"",
        b"x" * (1 << 19),
    ):
        answer = await cell.call("POST", "/v1/exec/web", body)
        assert answer.status == 400 and "what is run" in answer.json["message"], body


async def test_a_command_ends_with_its_client_and_with_the_cell(cell: Cell) -> None:
    await cell.deploy({"id": "/web", "cmd": "x"})
    for leave in (True, False):
        running = asyncio.create_task(said(cell, "web", "mute"))
        await _until(lambda: bool(cell.machine.held))
        if leave:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        else:
            cell.running[-1].cancel()
            with pytest.raises(KatoError):
                await running
        await _until(lambda: not cell.machine.held)


async def test_a_command_that_reads_nothing_ends_with_its_client_too(cell: Cell) -> None:
    """While nothing more is taken from a client, its connection does not tell that it has gone."""
    await cell.deploy({"id": "/web", "cmd": "x"})
    client = socket.create_connection(("127.0.0.1", int(cell.base.rpartition(":")[2])))
    head = b"POST /v1/exec/web HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.sendall(head + chunk({"type": "command", "argv": ["mute"], "interactive": True}))
    client.setblocking(False)
    await _until(lambda: bool(cell.machine.held))
    keys, full = chunk({"type": "keys", "data": "AAAA" * 30_000}), 0
    while full < 20:
        try:
            client.send(keys)
            full = 0
        except BlockingIOError:
            full += 1
        await asyncio.sleep(0.005)  # the cell, in this loop, takes what it takes
    client.close()
    await _until(lambda: not cell.machine.held)


def chunk(line: object) -> bytes:
    said = json.dumps(line).encode() + b"\n"
    return f"{len(said):x}\r\n".encode() + said + b"\r\n"


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}],
)
async def test_a_web_page_runs_nothing(cell: Cell, headers: dict[str, str]) -> None:
    await cell.deploy({"id": "/web", "cmd": "x"})
    answer = await cell.call("POST", "/v1/exec/web", RUN, **headers)
    assert answer.status == 403
    answer = await cell.call("POST", "/v1/exec/web", {"type": "command", "argv": ["true"]})
    assert (answer.status, answer.text) == (200, '{"type":"left","code":0}\n')
