"""Counts what is still open: servers that drain go in, how many sessions each worker has for them comes out."""

from collections import Counter
from collections.abc import Iterable, Mapping

from kato.drivers.balancer.render import http_name, tcp_name, word
from kato.drivers.balancer.runtime_socket import tables
from kato.model.frontend import Service

Place = tuple[str, str]
"""A backend and a server in it."""


def draining(services: Iterable[Service]) -> dict[str, list[Place]]:
    """Task → where it stands, for every task of which a server drains; also where only an older worker has it."""
    found: dict[str, list[Place]] = {}
    for service in services:
        names = [tcp_name(service)] * (service.port > 0) + [http_name(service)] * bool(service.hosts)
        for each in service.servers:
            if each.state == "drain":
                found.setdefault(each.task, []).extend((name, word(each.task)) for name in names)
    return found


def questions(places: Mapping[str, list[Place]]) -> list[str]:
    """The commands whose answers `count` reads."""
    backends = sorted({backend for where in places.values() for backend, _ in where})
    return ["show stat -1 1 -1", *(f"show stat {backend} 4 -1" for backend in backends)]


def count(answer: str, *, old: bool) -> Counter[Place]:
    """Open sessions of every server that a worker names.

    old: it is a worker of just before a reload, whose servers cannot be drained any more. Each HTTP client that it
    still has may come with one more request, which may meet any of its servers, so all of them count for each.
    """
    rows = [row for row in tables(answer) if "scur" in row]
    clients = sum(int(row["scur"]) for row in rows if old and row["pxname"].startswith("ingress."))
    found: Counter[Place] = Counter()
    for row in rows:
        if row["svname"] != "FRONTEND":
            some = int(row["scur"]) + int(row["qcur"] or 0)
            found[row["pxname"], row["svname"]] = max(some, clients if row["pxname"].startswith("http.") else 0)
    return found
