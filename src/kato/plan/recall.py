"""What one decision found goes in, to be used by the next where nothing that it looked at has changed.

A mapping of a World that did not change is the same object in the next World, so `is` tells. Whatever is
recalled is only ever what would be found again: with and without a Recall a Plan is the same.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from kato.model.app import App
from kato.model.deployment import Deployment
from kato.model.frontend import Service
from kato.model.names import AppNames
from kato.model.node import Node
from kato.model.world import World
from kato.plan.columns import Free, Mask
from kato.plan.deployment import Step, goal, steps
from kato.plan.place import Placed, Request, place
from kato.plan.review import Review, Subject, review
from kato.plan.usage import Usage


class QuietReview(msgspec.Struct, frozen=True):
    """A quiet review (nothing to do), what it looked at and when."""

    subject: Subject
    review: Review
    at: float


class Recall:
    """One planner's. It belongs to one thread at a time and may be thrown away at any moment."""

    def __init__(self) -> None:
        self._nodes: Mapping[str, Node] = {}
        self._reviews: dict[str, QuietReview] = {}
        self._usage: Usage | None = None
        self._steps: dict[str, tuple[Deployment, Mapping[str, App], object, tuple[Step, ...]]] = {}
        self._empty: dict[str, App] = {}
        self._refused: dict[str, tuple[Review, object, Placed]] = {}
        self._addresses: dict[str, str] = {}
        self._addressed: Mapping[str, Node] = {}
        self._services: dict[str, tuple[tuple[object, ...], tuple[Service, ...]]] = {}
        self._names: dict[str, tuple[tuple[object, ...], AppNames]] = {}

    def look(self, world: World) -> None:
        """Begins a decision: where nodes are gone, so may be the tasks of any app."""
        if world.nodes is not self._nodes:
            if self._nodes.keys() - world.nodes.keys():
                self._reviews.clear()
            self._nodes = world.nodes

    def review(self, subject: Subject, now: float) -> Review:
        """The review of an app, made anew only where something that it looks at has changed."""
        known = self._reviews.get(subject.id)
        if known is not None and _stands(known, subject, now):
            return known.review
        found = review(subject, now)
        if found.actions or found.forgiven:
            self._reviews.pop(subject.id, None)
        else:
            self._reviews[subject.id] = QuietReview(subject, found, now)
        return found

    def steps(self, deployment: Deployment, world: World) -> tuple[Step, ...]:
        """The steps of a deployment."""
        known = self._steps.get(deployment.id)
        if known and known[0] is deployment and known[1] is world.apps and known[2] is world.groups:
            return known[3]
        found = steps(deployment, world)
        self._steps[deployment.id] = (deployment, world.apps, world.groups, found)
        return found

    def goal(self, deployment: Deployment, id: str, reached: bool, world: World) -> App | None:
        """What an app of a deployment should be; the same object while it is the same."""
        found = goal(deployment, id, reached, world)
        if found is None or found.instances:
            return found
        known = self._empty.get(id)
        if known is None or known != found:
            known = self._empty[id] = found
        return known

    def free(self, world: World) -> Free:
        """What is free on the nodes, for one decision to change."""
        if self._usage is None or not self._usage.learn(world.nodes):
            self._usage = Usage(world.nodes)
        self._usage.follow(world.tasks)
        return self._usage.free.fork()

    def place(self, request: Request, review: Review, free: Free, alive: Mask, now: float) -> Placed:
        """Places what a review wants; what was refused is refused again while nothing has changed anywhere."""
        app = request.app
        known = self._refused.get(app.id)
        if known is not None and known[0] is review and known[1] is free.stamp:
            return known[2]
        stamp = free.stamp
        placed = place(request, free, alive, now)
        if not placed.tasks:
            self._refused[app.id] = (review, stamp, placed)
        return placed

    def addresses(self, world: World) -> Mapping[str, str]:
        """Node id → address; the same object while none changes, whatever else nodes say of themselves."""
        if world.nodes is not self._addressed:
            now = {id: node.address for id, node in world.nodes.items()}
            self._addresses = self._addresses if now == self._addresses else now
            self._addressed = world.nodes
        return self._addresses

    def services(
        self, id: str, seen: tuple[object, ...], find: Callable[[], Iterable[Service]]
    ) -> tuple[Service, ...]:
        """The services of an app, found anew only where something that they follow from (`seen`) has changed."""
        known = self._services.get(id)
        if known is not None and all(was is now for was, now in zip(known[0], seen, strict=True)):
            return known[1]
        found = tuple(find())
        if known is not None and known[1] == found:
            found = known[1]  # so that two views are compared quickly
        self._services[id] = (seen, found)
        return found

    def drop_services(self, world: World) -> None:
        """Lets go of the services of apps of which nothing is left."""
        for id in self._services.keys() - world.apps.keys() - world.tasks.keys():
            del self._services[id]

    def names(self, id: str, seen: tuple[object, ...], find: Callable[[], AppNames]) -> AppNames:
        """The names of an app, found anew only where something that they follow from (`seen`) has changed."""
        known = self._names.get(id)
        if known is not None and all(was is now for was, now in zip(known[0], seen, strict=True)):
            return known[1]
        found = find()
        if known is not None and known[1] == found:
            found = known[1]
        self._names[id] = (seen, found)
        return found

    def drop_names(self, named: Mapping[str, AppNames]) -> None:
        """Lets go of the names of apps that are not named any more."""
        for id in self._names.keys() - named.keys():
            del self._names[id]

    def forget(self, world: World) -> None:
        """Lets go of deployments and apps that are no more."""
        for id in self._steps.keys() - world.deployments.keys():
            del self._steps[id]
        for id in self._reviews.keys() - world.apps.keys() - world.tasks.keys():
            del self._reviews[id]
            self._refused.pop(id, None)
            self._empty.pop(id, None)


def _stands(known: QuietReview, now_is: Subject, now: float) -> bool:
    """Whether nothing that the review looked at has changed."""
    was, found = known.subject, known.review
    return (
        was.tasks is now_is.tasks
        and was.statuses is now_is.statuses
        and was.app is now_is.app
        and was.launches is now_is.launches
        and was.nudge is now_is.nudge
        and was.dark == now_is.dark
        and was.lacks == now_is.lacks
        and was.kills == now_is.kills
        and (not found.drains or was.borders is now_is.borders)
        and (not found.held or was.nodes is now_is.nodes)
        and known.at <= now
        and (found.wake_at is None or now < found.wake_at)
    )
