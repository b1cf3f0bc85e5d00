"""The store port: keys and bytes with revisions, as etcd has them. memory, local and etcd pass one contract.

Keys are text, values bytes. Every successful transaction that writes raises the store's revision by one; all of
its operations carry that revision. Opened by URL: `memory:`, `local:PATH`.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol, Self

import msgspec

MAX_TXN_OPERATIONS = 128
"""Compares and operations of one transaction together (etcd's default `--max-txn-ops`)."""
MAX_TXN_BYTES = 1_500_000
"""Keys and values of one transaction together (etcd's default `--max-request-bytes`, 1.5 MB)."""


class KeyValue(msgspec.Struct, frozen=True):
    """A key as it stands. created, modified: store revisions; version counts writes since it was created."""

    key: str
    value: bytes
    created: int
    modified: int
    version: int
    lease: int = 0


class Range(msgspec.Struct, frozen=True):
    """What stands under a prefix, in key order, all at one revision."""

    revision: int
    items: tuple[KeyValue, ...]


class Compare(msgspec.Struct, frozen=True):
    """A condition of a transaction. `modified` 0 means that the key does not exist."""

    key: str
    field: Literal["modified", "created", "version", "value", "lease"]
    is_: Literal["=", "!=", "<", ">"]
    to: int | bytes


class Put(msgspec.Struct, frozen=True):
    """Writes a key; with a lease it goes when the lease does."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Removes a key (no error where it does not exist), or all under a prefix."""

    key: str
    prefix: bool = False


Op = Put | Delete


class Committed(msgspec.Struct, frozen=True):
    """The answer to a transaction. done: whether every compare held and the operations were applied."""

    done: bool
    revision: int


class Event(msgspec.Struct, frozen=True):
    """One change. now is None for a removal; before is None for a creation (or where it is not known)."""

    key: str
    now: KeyValue | None
    before: KeyValue | None


class Events(msgspec.Struct, frozen=True):
    """All changes of one revision, never split."""

    revision: int
    items: tuple[Event, ...]


class Lease(Protocol):
    """A promise to be alive. Its keys go when it ends."""

    id: int
    ttl: float

    async def keep_alive(self) -> float:
        """Renews it; the seconds left. LeadershipLost-like loss shows as NotFound."""
        ...

    async def revoke(self) -> None:
        """Ends it now and removes its keys."""
        ...


class Store(Protocol):
    """One cell's memory. Every verb may raise StoreUnavailable; then the outcome of a write is unknown."""

    exclusive: bool
    """Whether nobody else can have it open, so that there is one node, and whoever else it names is gone."""

    @classmethod
    async def open(cls, address: str) -> Self:
        """Opens it. StoreRefused where it is corrupt, newer or held by another; nothing is changed then."""
        ...

    async def get(self, key: str) -> KeyValue | None: ...

    async def range(self, prefix: str) -> Range: ...

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> Committed:
        """Applies all of `ops` if all of `compares` hold, durably before it returns; never splits.

        Raises TxnTooLarge beyond the port's limits, and refuses two operations on one key (ValueError).
        """
        ...

    async def lease(self, ttl: float) -> Lease:
        """A lease of `ttl` seconds. A local store forgets all leases, and their keys, when it is opened."""
        ...

    async def room(self, *, urgent: bool) -> bool:
        """Whether there is room for a wish. urgent: it makes room itself, and is given what was kept for that."""
        ...

    def watch(self, prefix: str, since: int) -> AsyncIterator[Events]:
        """Every change under `prefix` after revision `since`, without a gap, in order; then waits for more.

        Raises Compacted when `since` is older than what is kept.
        """
        ...

    async def close(self) -> None: ...
