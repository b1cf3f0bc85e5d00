"""Wishes and kills in, transactions out: one at a time, each comparing and raising `wish/seq`.

It looks again when somebody else was quicker, finishes what an earlier life left half settled, and removes old
versions when a deployment is over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec
import structlog

from kato.api.wish.draft import Draft, draft, grows
from kato.api.wish.flip import Batch, batches, flip, prepare, settling
from kato.api.wish.versions import in_use, outdated
from kato.api.wish.wish import Asked
from kato.model.deployment import Deployment, Kill, Nudge
from kato.model.errors import StoreFull, StoreUnavailable, Unavailable
from kato.model.world import World
from kato.store import Compare, Delete, Op, Put, Store, keys
from kato.store.mirror import Mirror

log = structlog.get_logger()

T = TypeVar("T")

TRIES = 8
"""Looks that one wish gets before it gives up."""
SENT = 60.0
"""Seconds in which a wish follows the secrets that it names."""
SMALL = 100
"""Apps whose change takes no longer than a few milliseconds to draft."""


class Aside(Protocol):
    """How what may take long is done: beside the event loop, or (`at_once`) in it."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


async def at_once(work: Callable[[], T]) -> T:
    """In the caller's own turn: what is short, and all of it in the simulation."""
    return work()


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a wish. deployment: None where nothing was to be changed; its id is told all the same."""

    id: str
    version: str
    deployment: Deployment | None


class Wishes:
    """Commits what users ask for. clock: epoch seconds; uuid: ids of deployments; own: the cell's ports, by what
    they are. aside: thousands of apps in one wish must not hold up the leader's lease.
    """

    def __init__(
        self,
        *,
        store: Store,
        mirror: Mirror,
        clock: Callable[[], float],
        uuid: Callable[[], str],
        own: Mapping[int, str] | None = None,
        aside: Aside = asyncio.to_thread,
        begins: Callable[[str], None] = lambda deployment: None,
    ) -> None:
        """begins: told of a deployment before it is in force."""
        self._begins = begins
        self._store = store
        self._mirror = mirror
        self._clock = clock
        self._uuid = uuid
        self._own = own or {}
        self._aside = aside
        self._turn = asyncio.Lock()

    async def plan(self, world: World, asked: Asked, *, force: bool = False, floor: str = "") -> Draft:
        """What a wish would come to now."""
        return await self._aside(partial(self._draft, world, asked, force, floor))

    def _draft(self, world: World, asked: Asked, force: bool, floor: str) -> Draft:
        return draft(
            world,
            asked(world),
            self._clock(),
            id=self._uuid(),
            force=force,
            floor=floor,
            salt=self._mirror.cell_id,
            own=self._own,
        )

    async def commit(self, asked: Asked, *, force: bool = False) -> Deployed:
        """Puts what `asked` finds on the newest World in force, and returns once the mirror shows it.

        Raises what `asked` raises, Locked, InvalidApp, and StoreUnavailable when nobody knows whether it is in
        force. Until the flip nothing of it is.
        """
        floor, aside = "", self._aside
        async with self._turn:
            for _ in range(TRIES):
                await self._settle()
                world, seq = self._look()
                found = await aside(partial(self._draft, world, asked, force, floor))
                if not found.writes or await self._perform(found, seq):
                    return Deployed(id=found.id, version=found.version, deployment=found.deployment)
                floor = found.version
                if len(found.pieces) <= SMALL:
                    aside = at_once  # so that others have no time to be quicker again
        raise _outrun()

    async def kill(self, kills: Sequence[Kill]) -> None:
        """Asks for tasks to be stopped."""
        await self.write([Put(keys.kill(kill.task), keys.encode(kill)) for kill in kills])

    async def nudge(self, app: str) -> None:
        """Asks for an app's launch delay to be forgotten."""
        await self.write([Put(keys.nudge(app), keys.encode(Nudge(app=app)))])

    async def settle(self) -> None:
        """Finishes what was put in force and not written out, by an earlier life or while the store was away."""
        async with self._turn:
            await self._settle()

    async def prune(self, history: Mapping[str, Sequence[str]]) -> None:
        """Removes versions that are neither recent nor in use. history: app → versions that are kept of it."""
        async with self._turn:
            world, seq = self._look()
            gone = [
                Batch((), (Delete(keys.version(app, version)),))
                for app, held in history.items()
                for version in outdated(held, in_use(world, app), app in world.apps)
            ]
            for batch in batches(gone):
                if not (seq := await self._txn(batch, seq)):
                    return

    async def prune_secrets(self) -> None:
        """Removes values that files gave and that no version of any app names any more."""
        for name, secret in self._mirror.world().secrets.items():
            if "@" in name and self._clock() - secret.since > SENT:
                kept = await self._store.range(keys.versions_below("/" + name.partition("/")[0]))
                if not any(f'"{name}"'.encode() in item.value for item in kept.items):
                    await self.write([Delete(keys.secret(name))])

    # -- one transaction at a time ------------------------------------------------------------------------------

    def _look(self) -> tuple[World, int]:
        return self._mirror.world(), self._mirror.modified(keys.WISH_SEQ)

    async def _perform(self, found: Draft, seq: int) -> bool:
        """Whether the wish is in force; False where the World moved on."""
        await self._find_room(urgent=not grows(found, self._mirror.world()))
        cancelled = [keys.deployment(each.id) for each in found.cancelled]
        modified = {key: self._mirror.modified(key) for key in cancelled}
        for batch in prepare(found, modified):
            if not (seq := await self._txn(batch, seq)):
                return False
        aside = at_once if len(found.pieces) <= SMALL else self._aside
        first, rest = await aside(partial(flip, found, modified))
        if found.deployment:
            self._begins(found.id)
        try:
            done = await self._txn(first, seq)
        except StoreFull:
            raise
        except StoreUnavailable as error:
            raise StoreUnavailable(_unknown(found)) from error
        if not done:
            return False
        if found.deployment:
            log.info(f"deployment {found.id} has begun", deployment=found.id)
        await self._follow_up(rest, done, found)
        return True

    async def _follow_up(self, rest: Iterable[Batch], seq: int, found: Draft) -> None:
        """The wish is in force whatever comes of this: what fails here, `settle` finishes."""
        try:
            for batch in rest:
                if not (seq := await self._txn(batch, seq)):
                    return await self._settle()
        except Unavailable as error:
            log.warning("a wish is in force and will be settled later", deployment=found.id, why=str(error))

    async def _settle(self) -> None:
        """Until all is settled, the oldest first. Only looks that come to nothing are counted."""
        tries = 0
        while left := [each for each in self._mirror.world().deployments.values() if not each.settled]:
            if await self._settle_one(min(left, key=lambda each: each.version)):
                tries = 0
            elif (tries := tries + 1) == TRIES:
                raise _outrun()

    async def _settle_one(self, deployment: Deployment) -> bool:
        """Whether its pointers are written; False where somebody else was quicker."""
        _, seq = self._look()
        for batch in await self._aside(partial(settling, deployment)):
            if not (seq := await self._txn(batch, seq)):
                return False
        log.info("a deployment's pointers are written", deployment=deployment.id)
        return True

    async def write(self, ops: Sequence[Op]) -> None:
        """Writes what needs no look at anything else."""
        async with self._turn:
            await self._find_room(urgent=True)
            for batch in batches(Batch((), (op,)) for op in ops):
                for _ in range(TRIES):
                    if await self._txn(batch, self._mirror.modified(keys.WISH_SEQ)):
                        break
                else:
                    raise _outrun()

    async def _find_room(self, *, urgent: bool) -> None:
        """StoreFull where there is room only for what makes room."""
        if not await self._store.room(urgent=urgent):
            raise StoreFull(
                "The disk that the cell lives on is full, so nothing more is started and nothing was changed. "
                "Remove apps or scale them down, or delete files there; then ask again."
            )

    async def _txn(self, batch: Batch, seq: int) -> int:
        """The revision, once the mirror shows it; 0 where a compare failed. seq: `wish/seq` as last written."""
        standing = Compare(keys.WISH_SEQ, "modified", "=", seq)
        raised = Put(keys.WISH_SEQ, keys.encode(self._mirror.wish_seq + 1))
        answer = await self._store.txn([standing, *batch.compares], [raised, *batch.ops])
        await self._mirror.reached(answer.revision)
        return answer.revision if answer.done else 0


def _outrun() -> Unavailable:
    return Unavailable("Others change this cell faster than it can be looked at; nothing was changed, try again.")


def _unknown(found: Draft) -> str:
    if found.deployment is None:
        return (
            "The store did not answer, so nobody knows whether this was done. Look, and ask again if it was not."
        )
    return (
        "The store did not answer, so nobody knows whether this was put in force. If it was, it is deployment "
        f"{found.id}, version {found.version}: look for either before you ask again."
    )
