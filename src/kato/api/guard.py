"""Every request passes here: foreign hosts and web pages are refused, paths made plain, crashes turned into 500.

Other users of this machine reach loopback too, and must not run tasks as this cell's user. So does a browser: a
page that it shows must not start processes, neither by a request across origins, nor by a name of its own that it
lets point here (DNS rebinding). Whoever shows the token may ask for all, from wherever; from elsewhere nobody else
may ask for anything.
"""

import os
import re
import time
from collections.abc import Callable
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kato.access import Access
from kato.api.answers import answer, refusal
from kato.api.metrics import Requests
from kato.api.peer import GUEST, Guest
from kato.model.errors import InvalidInput, Refused, Unproven

log = structlog.get_logger()

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE = ("GET", "HEAD", "OPTIONS")
PROVEN = "kato.proven"
"""In the scope of a request that shows the token."""
_HOST = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)
"""A Host header (RFC 9110, 7.2): a name or an address, and a port; nothing before, between or behind them."""
_NAMELESS = re.compile(rb"/+v2/+apps/+%2f(%2f|/)*(/|$)", re.IGNORECASE)
OPEN = ("/ping", "/metrics", "/v1/prometheus/targets", "/v1/prometheus/balancer")
"""What every user of this machine may ask for: a Prometheus has a user of its own."""
SHOW = "show it as `Authorization: Bearer TOKEN`; the `kato` command takes it from KATO_TOKEN or KATO_TOKEN_FILE"


class Guard:
    """ASGI middleware. host: the name or address of the configured listener; leader: host:port of who leads."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        leader: Callable[[], str | None],
        access: Access,
        requests: Requests | None = None,
    ) -> None:
        self._app = app
        self._access = access
        self._hosts = {*LOOPBACK, host.strip("[]").lower()}
        self._leader = leader
        self._users = {0, os.geteuid()}
        self._requests = requests or Requests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if leader := self._leader():
                    MutableHeaders(scope=message)["X-Marathon-Leader"] = f"{scope['scheme']}://{leader}"
            await send(message)

        try:
            await self._pass(scope, receive, sending)
        except Exception as error:
            response = _crash(error, scope)
            if status:
                raise
            await response(scope, receive, sending)
        finally:
            took = time.monotonic() - began
            self._requests.count(scope["method"], status, took)
            log.debug("request", method=scope["method"], path=scope["path"], status=status, seconds=round(took, 4))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        refused = self._stranger(scope, headers) or self._refused(scope, headers)
        if refused is not None:
            await refusal(refused)(scope, receive, send)
            return
        if _nameless(scope.get("raw_path") or b""):
            error = InvalidInput(
                "The path has an encoded slash where an app's name stands, as in /v2/apps/shop/web."
            )
            await refusal(error)(scope, receive, send)
            return
        scope["path"] = plain(scope["path"])
        await self._app(scope, receive, send)

    def _stranger(self, scope: Scope, headers: Headers) -> Refused | None:
        guest: Guest | None = scope.get(GUEST)
        shown = headers.get("authorization")
        if shown is not None and self._access.has_token:
            if not self._access.right(shown):
                return Unproven(f"The token is not this cell's, or no more; {SHOW}.")
            if guest is not None:
                guest.prove()
            scope[PROVEN] = True
            return None
        if guest is not None and guest.user in self._users:
            return None
        if guest is not None and guest.local and scope["path"] in OPEN:
            return None
        if self._access.has_token:
            return Unproven(
                f"This cell takes requests of user {os.geteuid()} of its own machine and of root, and of others "
                f"with its token; {SHOW}. It is in access/token of the cell's folder."
            )
        return Refused(
            f"This cell runs as user {os.geteuid()} and takes requests of that user and of root alone: whoever "
            "may start a task, runs it as that user. Ask as that user (sudo kato …), with a token (kato certify), "
            "or start a cell of your own."
        )

    def _refused(self, scope: Scope, headers: Headers) -> Refused | None:
        host = headers.get("host", "")
        # Over TLS no foreign name points here: no page has a certificate of that name and ours in one.
        if PROVEN not in scope and scope["scheme"] != "https" and _name(host) not in self._hosts:
            return Refused(
                f"The host {host!r} is not this cell's; address it as localhost, 127.0.0.1 or [::1], or show its "
                "token, so that no foreign name can be made to point here."
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{scope['scheme']}://{host.lower()}":
            return Refused(f"The web page at {origin!r} is not this cell's; it may not use this API.")
        if scope["method"] not in SAFE and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Refused("A web page that is not this cell's may not change anything here.")
        return None


def plain(path: str) -> str:
    """A path without doubled and trailing slashes: `/v2//groups/` is `/v2/groups`."""
    return "/" + "/".join(part for part in path.split("/") if part)


def _nameless(path: bytes) -> bool:
    """Whether nothing but encoded slashes names an app: made plain, it would be the path of all apps."""
    return _NAMELESS.match(path) is not None


def _name(host: str) -> str | None:
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else None


def _crash(error: Exception, scope: Scope) -> Response:
    if isinstance(error, RecursionError):
        return answer({"message": "Invalid JSON", "details": "The body is nested too deep."}, 400)
    id = uuid4().hex[:8]
    log.error("a request failed", id=id, method=scope["method"], path=scope["path"], exc_info=error)
    sentence = f"This is a fault of Káto's own. It is logged as {id}; please report it with that part of the log."
    return answer({"message": sentence}, 500)
