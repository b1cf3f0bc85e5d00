"""What a web page, a foreign name or a hostile body cannot do."""

import asyncio
import json
import os

import pytest
from cells import DEADLINE, Cell, Start

from kato.api import body as bodies
from kato.api.guard import plain
from kato.store.memory import FailAt

APP = {"id": "/a", "cmd": "sleep 1"}


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"),
        *("evil@localhost", "localhost/evil", "localhost#.evil.example", "localhost?x", "localhost:1:2"),
        *("localhost:{port}@evil.example", "localhost:", "[::1].evil.example", "a localhost"),
    ],
)
async def test_a_foreign_host_is_refused(cell: Cell, host: str) -> None:
    port = cell.base.rpartition(":")[2]
    answer = await raw(cell, f"GET /v2/apps HTTP/1.1\r\nHost: {host.format(port=port)}\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_the_cells_own_names_are_taken(cell: Cell, name: str) -> None:
    port = cell.base.rpartition(":")[2]
    answer = await cell.call("GET", "/ping", Host=f"{name}:{port}")
    assert answer.status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://{own}"])
async def test_a_foreign_page_may_neither_look_nor_touch(cell: Cell, origin: str) -> None:
    origin = origin.format(own=cell.base.removeprefix("http://"))
    for method, path in (("POST", "/v2/apps"), ("GET", "/v2/apps"), ("POST", "/v1/stop")):
        answer = await cell.call(method, path, APP if method == "POST" else None, Origin=origin)
        assert answer.status == 403 and "web page" in answer.json["message"]
    assert (await cell.get("/v2/apps"))["apps"] == [] and not cell.stopped.is_set()


async def test_the_cells_own_page_may(cell: Cell) -> None:
    assert (await cell.call("POST", "/v2/apps", APP, Origin=cell.base)).status == 201


async def test_a_page_that_hides_its_origin_may_not_change_anything(cell: Cell) -> None:
    answer = await cell.call("POST", "/v1/stop", Sec_Fetch_Site="cross-site")
    assert answer.status == 403 and not cell.stopped.is_set()


async def test_a_form_is_no_wish(cell: Cell) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = await cell.call("POST", "/v2/apps", b'{"id":"/a","cmd":"x"}', Content_Type=kind)
        assert answer.status == 415
    assert (await cell.get("/v2/apps"))["apps"] == []


async def test_a_body_that_does_not_say_what_it_is_or_is_packed_is_refused(cell: Cell) -> None:
    body = b'{"id":"/a","cmd":"x"}'
    bare = f"POST /v2/apps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    assert b" 415 " in await raw(cell, bare.encode() + body)
    for coding in ("gzip", "br", "GZIP"):
        answer = await cell.call("POST", "/v2/apps", body, Content_Encoding=coding)
        assert answer.status == 415 and f"encoding {coding.lower()}" in answer.json["message"]
    assert (await cell.get("/v2/apps"))["apps"] == []
    assert (await cell.call("POST", "/v2/apps", body, Content_Encoding="identity")).status == 201


async def test_a_large_body_is_refused_by_its_head_and_by_its_length(cell: Cell) -> None:
    declared = f"POST /v2/apps HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bodies.MAX_BYTES + 1}\r\n\r\n"
    assert b" 413 " in await raw(cell, declared.encode())
    head = "POST /v2/apps HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    reader, writer = await connect(cell)
    writer.write(head.encode() + piece * 17)
    async with asyncio.timeout(DEADLINE):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_slow_body_is_given_up(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_SECONDS", 0.05)
    reader, writer = await connect(cell)
    writer.write(b"POST /v2/apps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    async with asyncio.timeout(DEADLINE):
        assert b" 408 " in await reader.readline()
    writer.close()


async def test_a_fault_of_our_own_is_a_short_id(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_mirror: object) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr(type(cell.mirror), "world", broken)
    answer = await cell.call("GET", "/v2/apps")
    monkeypatch.undo()
    assert answer.status == 500 and "logged as" in answer.json["message"] and "secret" not in answer.text


async def test_the_leader_is_named(cell: Cell) -> None:
    answer = await cell.call("GET", "/v2/apps")
    assert answer.headers["X-Marathon-Leader"] == cell.base
    assert (await cell.get("/v2/leader")) == {"leader": cell.base.removeprefix("http://")}


async def test_a_store_that_does_not_answer_is_503_and_says_what_is_not_known(start: Start) -> None:
    cell = await start(leads=False, faults=FailAt(write=2, when="after"))
    answer = await cell.call("POST", "/v2/apps", APP)
    assert answer.status == 503 and answer.headers["Retry-After"] == "1"
    assert "nobody knows" in answer.json["message"]
    (running,) = await cell.get("/v2/deployments")
    assert running["id"] in answer.json["message"]


async def test_a_piece_that_is_lost_leaves_nothing_in_force(start: Start) -> None:
    cell = await start(leads=False, faults=FailAt(write=1, when="before"))
    answer = await cell.call("POST", "/v2/apps", APP)
    assert answer.status == 503
    assert (await cell.get("/v2/apps"))["apps"] == [] and await cell.get("/v2/deployments") == []
    assert (await cell.call("POST", "/v2/apps", APP)).status == 201


def test_paths_lose_doubled_and_trailing_slashes() -> None:
    assert plain("//v2///apps//a/") == "/v2/apps/a" and plain("/") == "/" and plain("") == "/"


async def connect(cell: Cell) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = cell.base.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def raw(cell: Cell, request: bytes) -> bytes:
    reader, writer = await connect(cell)
    writer.write(request)
    async with asyncio.timeout(DEADLINE):
        answer = await reader.readline()
    writer.close()
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="asks as another user, which only root can")
async def test_another_user_of_this_machine_may_not_run_tasks_as_this_one(cell: Cell) -> None:
    async def ask(path: str, *more: str) -> tuple[str, str]:
        curl = await asyncio.create_subprocess_exec(
            *("curl", "-s", "-w", "\n%{http_code}", *more, cell.base + path),
            stdout=asyncio.subprocess.PIPE,
            user=65534,
        )
        said, _ = await curl.communicate()
        body, _, status = said.decode().rpartition("\n")
        return status, body

    status, body = await ask("/v2/apps", "-H", "Content-Type: application/json", "-d", json.dumps(APP))
    assert status == "403" and "of that user and of root alone" in body and "sudo kato" in body
    assert (await ask("/v2/apps"))[0] == "403"
    assert (await ask("/ping"))[0] == "200"
    assert (await cell.get("/v2/apps"))["apps"] == []
