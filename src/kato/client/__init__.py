"""The HTTP client of a cell's API: requests go in, decoded JSON comes out, or an error of Káto's own tree.

What is not here is asked for by nobody yet. Times are seconds; an app's id is absolute (`/voting/vote`).
"""

import base64
import contextlib
import os
import pwd
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from kato.access import Caller
from kato.client.refusals import decoded, error_of, foreign, remedy, unanswered, under_way
from kato.config import SERVER, endpoint, on_loopback
from kato.model.conversation import Broke, Command, Left, Said, Typing, Wrote
from kato.model.errors import (
    KatoError,
    Locked,
    Refused,
    Unavailable,
)
from kato.sockets import Sockets, here

Json = dict[str, Any]
NOBODY = Caller()
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
"""Where a cell that listens everywhere is asked on its own machine."""


class LogPiece(msgspec.Struct, frozen=True):
    """A piece of a task's output. offset: of its first byte in the stream. time: epoch seconds."""

    task: str
    stream: str
    offset: int
    text: str
    time: float | None = None


class Accepted(msgspec.Struct, frozen=True):
    """A wish that was taken. deployment: None where nothing had to change."""

    version: str
    deployment: str | None


class Client:
    """One cell's API. Every method may raise Unavailable, Conflict where another program listens at its address,
    Refused where that is another user's or cannot prove itself, and KatoError for what the cell answers.

    address: host:port or a URL. caller: who asks.
    """

    def __init__(self, address: str, caller: Caller = NOBODY) -> None:
        api, https = endpoint(address)
        host, _, port = api.rpartition(":")
        host = _EVERYWHERE.get(host, host)
        self.address = f"{'https' if https else 'http'}://{host}:{port}"
        hosts = ("127.0.0.1", "::1") if host.lower() == "localhost" else (host.strip("[]"),)
        self._ends = [(each, int(port)) for each in hosts] if on_loopback(host) else []
        self.elsewhere = not here(host.strip("[]"))
        """Whether the address is another machine's."""
        self._caller = caller
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Who listens on loopback is known by the kernel, before anything is said: no certificate says more.
        tls = self._caller.context() if not self._ends else False
        token = self._caller.token
        self._session = aiohttp.ClientSession(
            self.address,
            connector=aiohttp.TCPConnector(ssl=tls),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=aiohttp.ClientTimeout(total=30, sock_connect=5),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # The cell

    async def cell(self) -> Json:
        """Which cell this is: id, version, pid, api, ingress, data."""
        found: Json = await self._get("/v1/cell")
        return found

    async def ping(self) -> bool:
        """Whether a cell answers. Conflict where something else does."""
        try:
            await self._call("GET", "/ping")
        except Unavailable:
            return False
        return True

    async def backup(self) -> bytes:
        """All that its store holds, at one revision, as `kato restore` takes it."""
        return await self._content("GET", "/v1/backup")

    async def raw(self, path: str) -> bytes:
        """What the cell answers at a path, as it is."""
        return await self._content("GET", path)

    async def stop(self) -> None:
        """Ends the cell; its tasks go on."""
        await self._call("POST", "/v1/stop")

    async def nodes(self) -> list[Json]:
        """The machines, with what is used."""
        return _items(await self._get("/v1/nodes"), "nodes")

    async def services(self) -> list[Json]:
        """The services with their ports, hosts, servers, problems and URLs."""
        return _items(await self._get("/v1/services"), "services")

    async def applied(self) -> bool:
        """Whether the balancer has looked at all services that are wished for, and so told its problems."""
        found: Json = await self._get("/v1/services")
        return bool(found["applied"])

    # What runs

    async def apps(self, group: str = "/") -> list[Json]:
        """How every app in a group, and each of its tasks, stands; those that are going still, too."""
        return _items(await self._get("/v1/apps", [("group", group)]), "apps")

    async def ended(self) -> list[Json]:
        """The tasks that have gone and whose output is kept, the newest end last."""
        return _items(await self._get("/v1/ended"), "tasks")

    async def versions(self, app: str) -> list[Json]:
        """An app's versions, the newest first: what each changed, and where a rollback goes."""
        return _items(await self._get(f"/v1/versions{app}"), "versions")

    async def app(self, app: str, version: str | None = None) -> Json:
        """An app as Marathon tells it: the wish, in a version of it or in force."""
        if version is not None:
            found: Json = await self._get(f"/v2/apps{app}/versions/{version}")
            return found
        found = await self._get(f"/v2/apps{app}")
        return dict(found["app"])

    async def deployments(self) -> list[Json]:
        """What is under way, as Marathon tells it, the oldest first."""
        return _items(await self._get("/v2/deployments"), "")

    async def why(self, app: str) -> Json:
        """What an app is missing, and why."""
        found: Json = await self._get(f"/v1/why{app}")
        return found

    async def stats(self) -> list[Json]:
        """Every task, with what it has used of processors until now, and has of memory."""
        return _items(await self._get("/v1/stats"), "tasks")

    async def drill(self, name: str) -> Json:
        """What would happen if a task, a machine or an engine were lost now; nothing is."""
        found: Json = await self._get("/v1/drill", [("lose", name)])
        return found

    # Secrets

    async def secrets(self) -> list[Json]:
        """The names of secrets, when each was set, and which apps name it."""
        return _items(await self._get("/v1/secrets"), "secrets")

    async def set_secret(self, name: str, value: bytes) -> Json:
        """Sets a secret; whether that changed it, and which apps name it."""
        body = {"base64": base64.b64encode(value).decode()}
        found: Json = await self._call("PUT", f"/v1/secrets/{quote(name)}", body=body)
        return found

    async def remove_secret(self, name: str, *, force: bool = False) -> None:
        """Removes a secret. Conflict where an app names it, without `force`."""
        await self._call("DELETE", f"/v1/secrets/{quote(name)}", _force(force))

    # Volumes

    async def volumes(self) -> list[Json]:
        """The named volumes, what each takes on the disk, and which apps name it."""
        return _items(await self._get("/v1/volumes"), "volumes")

    async def remove_volume(self, name: str) -> None:
        """Removes one with all that is in it. Conflict where an app names it, NotFound."""
        await self._call("DELETE", f"/v1/volumes/{quote(name, safe='')}")

    # Wishes

    async def plan(self, body: Mapping[str, object]) -> Json:
        """What a wish (`{group}` or `{apps}`) would change; nothing is done."""
        found: Json = await self._call("POST", "/v1/plan", body=body)
        return found

    async def put_group(self, group: str, body: object, *, force: bool = False) -> Accepted:
        """Replaces a group whole."""
        return _accepted(await self._call("PUT", f"/v2/groups{group}", _force(force), body))

    async def put_apps(self, apps: Sequence[object], *, force: bool = False) -> Accepted:
        """Creates or replaces apps."""
        return _accepted(
            await self._call("PUT", "/v2/apps", [*_force(force), ("partialUpdate", "false")], list(apps))
        )

    async def delete_group(self, group: str, *, force: bool = False) -> Accepted:
        """Removes a group and all in it; `/` removes every app."""
        return _accepted(await self._call("DELETE", f"/v2/groups{group}", _force(force)))

    async def delete_app(self, app: str, *, force: bool = False) -> Accepted:
        """Removes an app."""
        return _accepted(await self._call("DELETE", f"/v2/apps{app}", _force(force)))

    async def scale(self, app: str, instances: int, *, force: bool = False) -> Accepted:
        """Wishes for another number of an app's tasks."""
        return _accepted(await self._call("PUT", f"/v2/apps{app}", _force(force), {"instances": instances}))

    async def restart(self, app: str, *, force: bool = False) -> Accepted:
        """Exchanges all tasks of an app, as an upgrade does."""
        return _accepted(await self._call("POST", f"/v2/apps{app}/restart", _force(force)))

    async def roll_back(self, app: str, version: str | None = None, *, force: bool = False) -> Json:
        """Takes an app, and with it a deployment that holds it, back: to a version, or to the former one. The
        answer says what that changes (`changes`).
        """
        body = {} if version is None else {"version": version}
        found: Json = await self._call("POST", f"/v1/rollback{app}", _force(force), body)
        return found

    # Streams

    async def logs(
        self, name: str, *, tail: int | None = None, follow: bool = False, since: float | None = None
    ) -> AsyncIterator[LogPiece]:
        """The output of a task, or of all tasks of an app or a group (`/`: all): the last `tail` lines
        (None: all), but none of before `since` (epoch seconds), then what comes.
        """
        query = [("follow", "true" if follow else "false")]
        if tail is not None:
            query.append(("tail", str(tail)))
        if since is not None:
            query.append(("since", repr(since)))
        decode = msgspec.json.Decoder(LogPiece).decode
        async for line in self._lines("GET", f"/v1/logs/{name.lstrip('/')}".rstrip("/"), query):
            yield decode(line)

    async def events(self) -> AsyncIterator[Json]:
        """What happens, as Marathon tells it, from now on until the cell ends."""
        listening = {"Accept": "text/event-stream"}
        async for line in self._lines("GET", "/v2/events", [("plan-format", "light")], headers=listening):
            if line.startswith(b"data: "):
                yield decoded(line.removeprefix(b"data: "))

    async def exec(self, name: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """What a command beside a task, or beside one of an app, writes, and last how it left. `typing` goes to it
        at the same time. It is ended where this is closed before. Unavailable where nobody knows how it left.
        """

        async def body() -> AsyncIterator[bytes]:
            yield msgspec.json.encode(command) + b"\n"
            async for each in typing:
                yield msgspec.json.encode(each) + b"\n"

        decode = msgspec.json.Decoder(Wrote | Left | Broke).decode
        async with contextlib.aclosing(self._lines("POST", f"/v1/exec/{name.lstrip('/')}", data=body())) as lines:
            async for line in lines:
                if isinstance(said := decode(line), Broke):
                    raise Unavailable(said.message)
                yield said
                if isinstance(said, Left):
                    return
        raise Unavailable(f"The cell at {self.address} has ended, and the command with it.")

    # The wire

    async def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        return await self._call("GET", path, query)

    async def _call(self, verb: str, path: str, query: Sequence[tuple[str, str]] = (), body: object = None) -> Any:
        return decoded(await self._content(verb, path, query, body))

    async def _content(
        self, verb: str, path: str, query: Sequence[tuple[str, str]] = (), body: object = None
    ) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            async with self._open().request(
                verb, path, params=list(query), data=data, headers=headers, allow_redirects=False
            ) as answer:
                self._recognize(answer)
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unanswered(self.address, error) from error
        if answer.status >= 400:
            refused = error_of(answer.status, content)
            raise await self._explained(refused) if isinstance(refused, Locked) else refused
        return content

    async def _explained(self, error: Locked) -> Locked:
        """A lock with what its deployments do; Marathon's answer has their ids alone."""
        try:
            held = [each for each in await self.deployments() if each["id"] in error.deployments]
        except KatoError:
            held = []
        if held:
            error.args = (f"{' '.join(map(under_way, held))} {remedy(held[0])}",)
        return error

    async def _lines(
        self,
        verb: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        data: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        endless = aiohttp.ClientTimeout(total=None, sock_connect=5)
        rest = b""
        try:
            async with self._open().request(
                verb, path, params=list(query), data=data, headers=headers, timeout=endless
            ) as answer:
                self._recognize(answer)
                if answer.status >= 400:
                    raise error_of(answer.status, await answer.read())
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unanswered(self.address, error) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("The client is used outside its `async with`.")
        self._recognize_listener()
        return self._session

    def _recognize_listener(self) -> None:
        """Refused where somebody else listens: a user of this machine who was quicker to take the port would be
        told what is in a file, its secrets too.
        """
        with contextlib.closing(Sockets()) as sockets:
            for host, port in self._ends:
                user = sockets.listener((host, port))
                if user not in (None, 0, os.geteuid()):
                    raise Refused(
                        f"What listens at {host}:{port} is the user {_called(user)}'s, and is told nothing. Name "
                        "another address, of your cell or of one to start (--api, KATO_API), or ask as that user."
                    )

    def _recognize(self, answer: aiohttp.ClientResponse) -> None:
        """Conflict where it is not a cell that answers."""
        if answer.headers.get("Server") != SERVER:
            raise foreign(self.address)


def _called(user: int | None) -> str:
    try:
        return pwd.getpwuid(user or 0).pw_name
    except KeyError:
        return str(user)


def _items(body: object, name: str) -> list[Json]:
    found = body.get(name, []) if isinstance(body, dict) else body
    return found if isinstance(found, list) else []


def _accepted(body: object) -> Accepted:
    if not isinstance(body, dict):
        return Accepted("", None)
    first: Json = next(iter(body.get("deployments") or ()), {})
    return Accepted(str(body.get("version", "")), body.get("deploymentId") or first.get("id"))


def _force(force: bool) -> list[tuple[str, str]]:
    return [("force", "true")] if force else []
