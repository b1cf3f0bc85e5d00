"""Reviews go in; the tasks to place come out, with each app's launch record and, for what is missing, why."""

from collections.abc import Mapping

import msgspec

from kato.model.action import Action, Count, Forget, Keep, Place, Refusal, Wait
from kato.model.app import App
from kato.model.ids import timestamp
from kato.model.world import World
from kato.plan.backoff import of_config
from kato.plan.columns import Free, Mask
from kato.plan.goals import Goals
from kato.plan.place import Placed, Request
from kato.plan.recall import Recall
from kato.plan.review import Review
from kato.plan.rollout import max_capacity

NOTHING = Placed((), ())
WHOLE = 10
"""Versions of an app that are remembered as whole: so far back it can be rolled."""


class Launcher:
    """Places what all apps miss, one app after the other, on what is free once the ended tasks are forgotten."""

    def __init__(self, world: World, now: float, recall: Recall) -> None:
        self._world = world
        self._recall = recall
        self._now = now
        self._alive: Mask | None = None
        self.counts: list[Action] = []
        self.places: list[Action] = []
        self.waits: dict[str, Wait] = {}

    def launch(self, goals: Goals, reviews: Mapping[str, Review], free: Free | None) -> None:
        """Fills `counts`, `places` and `waits`. free: not needed where no review wants a place."""
        if free is not None:
            self._alive = free.columns.alive(self._world.dark)
            free.give(
                act.task for each in reviews.values() for act in each.actions if isinstance(act, Forget | Keep)
            )
        for id, review in reviews.items():
            app = goals.of(id)
            if app is None:
                continue
            awaited = goals.awaits(app) if review.place else None
            placed = NOTHING
            if free is not None and review.place and awaited is None:
                placed = self._place(app, review, free)
            if id in goals.waiting:
                self._turn(id, goals, review)
            elif awaited is not None:
                self.waits[id] = Wait(app=id, count=review.missing, reason=f"{awaited} is to end well first")
            elif review.missing > len(placed.tasks):
                self.waits[id] = self._wait(app, review, placed)
            self._count(app, review, len(placed.tasks), goals.made_whole(id))

    def _place(self, app: App, review: Review, free: Free) -> Placed:
        assert self._alive is not None
        request = Request(app, review.place, review.attempts, review.standing, self._world.incarnation)
        placed = self._recall.place(request, review, free, self._alive, self._now)
        self.places.extend(Place(task) for task in placed.tasks)
        return placed

    def _count(self, app: App, review: Review, launched: int, whole: str | None) -> None:
        """One record for what is forgiven, for attempts that begin, and for a version that is whole now; failures
        are written with their ends.
        """
        reasons = [review.forgiven] if review.forgiven else []
        record = review.record
        if launched:
            record = of_config(record, app.config_version)
            record = msgspec.structs.replace(record, attempts=review.attempts + launched)
            reasons.append(f"{launched} more launch{'' if launched == 1 else 'es'}")
        if whole and whole not in record.whole:
            record = msgspec.structs.replace(record, whole=(*record.whole, whole)[-WHOLE:])
            reasons.append(f"version {whole} is whole")
        if reasons:
            self.counts.append(Count(app.id, record, "; ".join(reasons)))

    def _turn(self, id: str, goals: Goals, review: Review) -> None:
        """An app whose step has not begun."""
        course = goals.waiting[id]
        version = course.deployment.target.get(id)
        app = self._world.spec(id, version) if version is not None else None
        missing = app.instances - len(review.standing) if app is not None else 0
        if missing > 0:
            first = ", ".join(sorted(course.steps[course.done].actions)) if course.done < len(course.steps) else ""
            waits = f"{first or 'what is before it'} {'come' if ', ' in first else 'comes'} first"
            reason = f"{waits}, at step {course.done + 1} of its deployment"
            if app is not None and (awaited := goals.awaits(app)):
                reason = f"{awaited} is to end well first"
            self.waits[id] = Wait(app=id, count=missing, reason=reason)

    def _unset(self, secret: str) -> Refusal:
        remedy = f"nobody has set it, which this does: kato secrets set {secret}"
        return Refusal(len(self._world.nodes), "secret", f"needs the secret {secret}", remedy)

    def _wait(self, app: App, review: Review, placed: Placed) -> Wait:
        count = review.missing - len(placed.tasks)
        if review.lacks:
            return Wait(app=app.id, count=count, refusals=tuple(map(self._unset, review.lacks)))
        if review.until is not None:
            failures = review.record.failures
            times = f"{failures} failure{'' if failures == 1 else 's'} in a row"
            reason = f"it backs off until {timestamp(review.until)} after {times}"
            return Wait(app=app.id, count=count, reason=reason, until=review.until)
        if review.given_up:
            reason = f"it has failed {review.record.failures} times, as often as it may"
            return Wait(app=app.id, count=count, reason=reason)
        if placed.refusals:
            return Wait(app=app.id, count=count, refusals=placed.refusals)
        if not self._world.nodes:
            return Wait(app=app.id, count=count, reason="no node has joined")
        there = len(review.standing) + len(placed.tasks)
        present = "1 task is there" if there == 1 else f"{there} tasks are there"
        reason = f"{present}, draining ones included, and at most {max(max_capacity(app), there)} may be"
        return Wait(app=app.id, count=count, reason=reason)
