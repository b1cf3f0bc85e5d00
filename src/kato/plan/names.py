"""The World goes in; what name servers answer comes out: addresses of apps and tasks, and where their ports are.

In Mesos-DNS' manner /voting/redis is `redis.voting.kato`, its host ports are `_redis._tcp.voting.kato`. A task
that does not serve is under no name. An app that is wished for has its name, also with nothing behind.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from kato.model.app import App
from kato.model.names import ZONE, AppNames, Names, Target
from kato.model.task import Task
from kato.model.world import World
from kato.plan.recall import Recall

_T = TypeVar("_T", str, Target)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")
_LONGEST = 253
"""Of a name as text: 255 bytes on the wire (RFC 1035, 2.3.4)."""


def names(world: World, recall: Recall | None = None) -> Names:
    """The whole view. recall: what was found before, kept between calls."""
    recall = recall or Recall()
    addresses = recall.addresses(world)
    found: dict[str, AppNames] = {}
    for id in sorted(world.apps.keys() | world.tasks.keys()):
        seen = (id in world.apps, world.tasks.get(id), world.statuses.get(id), addresses)
        found[id] = recall.names(id, seen, partial(_names, id, world, addresses))
    recall.drop_names(found)
    return Names(world.revision, found)


def host_name(app: str) -> str | None:
    """The name of an app; None where its id has a part that no name can have, or is too long.

    >>> host_name("/voting/redis")
    'redis.voting.kato'
    """
    return _valid(".".join([*reversed(app.strip("/").split("/")), ZONE]))


def _names(id: str, world: World, addresses: Mapping[str, str]) -> AppNames:
    own = host_name(id)
    if own is None:
        return AppNames(id)
    hosts: dict[str, set[str]] = {own: set()} if id in world.apps else {}
    services: dict[str, set[Target]] = {}
    for task in _serving(id, world):
        address = _address(addresses.get(task.node))
        if address is None:
            continue
        alone = _valid(f"{_label(task)}.{own}") or own
        for name in (own, alone):
            hosts.setdefault(name, set()).add(address)
        for name, port in _ports(world.spec(id, task.version), task, own):
            services.setdefault(name, set()).add(Target(alone, port))
    return AppNames(id, own, _sorted(hosts), _sorted(services))


def _serving(id: str, world: World) -> Iterator[Task]:
    statuses = world.statuses.get(id, {})
    for task in world.tasks.get(id, {}).values():
        if task.serves(statuses.get(task.id)):
            yield task


def _label(task: Task) -> str:
    """What tells a task from the others of its app: the number of its launch.

    A store that was put back counts launches again that were made before, so they have the cell's life besides.
    """
    return f"{task.attempt}" if task.incarnation == 1 else f"{task.attempt}-{task.incarnation}"


def _ports(app: App | None, task: Task, own: str) -> Iterator[tuple[str, int]]:
    """Under which service names (RFC 2782) a task's host ports are: all of a protocol, and each by its name."""
    head, _, group = own.partition(".")
    for port, number in zip(app.ports if app else (), task.ports, strict=False):
        for protocol in port.protocol.split(","):
            name = f"_{head}._{protocol}.{group}"
            if _valid(name):
                yield name, number
            if port.name and _valid(named := f"_{port.name.lower()}.{name}"):
                yield named, number


def _address(text: str | None) -> str | None:
    """An IP address as it is written best; None for anything else."""
    try:
        return str(ip_address(text or ""))
    except ValueError:
        return None


def _valid(name: str) -> str | None:
    return name if len(name) <= _LONGEST and all(map(_LABEL.fullmatch, name.split("."))) else None


def _sorted(found: Mapping[str, Iterable[_T]]) -> dict[str, tuple[_T, ...]]:
    return {name: tuple(sorted(each)) for name, each in sorted(found.items())}
