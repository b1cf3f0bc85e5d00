"""The World goes in; what name servers answer comes out: addresses of apps and tasks, and where their ports are.

In Mesos-DNS' manner /voting/redis is `redis.voting.kato`, its host ports are `_redis._tcp.voting.kato`. A task
that does not serve is under no name. An app that is wished for has its name, also with nothing behind.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache, partial
from ipaddress import ip_address

from kato.model.app import App
from kato.model.names import ZONE, AppNames, Names, Target
from kato.model.task import Task
from kato.model.world import World
from kato.plan.recall import Recall

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
    every: set[str] = set()
    hosts: dict[str, tuple[str, ...]] = {}
    services: dict[str, set[tuple[str, int]]] = {}
    named: dict[str, list[tuple[str, ...]]] = {}
    for task in _serving(id, world):
        address = _address(addresses.get(task.node, ""))
        if address is None:
            continue
        every.add(address)
        alone = f"{_label(task)}.{own}"
        if len(alone) <= _LONGEST:
            hosts[alone] = (address,)
        else:
            alone = own
        if task.version not in named:
            named[task.version] = _service_names(world.spec(id, task.version), own)
        for number, under in zip(task.ports, named[task.version], strict=False):
            for name in under:
                services.setdefault(name, set()).add((alone, number))
    if every or id in world.apps:
        hosts[own] = tuple(sorted(every))
    found = {name: tuple(Target(*each) for each in sorted(services[name])) for name in sorted(services)}
    return AppNames(id, own, hosts, found, _fronts(world.apps.get(id), own) if every else {})


def _fronts(app: App | None, own: str) -> Mapping[str, tuple[int, ...]]:
    """Under which names the balancer's ports of an app are."""
    found: dict[str, list[int]] = {}
    for port, under in zip(app.ports if app else (), _service_names(app, own, ("tcp",)), strict=False):
        for name in under if port.balanced else ():
            found.setdefault(name, []).append(port.service)
    return {name: tuple(sorted(ports)) for name, ports in sorted(found.items())}


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


def _service_names(
    app: App | None, own: str, protocols: Collection[str] = ("tcp", "udp")
) -> list[tuple[str, ...]]:
    """Under which names (RFC 2782) each port of a version is: with all of its protocol, and by its own name."""
    head, _, group = own.partition(".")
    found = []
    for port in app.ports if app else ():
        spoken = [each for each in port.protocol.split(",") if each in protocols]
        plain = [f"_{head}._{protocol}.{group}" for protocol in spoken]
        named = [f"_{port.name.lower()}.{name}" for name in plain] if port.name else []
        found.append(tuple(filter(_valid, (*plain, *named))))
    return found


@lru_cache(maxsize=65536)
def _address(text: str) -> str | None:
    """An IP address as it is written best; None for anything else."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _valid(name: str) -> str | None:
    return name if len(name) <= _LONGEST and all(map(_LABEL.fullmatch, name.split("."))) else None
