"""A range and then events of the store flow in; Worlds flow out, with everything decoded once and shared.

Whatever goes in, a snapshot or some events, has the same effect: a delta, applied to copy-on-write indexes.
"""

import asyncio
import heapq
import itertools
from collections.abc import Iterable, Set
from typing import Any, NamedTuple

from kato.model.app import App
from kato.model.deployment import Deployment
from kato.model.errors import Compacted, StoreRefused, StoreUnavailable
from kato.model.task import Status, Task
from kato.model.world import World
from kato.store import Events, KeyValue, Range, Store, keys
from kato.store.changes import Change, Changes, Subscription
from kato.store.indexes import Grouped, Index, Named, Specs

BEHIND = 10_000
"""How many changes a subscriber may lie behind."""
RETRY_FIRST, RETRY_MOST = 0.1, 5.0
"""Seconds between attempts to reach a store that does not answer; doubled each time."""

_IN_WORLD = ("groups", "deployments", "progress", "launches", "kills", "nudges", "secrets", "nodes", "borders")
_FLAT = (*_IN_WORLD, "locks")


class _Held(NamedTuple):
    value: Any
    """Decoded; for a version, its bytes."""
    created: int
    modified: int


class Mirror:
    """The store as it was at `revision`, 0 before the first `reset`. A store's first revision is 1."""

    def __init__(self) -> None:
        self.revision = 0
        self._held: dict[str, _Held] = {}
        self._flat: dict[str, Index[Any]] = {room: Index() for room in _FLAT}
        self._tasks = Grouped[Task]()
        self._statuses = Grouped[Status]()
        self._specs = Specs()
        self._apps = Index[App]()
        self._holders = Index[str]()
        """Locks in force: the deployment that holds each app."""
        self._named = Named()
        """Which deployments name each app."""
        self._locked = Named()
        """Which apps have a lock that names each deployment."""
        self._world: World | None = None
        self._order = itertools.count()
        self._awaited: list[tuple[int, int, asyncio.Future[None]]] = []
        self._subscriptions: list[Subscription] = []

    def reset(self, all: Range) -> None:
        """Becomes what `all` (of the prefix "") says. StoreRefused where a value cannot be read."""
        found = {item.key: item for item in all.items}
        changed = [item for item in all.items if self.modified(item.key) != item.modified]
        gone = [key for key in self._held if key not in found]
        self._take(all.revision, [*((key, None) for key in gone), *((item.key, item) for item in changed)])

    def update(self, events: Events) -> None:
        """Takes in one revision. StoreRefused where a value cannot be read."""
        self._take(events.revision, [(event.key, event.now) for event in events.items])

    def world(self, dark: Set[str] = frozenset()) -> World:
        """The World as of now. It shares the indexes, copies nothing, and never changes."""
        if self._world is None or self._world.dark != dark:
            self._world = World(
                revision=self.revision,
                seq=self.plan_seq,
                apps=self._apps.view(),
                locks=self._holders.view(),
                tasks=self._tasks.view(),
                statuses=self._statuses.view(),
                dark=frozenset(dark),
                incarnation=self.cell.incarnation if self.cell else 1,
                spec=self._specs.view(),
                **{room: self._flat[room].view() for room in _IN_WORLD},
            )
        return self._world

    def get(self, key: str) -> Any:
        """What stands at a key, decoded; None for nothing."""
        held = self._held.get(key)
        return self._decoded(key, held.value) if held else None

    def modified(self, key: str) -> int:
        """The revision of a key's last write, 0 where it does not exist: what a Compare asks for."""
        held = self._held.get(key)
        return held.modified if held else 0

    def created(self, key: str) -> int:
        """The revision at which a key was made, 0 where it does not exist. The leader key's is the epoch."""
        held = self._held.get(key)
        return held.created if held else 0

    @property
    def plan_seq(self) -> int:
        return self.get(keys.PLAN_SEQ) or 0

    @property
    def wish_seq(self) -> int:
        return self.get(keys.WISH_SEQ) or 0

    @property
    def leader(self) -> keys.Leader | None:
        leader: keys.Leader | None = self.get(keys.LEADER)
        return leader

    @property
    def cell(self) -> keys.Cell | None:
        cell: keys.Cell | None = self.get(keys.CELL)
        return cell

    @property
    def cell_id(self) -> str:
        """Empty before the first load."""
        return self.cell.id if self.cell else ""

    async def reached(self, revision: int) -> None:
        """Returns once the mirror is at least this new; `reached(1)` is its first load."""
        if self.revision < revision:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (revision, next(self._order), told)
            heapq.heappush(self._awaited, entry)
            try:
                await told
            except asyncio.CancelledError:
                if entry in self._awaited:  # an idle store may not advance for long, and waiters may come and go
                    self._awaited.remove(entry)
                    heapq.heapify(self._awaited)
                raise

    def changes(self, limit: int = BEHIND) -> Subscription:
        """Every change from now on. Use it with `with`; a reader that is too slow is dropped."""
        subscription = Subscription(limit)
        self._subscriptions.append(subscription)
        return subscription

    def _take(self, revision: int, delta: list[tuple[str, KeyValue | None]]) -> None:
        # Everything is decoded before anything changes. Rooms of a newer Káto of this format are passed over.
        taken = [(key, _held(item) if item else None) for key, item in delta if keys.is_known(key)]
        changed = [(key, self._held.get(key), now) for key, now in taken]
        apps: set[str] = set()
        for key, before, now in changed:
            apps.update(self._index(key, before, now))
        if apps:
            self._overlay(sorted(apps))
        self.revision = revision
        self._world = None
        self._tell(changed)

    def _index(self, key: str, before: _Held | None, now: _Held | None) -> Iterable[str]:
        """Puts one key where it belongs; the apps whose wish or lock it may have changed."""
        if now is None:
            self._held.pop(key, None)
        else:
            self._held[key] = now
        room, id = keys.split(key)
        match room:
            case "tasks" | "status":
                index: Grouped[Any] = self._tasks if room == "tasks" else self._statuses
                task = id.rpartition("/")[2]
                if before and (now is None or now.value.app != before.value.app):
                    index.drop(before.value.app, task, before.value)
                if now:
                    index.set(now.value.app, task, now.value)
            case "versions":
                self._specs.set(key, now.value if now else None)
                return (keys.version_of(key)[0],)
            case "apps":
                return (id,)
            case _ if room in self._flat:
                self._flat[room].set(id, now.value if now else None)
                if room == "locks":
                    self._locked.drop(id, (before.value,) if before else ())
                    self._locked.add(id, (now.value,) if now else ())
                    return (id,)
                if room == "deployments":
                    was, named = (held.value.target if held else {} for held in (before, now))
                    self._named.drop(id, was)
                    self._named.add(id, named)
                    return {*was, *named, *self._locked.of(id)}
        return ()

    def _overlay(self, apps: Iterable[str]) -> None:
        """Brings wishes and locks in force up to date for some apps."""
        for app in apps:
            version, holder = self._in_force(app)
            self._apps.set(app, self._spec(app, version) if version else None)
            self._holders.set(app, holder)

    def _in_force(self, app: str) -> tuple[str | None, str | None]:
        """Which version of an app is wished for, and who holds it: what its keys say, then deployments, the newest
        last.

        A cancelled one holds nothing, but what it wished for stands until its pointers are written. No lock
        outlives its deployment.
        """
        running = self._flat["deployments"]
        record, lock = self.get(keys.app(app)), self._flat["locks"].get(app)
        version, holder = record and record.version, lock if lock and running.get(lock) else None
        naming: list[Deployment] = [each for id in self._named.of(app) if (each := running.get(id))]
        for each in sorted(naming, key=lambda each: (self.created(keys.deployment(each.id)), each.id)):
            if not each.cancelled or not each.settled:
                version = each.target[app]
            if not each.cancelled:
                holder = each.id
        return version, holder

    def _spec(self, app: str, version: str) -> App:
        found = self._specs.view()(app, version)
        if found is None:
            raise StoreRefused(
                f"{app} is wished for in version {version}, and {keys.version(app, version)} is not in the store. "
                "The store was changed by another hand; restore a backup, or put the app anew."
            )
        return found

    def _decoded(self, key: str, value: Any) -> Any:
        return self._specs.read(key, value) if keys.is_version(key) else value

    def _tell(self, changed: list[tuple[str, _Held | None, _Held | None]]) -> None:
        while self._awaited and self._awaited[0][0] <= self.revision:
            told = heapq.heappop(self._awaited)[2]
            if not told.done():
                told.set_result(None)
        self._subscriptions = [each for each in self._subscriptions if not each.over]
        if not self._subscriptions or not changed:
            return
        items = tuple(
            Change(key, before and self._decoded(key, before.value), now and self._decoded(key, now.value))
            for key, before, now in changed
        )
        for subscription in self._subscriptions:
            subscription.offer(Changes(self.revision, items))


async def follow(store: Store, mirror: Mirror) -> None:
    """Keeps a mirror up to date for ever: reads everything once, then every change without a gap.

    A store that does not answer is tried again, from where the mirror stands; history that is gone is read anew.
    Raises StoreRefused where a value cannot be read.
    """
    loaded = False
    delay = RETRY_FIRST
    while True:
        try:
            if not loaded:
                mirror.reset(await store.range(""))
                loaded = True
            async for events in store.watch("", mirror.revision):
                mirror.update(events)
                delay = RETRY_FIRST
        except Compacted:
            loaded = False
        except StoreUnavailable:
            await asyncio.sleep(delay)
            delay = min(2 * delay, RETRY_MOST)


def _held(item: KeyValue) -> _Held:
    value = item.value if keys.is_version(item.key) else keys.read(item.key, item.value)
    return _Held(value, item.created, item.modified)
