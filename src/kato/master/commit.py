"""Actions in, transactions out: each batch fits the store's limit, is valid by itself and is fenced.

Every batch compares the leader key and compares and raises `plan/seq`, so that a leader who was replaced, or
whose earlier write is still under way, commits nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from kato.model.action import Action, Advance, Clear, Count, Drain, Finish, Forget, Keep, Place, Plan, Stop
from kato.model.deployment import Deployment, Launches
from kato.model.errors import LeadershipLost, StoreUnavailable
from kato.model.world import World
from kato.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Compare, Delete, Op, Put, Store, keys
from kato.store.mirror import Mirror

FENCE = 3
"""Operations of a batch that are not the plan's: two compares, and the new `plan/seq`."""


class Write(msgspec.Struct, frozen=True):
    """What one action needs: all of it in one transaction."""

    compares: tuple[Compare, ...] = ()
    ops: tuple[Op, ...] = ()

    @property
    def size(self) -> int:
        return len(self.compares) + len(self.ops)

    @property
    def bytes(self) -> int:
        return sum(len(op.key) + (len(op.value) if isinstance(op, Put) else 0) for op in self.ops)


def writes(action: Action, world: World, mirror: Mirror, seq: int, now: float) -> Iterator[Write]:
    """An action as writes, in order. seq: the `plan/seq` they are committed with; now: epoch seconds."""
    match action:
        case Place(task=task):
            key = keys.task(task.node, task.id)
            yield Write((_absent(key),), (_put(key, task),))
        case Drain(task=task, reason=reason):
            drained = msgspec.structs.replace(
                task, goal="drain", goal_since=now, goal_seq=seq, reason=reason, expected=True
            )
            yield Write((), (_put(keys.task(task.node, task.id), drained),))
        case Stop(task=task, reason=reason, expected=expected, launches=launches):
            stopped = msgspec.structs.replace(
                task, goal="stop", goal_since=now, goal_seq=seq, reason=reason, expected=expected
            )
            yield Write((), (_put(keys.task(task.node, task.id), stopped), *_counted(launches)))
        case Forget(task=task, launches=launches):
            gone: list[Op] = [Delete(keys.task(task.node, task.id)), Delete(keys.status(task.node, task.id))]
            if task.id in world.kills:
                gone.append(Delete(keys.kill(task.id)))
            yield Write((), (*gone, *_counted(launches)))
        case Keep(task=task, launches=launches):
            yield Write((), (_put(keys.task(task.node, task.id), action.kept), *_counted(launches)))
        case Count(app=app, launches=launches):
            key = keys.launches(app)
            yield Write((), (Delete(key) if launches is None else _put(key, launches),))
        case Advance(progress=progress):
            yield Write((), (_put(keys.progress(progress.deployment), progress),))
        case Finish(deployment=id):
            yield from _finish(world.deployments[id], mirror)
        case Clear(what=what, id=id, launches=launches):
            cleared = Delete(keys.kill(id) if what == "kill" else keys.nudge(id))
            yield Write((), (cleared, *_counted(launches)))


def _counted(launches: Launches | None) -> tuple[Op, ...]:
    """The launch record that an action carries, written with it."""
    return () if launches is None else (_put(keys.launches(launches.app), launches),)


def _finish(deployment: Deployment, mirror: Mirror) -> Iterator[Write]:
    """Locks first, the deployment last: until it goes, the mirror holds its apps locked all the same.

    A lock that another deployment took over meanwhile, or that is gone already, is left as it is.
    """
    for lock in map(keys.lock, deployment.target):
        if mirror.get(lock) == deployment.id:
            yield Write((Compare(lock, "modified", "=", mirror.modified(lock)),), (Delete(lock),))
    key = keys.deployment(deployment.id)
    known = mirror.modified(key) if mirror.get(key) is deployment else 0  # 0 never holds: it was changed meanwhile
    yield Write((Compare(key, "modified", "=", known),), (Delete(key), Delete(keys.progress(deployment.id))))


def _put(key: str, value: object) -> Put:
    return Put(key, keys.encode(value))


def _absent(key: str) -> Compare:
    return Compare(key, "modified", "=", 0)


class Committer:
    """Commits plans for one term of one leader. epoch: the revision at which the leader key was won."""

    def __init__(self, store: Store, mirror: Mirror, epoch: int) -> None:
        self._store = store
        self._mirror = mirror
        self._epoch = epoch

    async def commit(self, plan: Plan, world: World, now: float) -> bool:
        """Commits all of `plan`, which was decided on `world`; then waits for the mirror to show it.

        False where something that it was decided on has changed: look and decide again. Raises LeadershipLost,
        and StoreUnavailable once the mirror is at least as new as anything that may have been written.
        """
        seq, pending = world.seq, list(plan.actions)
        while pending:
            taken, batch = self._batch(pending, world, seq + 1, now)
            fence = Compare(keys.LEADER, "created", "=", self._epoch), _standing(seq)
            raised = _put(keys.PLAN_SEQ, seq + 1)
            try:
                answer = await self._store.txn([*fence, *batch.compares], [raised, *batch.ops])
            except StoreUnavailable:
                await self._catch_up()
                raise
            if not answer.done:
                await self._explain(answer.revision)
                return False
            await self._mirror.reached(answer.revision)
            seq += 1
            pending = pending[taken:]
        return True

    def _batch(self, pending: Sequence[Action], world: World, seq: int, now: float) -> tuple[int, Write]:
        """As many whole actions as fit into one transaction, and how many they are.

        An action that is too large by itself gives its first writes, and is not counted: it stays pending.
        """
        batch = Write()
        for count, action in enumerate(pending):
            # More than one transaction holds need not be made again for each.
            needs = list(islice(writes(action, world, self._mirror, seq, now), MAX_TXN_OPERATIONS))
            longer = _join(batch, *needs)
            if _fits(longer):
                batch = longer
            elif count:
                return count, batch
            else:
                return 0, _join(*needs[: (MAX_TXN_OPERATIONS - FENCE) // 2])
        return len(pending), batch

    async def _catch_up(self) -> None:
        """After an unknown outcome: the mirror must be as new as whatever may have been written."""
        standing = await self._store.get(keys.PLAN_SEQ)
        if standing is not None:
            await self._mirror.reached(standing.modified)

    async def _explain(self, revision: int) -> None:
        """A compare failed: because another leads, or because the world moved on."""
        leader = await self._store.get(keys.LEADER)
        if leader is None or leader.created != self._epoch:
            raise LeadershipLost("Another master leads now; the plan was not committed.")
        await self._mirror.reached(revision)


def _join(*parts: Write) -> Write:
    """All of them as one; of what is written to one key (as the failures of one app are), the last."""
    ops = {op.key: op for part in parts for op in part.ops}
    return Write(tuple(c for part in parts for c in part.compares), tuple(ops.values()))


def _fits(write: Write) -> bool:
    """Whether it is one transaction: within the limit, and well within the bytes."""
    return FENCE + write.size <= MAX_TXN_OPERATIONS and write.bytes < MAX_TXN_BYTES // 2


def _standing(seq: int) -> Compare:
    return Compare(keys.PLAN_SEQ, "value", "=", keys.encode(seq)) if seq else _absent(keys.PLAN_SEQ)
