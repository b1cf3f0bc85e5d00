"""What the balancer should serve, as data: Frontends go to a border, a BorderAck comes back."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


class Server(msgspec.Struct, frozen=True, order=True):
    """One task behind a service. state `drain` keeps open sessions and takes no new ones."""

    task: str
    address: str
    port: int
    state: Literal["ready", "drain"] = "ready"


class Service(msgspec.Struct, frozen=True, order=True):
    """One service port of an app.

    port: where the balancer listens (TCP), on the border's address.
    hosts, path: where it answers on the ingress as HTTP besides; no hosts means not on the ingress.
    leaving: nobody wishes for it any more, and it stays for the sessions that are open; it yields its port and its
    hosts to whoever else wants them.
    """

    app: str
    index: int
    port: int
    hosts: tuple[str, ...] = ()
    path: str = "/"
    servers: tuple[Server, ...] = ()
    leaving: bool = False


class Door(msgspec.Struct, frozen=True, order=True):
    """An address of this machine that only those behind one of its interfaces reach: containers on a network."""

    address: str
    interface: str


class Frontends(msgspec.Struct, frozen=True):
    """A whole view. seq: the `plan/seq` of the world that it was computed from."""

    seq: int = 0
    services: tuple[Service, ...] = ()


class BorderAck(msgspec.Struct, frozen=True, kw_only=True):
    """What one border has applied: written as `borders/<node>` by the master that holds its link.

    seq: of the view applied. sessions: task → open sessions, for servers that drain.
    address, ingress: where it listens. problems: what it could not do, as sentences (a port in use).
    shape: of the newest view that it has looked at, as from `shape_of`; empty before the first.
    """

    node: str
    seq: int
    sessions: Mapping[str, int] = {}
    address: str = "127.0.0.1"
    ingress: str = ""
    problems: tuple[str, ...] = ()
    shape: str = ""


def shape_of(services: Iterable[Service]) -> str:
    """A short word for all of a view but its servers: which ports, hosts and paths it asks for."""
    asked = [(each.app, each.index, each.port, each.hosts, each.path) for each in services]
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()[:16]


def host_name(text: str) -> str | None:
    """A host name as clients send it (lower case, IDNA), or None where `text` is none.

    >>> host_name("Vote.LocalHost"), host_name("my host")
    ('vote.localhost', None)
    """
    try:
        name = text.lower() if text.isascii() else text.lower().encode("idna").decode()
    except UnicodeError:
        return None
    return name if _HOST.fullmatch(name) and len(name) < 254 else None


def front_of(path: str) -> str:
    """What every path begins with that `path` answers: `/api/` for `/api`, and `/` for `/`."""
    return path.rstrip("/") + "/"


def is_path(text: str) -> bool:
    """Whether it can stand as the path of a URL (RFC 3986, 3.3)."""
    return bool(_PATH.fullmatch(text))


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What passed the balancer for one service since its last reload, by one way. way: http or tcp.

    sessions, queued: now; connections, received, sent (bytes, as the app sees it): so far; responses: by the first
    digit of their status, where the way is http.
    """

    app: str
    way: str
    sessions: int
    queued: int
    connections: int
    received: int
    sent: int
    responses: Mapping[str, int] = {}
