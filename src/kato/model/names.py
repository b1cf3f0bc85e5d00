"""What a name server should answer, as data: Names go to a border that serves them."""

from collections.abc import Mapping

import msgspec

ZONE = "kato"
"""The domain below which every name of a cell is."""


class Target(msgspec.Struct, frozen=True, order=True):
    """Where one task answers on one of its ports. host: a name of the same view."""

    host: str
    port: int


class AppNames(msgspec.Struct, frozen=True):
    """The names of one app, in lower case and without a dot at the end. One with nothing behind it exists too.

    own: the app's own name; None where its id cannot be one. hosts: name → IP addresses.
    services: name (`_redis._tcp.voting.kato`) → host ports of tasks. fronts: the same names → service ports, at
    which a balancer has what serves; none where nothing does.
    """

    app: str
    own: str | None = None
    hosts: Mapping[str, tuple[str, ...]] = {}
    services: Mapping[str, tuple[Target, ...]] = {}
    fronts: Mapping[str, tuple[int, ...]] = {}


class Names(msgspec.Struct, frozen=True):
    """A whole view, by app; what did not change is the same object in the next one.

    seq: rises with every view (the revision of the world that it was made from).
    """

    seq: int = 0
    apps: Mapping[str, AppNames] = {}
