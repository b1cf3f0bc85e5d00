"""Deployments go in; what every app should be comes out, with the steps that are finished now.

Outside of a deployment an app's goal is its wish. In one, it is its original until its step has begun, and the
jobs that it depends on have ended well.
"""

from collections.abc import Callable, Iterator

import msgspec

from kato.model.action import Advance, Finish
from kato.model.app import App
from kato.model.deployment import Deployment, Progress
from kato.model.task import TaskState
from kato.model.world import World
from kato.plan.deployment import Step
from kato.plan.recall import Recall

Settled = Callable[[str, App | None], bool]


class Course(msgspec.Struct, frozen=True):
    """A deployment under way. done: how many of its steps are finished; over: whether it ends with this plan."""

    deployment: Deployment
    steps: tuple[Step, ...]
    done: int
    over: bool

    def action(self, before: int) -> Advance | Finish | None:
        """What is to be written, where `before` steps were finished by what is written."""
        if self.over and self.deployment.cancelled:
            return Finish(self.deployment.id, False, "it was cancelled")
        if self.over:
            return Finish(self.deployment.id, True, "all its steps are finished")
        if self.done <= before:
            return None
        return Advance(Progress(deployment=self.deployment.id, finished=self.done), len(self.steps))

    def begun(self) -> set[str]:
        """The apps whose own step has begun: the last one that names them."""
        later = {id for step in self.steps[self.done + 1 :] for id in step.actions}
        return {id for step in self.steps[: self.done + 1] for id in step.actions} - later


class Goals:
    """What every app should be."""

    def __init__(self, world: World, recall: Recall, settled: Settled) -> None:
        self._world = world
        self._recall = recall
        self._settled = settled
        self.courses = [self._course(world.deployments[id]) for id in _oldest_first(world)]
        self.waiting: dict[str, Course] = {}
        self._goals: dict[str, App | None] = {}
        self._unknown: set[str] = set()
        for course in self.courses:
            if not course.deployment.cancelled:
                self._hold(course)

    def ids(self) -> list[str]:
        """All apps that there is something to say of, in order; not those of which a version is missing."""
        world = self._world
        records = (world.apps, world.tasks, world.launches, world.nudges, self._goals)
        ids = {id for each in records for id in each} | {kill.app for kill in world.kills.values()}
        return sorted(ids - self._unknown)

    def of(self, id: str) -> App | None:
        """What an app should be; None where it is to go."""
        return self._goals[id] if id in self._goals else self._world.apps.get(id)

    def awaits(self, app: App) -> str | None:
        """A job that an app depends on and that has not ended well, where this version of the app was never begun.

        One that was goes on whatever becomes of the job later.
        """
        launches = self._world.launches.get(app.id)
        begun = launches is not None and launches.config == app.config_version
        if begun or not app.dependencies or not app.instances:
            return None
        return next((id for id in app.dependencies if not self._ended_well(id)), None)

    def _ended_well(self, id: str) -> bool:
        """Whether an app is no job, or one whose tasks have all ended with exit code 0."""
        job = self._world.apps.get(id)
        if job is None or not job.job:
            return True
        statuses = self._world.statuses.get(id, {})
        ended = [
            task
            for task in self._world.tasks.get(id, {}).values()
            if task.config == job.config_version
            and task.goal in ("run", "done")
            and task.id not in self._world.kills
            and task.id in statuses
            and statuses[task.id].state is TaskState.FINISHED
        ]
        return len(ended) >= job.instances

    def held(self, id: str) -> bool:
        """Whether a deployment that goes on names the app."""
        courses = (each for each in self.courses if not each.over)
        return any(id in each.deployment.target or id in each.deployment.original for each in courses)

    def made_whole(self, id: str) -> str | None:
        """The version of an app that a deployment has brought about, which ends well with this plan."""
        ends = (each.deployment for each in self.courses if each.over and not each.deployment.cancelled)
        return next((version for each in ends if (version := each.target.get(id))), None)

    def actions(self) -> Iterator[Advance | Finish]:
        """What is to be written of the deployments."""
        for course in self.courses:
            progress = self._world.progress.get(course.deployment.id)
            action = course.action(progress.finished if progress else 0)
            if action is not None:
                yield action

    def _course(self, deployment: Deployment) -> Course:
        if deployment.cancelled:
            return Course(deployment, (), 0, deployment.settled)
        steps = self._recall.steps(deployment, self._world)
        progress = self._world.progress.get(deployment.id)
        done = min(progress.finished if progress else 0, len(steps))
        while done < len(steps) and self._finished(deployment, steps[done]):
            done += 1
        return Course(deployment, steps, done, done == len(steps) and deployment.settled)

    def _finished(self, deployment: Deployment, step: Step) -> bool:
        """Whether all apps of a step are as it wants them; an app that starts is so with no task."""
        for id, kind in step.actions.items():
            if kind == "StartApplication":
                continue
            try:
                wanted = self._recall.goal(deployment, id, True, self._world)
            except KeyError:
                return False
            if wanted is not None and self.awaits(wanted):
                return False  # before anybody looks at it as if its step had begun
            if not self._settled(id, wanted):
                return False
        return True

    def _hold(self, course: Course) -> None:
        deployment = course.deployment
        begun = course.begun()
        for id in sorted(deployment.original.keys() | deployment.target.keys()):
            changed = deployment.original.get(id) != deployment.target.get(id)
            reached = id in begun or not changed
            try:
                if reached and changed and (app := self._recall.goal(deployment, id, True, self._world)):
                    reached = self.awaits(app) is None
                self._goals[id] = self._recall.goal(deployment, id, reached, self._world)
            except KeyError:
                self._unknown.add(id)
                continue
            if not reached:
                self.waiting[id] = course


def _oldest_first(world: World) -> list[str]:
    return sorted(world.deployments, key=lambda id: (world.deployments[id].started, id))
