"""The borders' server end: views of frontends and names go down; what was applied comes up and is committed."""

from collections.abc import AsyncIterator

from kato.model.frontend import BorderAck, Frontends, Service
from kato.model.names import Names
from kato.model.world import World
from kato.plan import Recall, frontends, names
from kato.store import Put, Store, keys
from kato.store.mirror import Mirror


class Borders:
    """Serves the borders of one master, on one machine by function calls."""

    def __init__(self, *, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror

    async def frontends(self, node: str) -> AsyncIterator[Frontends]:
        """Yields the view whenever it changes, and whenever a newer plan has drained a task: also one that was
        drained in the view already, since its app is removed.
        """
        recall = Recall()
        sent: Frontends | None = None
        seen: tuple[object, ...] | None = None
        services: tuple[Service, ...] = ()
        while True:
            world = self._mirror.world()
            if seen is None or any(was is not now for was, now in zip(seen, _made_from(world), strict=True)):
                seen, services = _made_from(world), frontends(world, recall).services
            view = Frontends(world.seq, services)
            if sent is None or view.services != sent.services or _drained_since(world, sent.seq):
                sent = view
                yield view
            await self._mirror.reached(world.revision + 1)

    async def names(self, node: str) -> AsyncIterator[Names]:
        """Yields the view whenever it changes. No plan waits for a name to be gone: answers are short-lived."""
        recall = Recall()
        sent: Names | None = None
        seen: tuple[object, ...] | None = None
        while True:
            world = self._mirror.world()
            if seen is None or any(was is not now for was, now in zip(seen, _made_from(world), strict=True)):
                seen, view = _made_from(world), names(world, recall)
                if sent is None or view.apps != sent.apps:
                    sent = view
                    yield view
            await self._mirror.reached(world.revision + 1)

    async def acknowledge(self, ack: BorderAck) -> None:
        """Writes what a border has applied."""
        await self._store.txn([], [Put(keys.border(ack.node), keys.encode(ack))])


def _made_from(world: World) -> tuple[object, ...]:
    """What a view follows from: the same objects for as long as nothing of it changes."""
    return world.apps, world.tasks, world.statuses, world.nodes


def _drained_since(world: World, seq: int) -> bool:
    """Whether a plan later than `seq` drains a task, so that it waits for an acknowledgement at least as late."""
    if world.seq <= seq:
        return False
    return any(
        task.goal == "drain" and task.goal_seq > seq for tasks in world.tasks.values() for task in tasks.values()
    )
