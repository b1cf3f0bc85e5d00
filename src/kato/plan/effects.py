"""A World and actions, or what nodes would say of tasks, go in; the World as it would be then comes out. Pure.

What did not change stays the same object, as in the mirror's Worlds; what did is copied once, however often it is
changed: an app's tasks are thousands, and a planner may move them all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

import msgspec

from kato.model.action import Action, Advance, Clear, Count, Drain, Finish, Forget, Keep, Place, Stop
from kato.model.deployment import Launches
from kato.model.task import Status, Task
from kato.model.world import World

V = TypeVar("V")


def carried_out(world: World, actions: Iterable[Action], now: float) -> World:
    """The World as a committer would leave it after these actions at `now` (epoch seconds)."""
    actions = list(actions)
    if not actions:
        return world
    draft = _Draft(world, world.seq + 1, now)
    for action in actions:
        draft.carry_out(action)
    return draft.world()


def reported(world: World, said: Iterable[Status]) -> World:
    """The World after nodes have said this of their tasks."""
    statuses = Storeys(world.statuses)
    for status in said:
        statuses.put(status.app, status.task, status)
    now_is = statuses.mapping
    return world if now_is is world.statuses else replace(world, statuses=now_is)


def without(mapping: Mapping[str, V], key: str) -> Mapping[str, V]:
    """The mapping without a key; itself where it has none such."""
    return {k: v for k, v in mapping.items() if k != key} if key in mapping else mapping


class Storey(Generic[V]):
    """A mapping that is changed: copied with its first change, and never again."""

    def __init__(self, mapping: Mapping[str, V]) -> None:
        self.mapping = mapping
        self._own: dict[str, V] | None = None

    def put(self, key: str, value: V) -> None:
        """A key has this value from now on."""
        self._mine()[key] = value

    def drop(self, key: str) -> None:
        """A key goes, where it is there."""
        if key in self.mapping:
            del self._mine()[key]

    def _mine(self) -> dict[str, V]:
        if self._own is None:
            self.mapping = self._own = dict(self.mapping)
        return self._own


class Storeys(Generic[V]):
    """A mapping of two storeys (by app, then by id) that is changed: each is copied with its first change. An app
    without entries goes.
    """

    def __init__(self, mapping: Mapping[str, Mapping[str, V]]) -> None:
        self._apps = Storey(mapping)
        self._own: dict[str, dict[str, V]] = {}

    @property
    def mapping(self) -> Mapping[str, Mapping[str, V]]:
        """As it is now."""
        return self._apps.mapping

    def put(self, app: str, id: str, value: V) -> None:
        """An entry is this from now on."""
        self._mine(app)[id] = value

    def drop(self, app: str, id: str) -> None:
        """An entry goes, where it is there."""
        if id not in self.mapping.get(app, {}):
            return
        mine = self._mine(app)
        del mine[id]
        if not mine:
            self._apps.drop(app)
            del self._own[app]

    def _mine(self, app: str) -> dict[str, V]:
        if app not in self._own:
            self._own[app] = dict(self.mapping.get(app, {}))
            self._apps.put(app, self._own[app])
        return self._own[app]


class _Draft:
    """A World while actions change it."""

    def __init__(self, world: World, seq: int, now: float) -> None:
        self._before, self._seq, self._now = world, seq, now
        self._tasks = Storeys(world.tasks)
        self._statuses = Storeys(world.statuses)
        self._launches = Storey(world.launches)
        self._kills = Storey(world.kills)
        self._nudges = Storey(world.nudges)
        self._deployments = Storey(world.deployments)
        self._progress = Storey(world.progress)
        self._locks = Storey(world.locks)

    def world(self) -> World:
        """As it is once all is carried out."""
        return replace(
            self._before,
            seq=self._seq,
            tasks=self._tasks.mapping,
            statuses=self._statuses.mapping,
            launches=self._launches.mapping,
            kills=self._kills.mapping,
            nudges=self._nudges.mapping,
            deployments=self._deployments.mapping,
            progress=self._progress.mapping,
            locks=self._locks.mapping,
        )

    def carry_out(self, action: Action) -> None:
        """One action more."""
        match action:
            case Place(task=task):
                self._tasks.put(task.app, task.id, task)
            case Drain(task=task, reason=reason):
                self._goal(task, goal="drain", reason=reason, expected=True)
            case Stop(task=task, reason=reason, expected=expected, launches=launches):
                self._counted(launches)
                self._goal(task, goal="stop", reason=reason, expected=expected)
            case Forget(task=task, launches=launches):
                self._counted(launches)
                self._tasks.drop(task.app, task.id)
                self._statuses.drop(task.app, task.id)
                self._kills.drop(task.id)
            case Keep(task=task, launches=launches):
                self._counted(launches)
                self._tasks.put(task.app, task.id, action.kept)
            case Count(app=app, launches=launches):
                self._launches.drop(app)
                self._counted(launches)
            case Advance(progress=progress):
                self._progress.put(progress.deployment, progress)
            case Finish(deployment=id):
                self._over(id)
            case Clear(what=what, id=id, launches=launches):
                self._counted(launches)
                (self._kills if what == "kill" else self._nudges).drop(id)

    def _counted(self, launches: Launches | None) -> None:
        """A launch record that an action carries."""
        if launches is not None:
            self._launches.put(launches.app, launches)

    def _goal(self, task: Task, **more: Any) -> None:
        changed = msgspec.structs.replace(task, goal_since=self._now, goal_seq=self._seq, **more)
        self._tasks.put(task.app, task.id, changed)

    def _over(self, deployment: str) -> None:
        self._deployments.drop(deployment)
        self._progress.drop(deployment)
        for app in [app for app, held in self._locks.mapping.items() if held == deployment]:
            self._locks.drop(app)
