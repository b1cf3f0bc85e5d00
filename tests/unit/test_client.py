"""The client: what an answer becomes. A real server on loopback speaks where the wire matters."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from builders import V1
from kato.client import Client, LogPiece
from kato.client.refusals import error_of
from kato.model.errors import (
    Conflict,
    Fault,
    InvalidApp,
    InvalidInput,
    KatoError,
    Locked,
    NotFound,
    Refused,
    Unavailable,
)

Serve = Callable[[web.RouteTableDef], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server of these routes; its host:port."""
    runners: list[web.AppRunner] = []

    async def start(routes: web.RouteTableDef) -> str:
        app = web.Application()
        app.add_routes(routes)
        app.on_response_prepare.append(name)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def name(_request: web.Request, answer: web.StreamResponse) -> None:
    if answer.headers.get("Server") != "Apache":
        answer.headers["Server"] = "kato"


def answer(status: int, **body: object) -> KatoError:
    return error_of(status, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (403, Refused),
        (404, NotFound),
        (409, Conflict),
        (422, InvalidInput),
        (503, Unavailable),
    ],
)
def test_a_status_becomes_its_error(status: int, kind: type[KatoError]) -> None:
    error = answer(status, message="It is so.")
    assert type(error) is kind
    assert str(error) == "It is so."


def test_every_fault_of_a_body_is_kept() -> None:
    details = [{"path": "/apps/0/cpus", "errors": ["is negative", "is odd"]}, {"path": "", "errors": ["is bad"]}]
    error = answer(422, message="Object is not valid", details=details)
    assert isinstance(error, InvalidApp)
    assert error.faults == (
        Fault("/apps/0/cpus", "is negative"),
        Fault("/apps/0/cpus", "is odd"),
        Fault("/", "is bad"),
    )


def test_details_that_are_text_follow_the_message() -> None:
    assert str(answer(400, message="Invalid JSON", details="line 1")) == "Invalid JSON: line 1"


def test_a_lock_names_its_deployments_and_the_way_out() -> None:
    error = answer(409, message="App is locked by one or more deployments. Override …", deployments=[{"id": "d1"}])
    assert isinstance(error, Locked)
    assert error.deployments == ("d1",)
    assert str(error) == "App is locked by one or more deployments (d1). Wait for it, or take over with --force."


async def test_a_lock_is_told_with_what_holds_it_and_since_when(serve: Serve) -> None:
    routes = web.RouteTableDef()
    restart = {"action": "RestartApplication", "app": "/a"}
    steps = [
        {"actions": [{"action": "StartApplication", "app": "/b"}]},
        {"actions": [restart, {"action": "ScaleApplication", "app": "/b"}]},
    ]
    deployment = {
        "id": "d1",
        "version": V1,
        "affectedApps": ["/a", "/b"],
        "steps": steps,
        "currentActions": [restart],
    }

    @routes.delete("/v2/apps/a")
    async def locked(request: web.Request) -> web.Response:
        return web.json_response({"message": "App is locked", "deployments": [{"id": "d1"}]}, status=409)

    @routes.get("/v2/deployments")
    async def running(request: web.Request) -> web.Response:
        return web.json_response([deployment])

    async with Client(await serve(routes)) as client:
        with pytest.raises(Locked) as caught:
            await client.delete_app("/a")
    assert str(caught.value) == (
        f"A deployment is starting /b, exchanging the tasks of /a since {V1}, and waits for /a. "
        "Wait for it, take it back (kato rollback a), or take over from it (--force)."
    )


def test_an_answer_that_is_no_json_is_told_as_it_stands() -> None:
    assert str(error_of(500, b"proxy says no\n")) == "proxy says no"
    assert str(error_of(502, b"")) == "HTTP status 502"


async def test_nobody_there(unused_tcp_port: int) -> None:
    async with Client(f"127.0.0.1:{unused_tcp_port}") as client:
        assert not await client.ping()
        with pytest.raises(
            Unavailable, match=rf"No cell answers at http://127\.0\.0\.1:{unused_tcp_port} \(--api"
        ):
            await client.apps()


async def test_another_server_at_that_address(serve: Serve) -> None:
    routes = web.RouteTableDef()

    @routes.get("/{tail:.*}")
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>", headers={"Server": "Apache"})

    async with Client(await serve(routes)) as client:
        for ask in (client.ping(), client.cell(), client.apps(), anext(client.logs("vote"))):
            with pytest.raises(Conflict, match=r"What listens at 127\.0\.0\.1:\d+ is not a Káto cell"):
                await ask


async def test_a_cut_answer_is_unavailable_and_may_be_for_want_of_https(serve: Serve) -> None:
    routes = web.RouteTableDef()

    @routes.get("/v1/apps")
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with Client(await serve(routes)) as client:
        with pytest.raises(
            Unavailable, match=r"did not finish its answer: .* \(where it speaks HTTPS: --api https://"
        ):
            await client.apps()


async def test_pieces_of_output_arrive_whole_however_they_are_cut(serve: Serve) -> None:
    pieces = [LogPiece("t", "stdout", 0, "Káto\n"), LogPiece("t", "stderr", 6, "x" * 100_000)]
    wire = b"".join(
        json.dumps({"task": p.task, "stream": p.stream, "offset": p.offset, "text": p.text}).encode() + b"\n"
        for p in pieces
    )
    asked: list[str] = []
    routes = web.RouteTableDef()

    @routes.get("/v1/logs/voting/vote")
    async def logs(request: web.Request) -> web.StreamResponse:
        asked.append(request.query_string)
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(wire), 7919):
            await response.write(wire[at : at + 7919])
        return response

    async with Client(await serve(routes)) as client:
        assert [piece async for piece in client.logs("/voting/vote", tail=5, follow=True)] == pieces
    assert asked == ["follow=true&tail=5"]
