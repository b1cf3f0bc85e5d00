"""Who leads: wins the `leader` key under a lease, keeps the lease, and says when it is lost.

The key's creation revision is the term's epoch; every plan is fenced with it.
"""

import asyncio
import contextlib

import msgspec
import structlog

from kato.loop import Backoff
from kato.model.errors import KatoError, LeadershipLost, NotFound, StoreUnavailable, Unavailable
from kato.store import Compare, Lease, Put, Store, keys
from kato.store.mirror import Mirror

log = structlog.get_logger()

TTL = 4.0
"""Seconds after which a leader that went silent is replaced (the design allows 4 s to the next one's work)."""


class Term(msgspec.Struct, frozen=True):
    """One reign. epoch: the store revision at which it was won."""

    epoch: int
    lease: Lease


async def elect(store: Store, mirror: Mirror, master: str, address: str) -> Term:
    """Waits until this master leads, for as long as the store is away too. The mirror then shows everything that
    an earlier leader wrote.
    """
    backoff = Backoff()
    while True:
        try:
            term = await _run_for_it(store, mirror, keys.Leader(master=master, address=address))
        except Unavailable as error:
            pause = backoff.longer()
            log.warning("no election while the store is away", why=str(error), again_in=pause)
            await asyncio.sleep(pause)
            continue
        if term is not None:
            return term
        while mirror.modified(keys.LEADER):
            await mirror.reached(mirror.revision + 1)


async def _run_for_it(store: Store, mirror: Mirror, leader: keys.Leader) -> Term | None:
    """Takes the leader key if nobody holds it."""
    lease = await store.lease(TTL)
    free = Compare(keys.LEADER, "modified", "=", 0)
    try:
        answer = await store.txn([free], [Put(keys.LEADER, keys.encode(leader), lease.id)])
    except NotFound:
        return None  # the lease ran out before the store came to it
    await mirror.reached(answer.revision)
    if answer.done:
        return Term(answer.revision, lease)
    with contextlib.suppress(NotFound):
        await lease.revoke()
    return None


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
