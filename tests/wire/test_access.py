"""Whoever shows the token may ask; who does not, or says nothing, keeps nobody from asking."""

import asyncio
import base64
import contextlib
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest
from cells import DEADLINE, Cell, Start
from test_strangers import NOBODY, needs_root

from kato.access import AUTHORITY, TOKEN, Access, Caller, caller
from kato.api import peer, server
from kato.cli.upkeep.certify import certify
from kato.cli.words.place import Place
from kato.client import Client
from kato.config import Config
from kato.model.errors import InvalidInput, Refused, Unproven

RIGHT = "right-right-right-right"
HELLO_ONLY = b"\x16\x03\x01\x02\x00\x01\x00"
"""The beginning of a handshake."""


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOKS", 0.01)


@pytest.fixture
def token(tmp_path: Path) -> str:
    """The token of a cell that starts in this test."""
    (tmp_path / "access").mkdir()
    (tmp_path / "access" / TOKEN).write_text(f"{RIGHT}\n")
    return RIGHT


@pytest.fixture
async def secured(start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cell:
    """A cell that speaks HTTPS, on loopback."""
    certify("kato.example", "192.0.2.1", place=Place(data=str(tmp_path)))
    assert (tmp_path / "access" / TOKEN).read_text().strip() not in capsys.readouterr().out
    return await start(https=True)


def shown(cell: Cell, path: str, *words: str) -> int:
    """What curl is answered that runs as another user."""
    command = ["curl", "--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}", *words]
    asked = [*command, f"{cell.base}{path}"]
    return int(subprocess.run(asked, capture_output=True, check=True, user=NOBODY, group=NOBODY).stdout)


@needs_root
async def test_another_user_asks_with_the_token_and_not_without(token: str, cell: Cell) -> None:
    async def asked(path: str, *words: str) -> int:
        return await asyncio.to_thread(shown, cell, path, *words)

    assert await asked("/v2/apps", "-H", f"Authorization: Bearer {token}") == 200
    assert await asked("/v2/apps", "-H", f"authorization: bearer  {token}") == 200
    assert await asked("/v2/apps", "--user", f"anybody:{token}") == 200
    assert await asked("/v2/apps", "-H", f"Authorization: Bearer {token}", "-H", "Host: cell.example") == 200
    for wrong in (f"{token}x", token[:-1], "", "é"):
        assert await asked("/v2/apps", "-H", f"Authorization: Bearer {wrong}") == 401
        assert await asked("/ping", "--user", f"anybody:{wrong}") == 401
    assert await asked("/v2/apps") == 401
    for odd in ("Basic ?", "Basic é", f"Basic {base64.b64encode(bytes([255, 58, 255])).decode()}", "Basic", ""):
        assert await asked("/v2/apps", "-H", f"Authorization: {odd}".strip(" ")) == 401
    assert await asked("/ping") == 200


async def test_the_cells_own_user_needs_none_and_is_told_of_a_wrong_one(token: str, cell: Cell) -> None:
    assert (await cell.get("/v2/apps"))["apps"] == []
    answer = await cell.call("GET", "/v2/apps", Authorization="Bearer former-former-former")
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == 'Bearer realm="kato"'
    assert "KATO_TOKEN" in answer.json["message"]
    page = await cell.call("POST", "/v1/stop", Authorization=basic(token), Origin="https://evil.example")
    assert page.status == 403 and not cell.stopped.is_set(), "a browser sends a password for any page"


async def test_a_cell_without_a_token_minds_no_password(cell: Cell) -> None:
    assert (await cell.call("GET", "/v2/apps", Authorization=basic("any"))).status == 200


async def test_a_new_token_counts_at_once_and_ends_what_the_former_one_let_in(
    token: str, cell: Cell, tmp_path: Path
) -> None:
    former = {"Authorization": f"Bearer {token}"}
    async with cell.session.get(f"{cell.base}/v2/events", headers=former) as stream, asyncio.timeout(DEADLINE):
        await stream.content.readany()
        certify(new_token=True, place=Place(data=str(tmp_path)))
        with pytest.raises(aiohttp.ClientError):
            while await stream.content.readany():
                pass
            raise aiohttp.ClientPayloadError
    fresh = (tmp_path / "access" / TOKEN).read_text().strip()
    assert (await cell.call("GET", "/v2/apps", **former)).status == 401
    assert (await cell.call("GET", "/v2/apps", Authorization=f"Bearer {fresh}")).status == 200


async def test_the_client_believes_the_authority_that_it_is_told(
    secured: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (tmp_path / "access" / TOKEN).read_text().strip()
    monkeypatch.setattr("kato.client.on_loopback", lambda _host: False)  # as if it were another machine
    async with Client(secured.base, Caller(token, tmp_path / "access" / AUTHORITY)) as client:
        assert await client.apps() == []
    async with Client(secured.base, Caller("wrong-wrong-wrong-wrong", tmp_path / "access" / AUTHORITY)) as client:
        with pytest.raises(Unproven, match="KATO_TOKEN"):
            await client.apps()
    async with Client(secured.base, Caller(token)) as client:
        with pytest.raises(Refused, match=r"is told nothing.*KATO_CA"):
            await client.ping()


async def test_a_certificate_is_exchanged_while_the_cell_runs(secured: Cell, tmp_path: Path) -> None:
    authority = ssl.create_default_context(cafile=tmp_path / "access" / AUTHORITY)

    async def names() -> set[str]:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", int(secured.base.rpartition(":")[2]), ssl=authority, server_hostname="localhost"
        )
        found = {value for _, value in writer.get_extra_info("peercert")["subjectAltName"]}
        writer.close()
        return found

    assert await names() == {"kato.example", "192.0.2.1", "localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"}
    certify("other.example", place=Place(data=str(tmp_path)))
    async with asyncio.timeout(DEADLINE):
        while "other.example" not in await names():
            pass
    spoilt = (tmp_path / "access" / TOKEN).with_suffix(".spoilt")
    spoilt.write_text("no token\n")
    certify("third.example", place=Place(data=str(tmp_path)))
    spoilt.replace(tmp_path / "access" / TOKEN)  # a slip of somebody's costs no renewal
    async with asyncio.timeout(DEADLINE):
        while "third.example" not in await names():
            pass


async def test_a_certificate_that_cannot_be_used_costs_neither_the_former_one_nor_a_new_token(
    secured: Cell, tmp_path: Path
) -> None:
    access, port = tmp_path / "access", int(secured.base.rpartition(":")[2])
    authority = ssl.create_default_context(cafile=access / AUTHORITY)
    former = {"Authorization": f"Bearer {(access / TOKEN).read_text().strip()}"}
    certify("other.example", place=Place(data=str(tmp_path / "theirs")))
    (tmp_path / "theirs" / "access" / "server.pem").replace(access / "server.pem")  # as a renewal that is not over
    async with secured.session.get(f"{secured.base}/v2/events", headers=former) as stream:
        certify(new_token=True, place=Place(data=str(tmp_path)))
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(DEADLINE):
                while await stream.content.readany():
                    pass
                raise aiohttp.ClientPayloadError
    assert (await secured.call("GET", "/v2/apps", **former)).status == 401
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority, server_hostname="localhost")
    writer.close()


async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(secured: Cell) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(secured.base.rpartition(":")[2]))
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        tls.write(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.write(outgoing.read())
        answer = b""
        while b"pong" not in answer:
            incoming.write(await reader.read(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while record := tls.read(65536):
                    answer += record
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("said", [b"", HELLO_ONLY, b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 500])
async def test_a_handshake_that_never_ends_is_ended(
    secured: Cell, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PATIENCE", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(secured.base.rpartition(":")[2]))
    writer.write(said)
    async with asyncio.timeout(DEADLINE):
        try:
            while await reader.read(4096):
                pass
        except ConnectionError:
            pass
    writer.close()
    monkeypatch.undo()
    assert (await secured.call("GET", "/ping")).status == 200


async def test_a_web_page_may_not_ask_over_tls_either(secured: Cell) -> None:
    for origin in ("https://evil.example", secured.base.replace("https", "http"), "null"):
        answer = await secured.call("POST", "/v1/stop", Origin=origin)
        assert answer.status == 403 and not secured.stopped.is_set()
    assert (await secured.call("GET", "/v2/apps", Origin=secured.base)).status == 200


async def test_who_leaves_as_soon_as_hands_are_shaken_leaves_no_trace(
    secured: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[peer.Guests] = []
    enter = peer.Guests.enter

    def entering(guests: peer.Guests, transport: asyncio.BaseTransport) -> peer.Guest:
        counted.append(guests)
        return enter(guests, transport)

    monkeypatch.setattr(peer.Guests, "enter", entering)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(30):
        _, writer = await asyncio.open_connection("127.0.0.1", int(secured.base.rpartition(":")[2]), ssl=context)
        writer.transport.abort()
    async with asyncio.timeout(DEADLINE):
        while len(counted) < 30 or len(counted[0]._inside) > 1:  # this test's own session keeps one
            assert (await secured.call("GET", "/ping")).status == 200


async def test_old_versions_of_tls_are_refused(secured: Cell) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", int(secured.base.rpartition(":")[2]), ssl=context)


def test_what_cannot_be_used_is_refused_by_name(tmp_path: Path) -> None:
    place = Place(data=str(tmp_path))
    secure = Config(data=tmp_path, https=True)
    with pytest.raises(InvalidInput, match=r"no certificate and no token yet.*kato certify 127.0.0.1 --data"):
        Access.open(secure)
    with pytest.raises(InvalidInput, match="Name what others call this machine"):
        certify(place=place)
    for wrong in ("a b", "x,IP:1.2.3.4", "-x", "1::z"):
        with pytest.raises(InvalidInput, match="is no name or address"):
            certify(wrong, place=place)
    certify("kato.example", place=place)
    Access.open(secure)
    for wrong in ("short", "two words two words two", "ü" * 30, ""):
        (tmp_path / "access" / TOKEN).write_text(wrong)
        with pytest.raises(InvalidInput, match="kato certify --new-token"):
            Access.open(secure)
    (tmp_path / "access" / "server.key").write_text("no key")
    with pytest.raises(InvalidInput, match=r"cannot be used.*kato certify HOST"):
        Access.open(secure)


def test_a_caller_shows_one_word(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {RIGHT}\n")
    config = Config(data=tmp_path)
    assert caller(config, {"KATO_TOKEN_FILE": str(file)}).token == RIGHT
    assert caller(config, {"KATO_TOKEN": RIGHT, "KATO_TOKEN_FILE": "/none"}).token == RIGHT
    assert caller(config, {}).token is None and RIGHT not in repr(caller(config, {"KATO_TOKEN": RIGHT}))
    for wrong in ("a b", "a\r\nHost: x", "é"):
        with pytest.raises(InvalidInput, match="KATO_TOKEN is no token"):
            caller(config, {"KATO_TOKEN": wrong})
    with pytest.raises(InvalidInput, match="KATO_TOKEN_FILE cannot be read from"):
        caller(config, {"KATO_TOKEN_FILE": str(tmp_path)})


def test_an_own_certificate_is_read_where_it_is(tmp_path: Path) -> None:
    certify("own.example", place=Place(data=str(tmp_path / "theirs")))
    theirs = tmp_path / "theirs" / "access"
    mine = Place(data=str(tmp_path / "mine"))
    certify(cert=str(theirs / "server.pem"), key=str(theirs / "server.key"), place=mine)
    access = Access.open(Config(data=tmp_path / "mine", https=True))
    assert not (tmp_path / "mine" / "access" / AUTHORITY).exists()
    with pytest.raises(InvalidInput, match="is your own certificate"):
        certify("kato.example", place=mine)
    before = access._stamps
    certify("own.example", place=Place(data=str(tmp_path / "theirs")))
    access.refresh_certificate()
    assert access._stamps != before
