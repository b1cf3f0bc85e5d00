"""Who leads: wins the `leader` key under a lease, keeps the lease, and says when it is lost.

The key's creation revision is the term's epoch; every plan is fenced with it.
"""

import asyncio

import msgspec

from kato.model.errors import KatoError, LeadershipLost, StoreUnavailable
from kato.store import Compare, Lease, Put, Store, keys
from kato.store.mirror import Mirror

TTL = 4.0
"""Seconds after which a leader that went silent is replaced (the design allows 4 s to the next one's work)."""


class Term(msgspec.Struct, frozen=True):
    """One reign. epoch: the store revision at which it was won."""

    epoch: int
    lease: Lease


async def elect(store: Store, mirror: Mirror, master: str, address: str) -> Term:
    """Waits until this master leads. The mirror then shows everything that an earlier leader wrote."""
    while True:
        lease = await store.lease(TTL)
        mine = Put(keys.LEADER, keys.encode(keys.Leader(master=master, address=address)), lease.id)
        free = Compare(keys.LEADER, "modified", "=", 0)
        answer = await store.txn([free], [mine])
        await mirror.reached(answer.revision)
        if answer.done:
            return Term(answer.revision, lease)
        await lease.revoke()
        while mirror.modified(keys.LEADER):
            await mirror.reached(mirror.revision + 1)


async def keep(term: Term) -> None:
    """Renews the lease for as long as it can; LeadershipLost when it can no longer be sure of it."""
    clock = asyncio.get_running_loop().time
    safe_until = clock() + TTL
    while True:
        await asyncio.sleep(TTL / 4)
        asked = clock()
        try:
            async with asyncio.timeout(max(safe_until - asked, 0.05)):
                left = await term.lease.keep_alive()
            safe_until = asked + left
        except (StoreUnavailable, TimeoutError):
            if clock() >= safe_until:
                raise LeadershipLost("The store did not answer for as long as the lease lasts.") from None
        except KatoError as error:
            raise LeadershipLost(f"The lease is gone: {error}") from error
