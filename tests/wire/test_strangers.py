"""What another user of this machine can do over loopback: look whether the cell lives, and nothing else."""

import asyncio
import os
import subprocess

import pytest
from cells import DEADLINE, Cell

from kato.api import peer
from kato.client import Client
from kato.model.errors import Refused

NOBODY = 65534
PYTHON = "/usr/bin/python3"
"""One that every user may run."""
ASK_AND_CLOSE = """
import json, socket, sys
for n in range(10):
    body = json.dumps({"id": f"/own{n}", "cmd": "sleep 1000", "instances": 0}).encode()
    held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(5)]
    asks = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    lines = ["POST /v2/apps HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\\r\\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    asks.sendall(head.encode() + body)
    asks.close()
    for each in held:
        each.close()
"""
HOLD = """
import socket, sys
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
print("held", flush=True)
sys.stdin.read()
"""
PING = """
import sys, urllib.request
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/ping").read().decode())
"""
LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
server.setblocking(False)
try:
    print("heard", server.accept()[0].recv(4096))
except BlockingIOError:
    print("nobody came")
"""
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="only root can act as another user"
)


def stranger(script: str, cell: Cell, *words: str, user: int = NOBODY) -> "subprocess.Popen[bytes]":
    """A program of another user, who knows the cell's port."""
    return program(script, cell.base.rpartition(":")[2], *words, user=user)


def program(script: str, *words: str, user: int = NOBODY) -> "subprocess.Popen[bytes]":
    """A program of another user."""
    argv, pipe = [PYTHON, "-c", script, *words], subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, user=user, group=NOBODY, extra_groups=())


@needs_root
async def test_who_asks_and_closes_at_once_is_not_taken_for_root(cell: Cell) -> None:
    process = stranger(ASK_AND_CLOSE, cell)
    process.communicate(timeout=DEADLINE)  # the cell, in this loop, accepts what is closed already
    assert process.returncode == 0
    for n in range(5):  # by then what it asked for would be done
        mine = {"id": f"/mine{n}", "cmd": "sleep 1000", "instances": 0}
        assert (await cell.call("POST", "/v2/apps", mine)).status == 201
    assert {app["id"] for app in (await cell.get("/v2/apps"))["apps"]} == {f"/mine{n}" for n in range(5)}


@needs_root
async def test_a_stranger_who_listens_at_the_cells_address_is_told_nothing() -> None:
    """Who is quicker than a cell that starts could else read the files that its users send."""
    process = program(LISTEN)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    async with Client(f"127.0.0.1:{port}") as client:
        with pytest.raises(Refused, match=rf"127.0.0.1:{port} is the user nobody's, and is told nothing"):
            await client.cell()
    assert process.communicate(timeout=DEADLINE)[0] == b"nobody came\n"


@needs_root
async def test_connections_of_strangers_keep_nobody_from_asking(cell: Cell) -> None:
    process = stranger(HOLD, cell, "400")
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == b"held\n"
    async with asyncio.timeout(DEADLINE):
        assert (await cell.get("/v2/apps"))["apps"] == []
    port = int(cell.base.rpartition(":")[2])
    assert standing(port) <= peer.MOST_STRANGERS + 10
    other = stranger(PING, cell, user=NOBODY - 1)
    assert (await asyncio.to_thread(other.communicate, timeout=DEADLINE))[0] == b"pong\n"
    await asyncio.to_thread(process.communicate, timeout=DEADLINE)


async def test_a_connection_that_says_nothing_is_closed(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "PATIENCE", 0.05)
    for said in (b"", b"GET /ping HTTP/1.1\r\nHost: local"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(cell.base.rpartition(":")[2]))
        writer.write(said)
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ConnectionError):
                if await reader.read() == b"":
                    raise ConnectionResetError
        writer.close()


async def test_a_second_request_that_never_comes_whole_is_closed_too(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(cell.base.rpartition(":")[2]))
    writer.write(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readuntil(b"pong")).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(peer, "PATIENCE", 0.05)
        writer.write(b"GET /ping HTTP/1.1\r\nHost: local")
        with pytest.raises(ConnectionError):
            if await reader.read() == b"":
                raise ConnectionResetError
    writer.close()


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET /ping HTTP/1.1\r\nX: ", b"a" * 1000),
        (b"GET /ping HTTP/1.1\r\n", b"a: b\r\n" * 1000),
        (b"POST /ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000),
        (b"", b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000),
    ],
    ids=["url", "header", "headers", "trailers", "requests"],
)
async def test_who_never_comes_to_an_end_is_not_kept_in_memory(cell: Cell, begin: bytes, more: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(cell.base.rpartition(":")[2]))
    answers = asyncio.create_task(reader.read(1 << 24))
    writer.write(begin)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                writer.write(more)
                await writer.drain()
                await asyncio.sleep(0)
    answers.cancel()
    await asyncio.gather(answers, return_exceptions=True)
    writer.close()


def standing(port: int) -> int:
    """How many connections to a port are open on the server's side."""
    found = subprocess.check_output(["ss", "-Htn", "state", "established", f"sport = :{port}"], text=True)
    return len(found.splitlines())
