"""The brains: a World and the time go in, a Plan comes out. Pure: no clock, no chance, no I/O.

goals        what every app should be by now, and which steps of deployments are finished
review       one app: what ended, what is sick, what is too much, how many are missing
place        where the missing ones go, or which filter refuses them
environment  what a task finds in its environment
frontends    what the balancers serve
names        what the name servers answer
upgrades     which images a node is to have before older tasks there are stopped
why, queue   what is missing, in words; missing: the dependencies that are not there
"""

from typing import Any

from kato.model.action import Action, Count, Finish, Plan
from kato.model.app import App
from kato.model.deployment import Kill
from kato.model.secret import missing as missing_secrets
from kato.model.world import World
from kato.plan.environment import environment
from kato.plan.frontends import frontends
from kato.plan.goals import Goals
from kato.plan.launch import Launcher
from kato.plan.names import names
from kato.plan.price import price
from kato.plan.recall import Recall
from kato.plan.review import Review, Subject
from kato.plan.rollout import upgrades
from kato.plan.why import missing, queue, why

__all__ = ["Recall", "decide", "environment", "frontends", "missing", "names", "queue", "upgrades", "why"]


def decide(world: World, now: float, recall: Recall | None = None) -> Plan:
    """What to do next at `now` (epoch seconds). Applying the plan and deciding again yields nothing.

    The actions are in an order of which any first part may be committed by itself: facts first (steps; ends, each
    with its failure), with what makes room; then what takes it, then what is over.
    """
    recall = recall or Recall()
    recall.look(world)
    look = _Look(world, now, recall)
    goals = Goals(world, recall, lambda id, app: look(id, app).settled)
    reviews = {id: look(id, goals.of(id)) for id in goals.ids()}
    wanted = any(review.place for review in reviews.values())
    priced = any(node.price is not None for node in world.nodes.values())
    free = recall.free(world) if wanted or priced else None
    price_before = price(free) if free is not None and priced else None
    launcher = Launcher(world, now, recall)
    launcher.launch(goals, reviews, free)
    recall.forget(world)
    return Plan(
        actions=_ordered(goals, reviews, launcher, _unused(world, goals, reviews)),
        waits=launcher.waits,
        wake_at=min((each.wake_at for each in reviews.values() if each.wake_at is not None), default=None),
        price_before=price_before,
        price_after=price(free) if free is not None and priced else None,
    )


class _Look:
    """Reviews an app once a decision."""

    def __init__(self, world: World, now: float, recall: Recall) -> None:
        self._world = world
        self._now = now
        self._recall = recall
        self._seen: dict[str, Review] = {}
        self._kills: dict[str, dict[str, Kill]] = {}
        for kill in world.kills.values():
            self._kills.setdefault(kill.app, {})[kill.task] = kill

    def __call__(self, id: str, app: App | None) -> Review:
        seen = self._seen.get(id)
        if seen is None:
            seen = self._seen[id] = self._recall.review(self._subject(id, app), self._now)
        return seen

    def _subject(self, id: str, app: App | None) -> Subject:
        world = self._world
        return Subject(
            id=id,
            app=app,
            tasks=world.tasks.get(id, _NONE),
            statuses=world.statuses.get(id, _NONE),
            launches=world.launches.get(id),
            kills=self._kills.get(id, _NONE),
            nudge=world.nudges.get(id),
            nodes=world.nodes,
            borders=world.borders,
            dark=world.dark,
            lacks=missing_secrets(app, world.secrets) if app else (),
            spec=world.spec,
        )


_NONE: dict[str, Any] = {}


def _unused(world: World, goals: Goals, reviews: dict[str, Review]) -> list[Action]:
    """Launch records of apps of which nothing is left, and that no deployment may bring back."""
    found: list[Action] = []
    for id in sorted(world.launches):
        if id in reviews and goals.of(id) is None and not reviews[id].standing and not goals.held(id):
            found.append(Count(id, None, "its app is removed"))
    return found


def _ordered(
    goals: Goals, reviews: dict[str, Review], launcher: Launcher, unused: list[Action]
) -> tuple[Action, ...]:
    deployments = list(goals.actions())
    ends = [each for each in deployments if isinstance(each, Finish)]
    steps = [each for each in deployments if not isinstance(each, Finish)]
    moves = [action for review in reviews.values() for action in review.actions]
    return (*steps, *moves, *launcher.counts, *launcher.places, *ends, *unused)
