"""Transactions flow in one at a time; what they change flows out, staged until durable, then kept as history."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from operator import eq, gt, lt, ne

from kato.model.errors import Compacted
from kato.store import Compare, Delete, Event, Events, KeyValue, Op, Put, Range

KEEP_REVISIONS = 10_000
"""How many revisions a watch may lie behind."""
KEEP_BYTES = 8 * 2**20
"""How many bytes of keys and values the history may hold; the newest revision is always kept."""

_TESTS = {"=": eq, "!=": ne, "<": lt, ">": gt}


class Ledger:
    """Keys at their last committed revision, changes staged on top of them, and the history that watches read.

    Used from one thread only. `stage` builds on everything staged before, `commit` makes the oldest staged
    revision visible, and `abandon` forgets all that is not committed: so a store can decide many transactions
    while an earlier one is on its way to the disk, and readers never see what a crash could take back.
    """

    def __init__(
        self,
        revision: int = 1,
        items: Iterable[KeyValue] = (),
        history: Iterable[Events] = (),
        *,
        keep_revisions: int = KEEP_REVISIONS,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        """items: in key order. history: every revision up to `revision`, from whichever on."""
        self.revision = revision
        self.newest = revision
        self._items = {item.key: item for item in items}
        self._keys = list(self._items)
        self._leased: dict[int, set[str]] = {}
        for item in self._items.values():
            self._note_lease(item.key, None, item)
        self._staged: dict[str, tuple[int, KeyValue | None]] = {}
        self._history = {events.revision: events for events in history}
        self._bytes = sum(map(_size, self._history.values()))
        self._keep = (keep_revisions, keep_bytes)
        self.compacted = revision - len(self._history)
        self._compact()

    def get(self, key: str) -> KeyValue | None:
        """What is committed at `key`."""
        return self._items.get(key)

    def range(self, prefix: str) -> Range:
        """What is committed under `prefix`."""
        return Range(self.revision, tuple(self._items[key] for key in self._under(prefix)))

    def events(self, revision: int) -> Events:
        """What one committed revision changed; Compacted where that is not kept any more."""
        if revision <= self.compacted:
            raise Compacted(
                f"Changes up to revision {self.compacted} are not kept any more, and revision {revision} was "
                "asked for. Read everything and watch from there."
            )
        return self._history[revision]

    def holds(self, compares: Sequence[Compare]) -> bool:
        """Whether every compare holds on the newest state, staged changes included."""
        return all(self._holds(compare) for compare in compares)

    def stage(self, ops: Iterable[Op]) -> Events | None:
        """Prepares the next revision; None where the operations change nothing."""
        revision = self.newest + 1
        changes = [change for op in ops for change in self._changes(op, revision)]
        if not changes:
            return None
        self.newest = revision
        self._staged.update((change.key, (revision, change.now)) for change in changes)
        return Events(revision, tuple(changes))

    def leased(self, lease: int | None = None) -> list[str]:
        """The keys that go with a lease, or with any lease, on the newest state."""
        among = self._leased.values() if lease is None else [self._leased.get(lease, set())]
        found = map(self._newest, set(self._staged).union(*among))
        return sorted(
            item.key for item in found if item and (item.lease == lease if lease is not None else item.lease)
        )

    def commit(self, events: Events) -> None:
        """Makes a staged revision visible. They are committed in the order in which they were staged."""
        for event in events.items:
            if event.key in self._staged and self._staged[event.key][0] == events.revision:
                del self._staged[event.key]
            self._note_lease(event.key, self._items.get(event.key), event.now)
            if event.now is None:
                del self._items[event.key]
                del self._keys[bisect_left(self._keys, event.key)]
            else:
                if event.key not in self._items:
                    insort(self._keys, event.key)
                self._items[event.key] = event.now
        self.revision = events.revision
        self._history[events.revision] = events
        self._bytes += _size(events)
        self._compact()

    def abandon(self) -> None:
        """Forgets everything that is staged."""
        self._staged.clear()
        self.newest = self.revision

    def _newest(self, key: str) -> KeyValue | None:
        staged = self._staged.get(key)
        return staged[1] if staged else self._items.get(key)

    def _note_lease(self, key: str, before: KeyValue | None, now: KeyValue | None) -> None:
        if before and before.lease:
            self._leased[before.lease].discard(key)
            if not self._leased[before.lease]:
                del self._leased[before.lease]
        if now and now.lease:
            self._leased.setdefault(now.lease, set()).add(key)

    def _under(self, prefix: str) -> list[str]:
        first = bisect_left(self._keys, prefix)
        last = bisect_right(self._keys, prefix, lo=first, key=lambda key: key[: len(prefix)])
        return self._keys[first:last]

    def _holds(self, compare: Compare) -> bool:
        item = self._newest(compare.key)
        if item is None and compare.field == "value":
            return False  # as etcd: no value is neither equal nor unequal to any other
        found = 0 if item is None else getattr(item, compare.field)
        return bool(_TESTS[compare.is_](found, compare.to))

    def _changes(self, op: Op, revision: int) -> Iterable[Event]:
        if isinstance(op, Put):
            before = self._newest(op.key)
            created, version = (before.created, before.version + 1) if before else (revision, 1)
            yield Event(op.key, KeyValue(op.key, op.value, created, revision, version, op.lease), before)
            return
        for key in self._doomed(op):
            if before := self._newest(key):
                yield Event(key, None, before)

    def _doomed(self, op: Delete) -> Iterable[str]:
        if not op.prefix:
            return (op.key,)
        staged = (key for key in self._staged if key.startswith(op.key))
        return sorted({*self._under(op.key), *staged})

    def _compact(self) -> None:
        revisions, size = self._keep
        while len(self._history) > 1 and (len(self._history) > revisions or self._bytes > size):
            self.compacted += 1
            self._bytes -= _size(self._history.pop(self.compacted))


def _size(events: Events) -> int:
    return sum(len(event.key) + (len(event.now.value) if event.now else 0) for event in events.items)
