"""What the balancer should serve, as data: Frontends go to a border, a BorderAck comes back."""

from collections.abc import Mapping
from typing import Literal

import msgspec


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
    """

    app: str
    index: int
    port: int
    hosts: tuple[str, ...] = ()
    path: str = "/"
    servers: tuple[Server, ...] = ()


class Frontends(msgspec.Struct, frozen=True):
    """A whole view. seq: the `plan/seq` of the world that it was computed from."""

    seq: int = 0
    services: tuple[Service, ...] = ()


class BorderAck(msgspec.Struct, frozen=True, kw_only=True):
    """What one border has applied: written as `borders/<node>` by the master that holds its link.

    seq: of the view applied. sessions: task → open sessions, for servers that drain.
    address, ingress: where it listens. problems: what it could not do, as sentences (a port in use).
    """

    node: str
    seq: int
    sessions: Mapping[str, int] = {}
    address: str = "127.0.0.1"
    ingress: str = ""
    problems: tuple[str, ...] = ()
