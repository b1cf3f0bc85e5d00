"""Deployments go in; their steps come out (Marathon's `DeploymentPlan`), and what each app's goal is by now.

Steps are a view: first what is removed stops, then what is new starts with no task, then each layer of the
dependency order is scaled or restarted, the apps that nothing affected depends on last.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from kato.model.app import App
from kato.model.dependencies import Dependencies
from kato.model.deployment import Deployment
from kato.model.world import World

Kind = Literal["StopApplication", "StartApplication", "ScaleApplication", "RestartApplication"]


class Step(msgspec.Struct, frozen=True):
    """What one step does to which app: app → kind, in the order of their ids."""

    actions: Mapping[str, Kind]


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as `/v2/deployments` shows it. current: the number of the step under way, from 1."""

    id: str
    version: str
    affected: tuple[str, ...]
    steps: tuple[Step, ...]
    current: int

    @property
    def current_step(self) -> Step:
        """The step under way; the last one, where all are finished."""
        return self.steps[self.current - 1] if self.steps else Step({})


def view(deployment: Deployment, world: World) -> DeploymentView:
    """A deployment with its steps, and how far it is by what the leader wrote."""
    found = steps(deployment, world)
    progress = world.progress.get(deployment.id)
    finished = progress.finished if progress else 0
    return DeploymentView(
        id=deployment.id,
        version=deployment.version,
        affected=affected(deployment),
        steps=found,
        current=min(finished + 1, max(1, len(found))),
    )


def affected(deployment: Deployment) -> tuple[str, ...]:
    """The apps that a deployment changes, in order."""
    both = deployment.original.keys() | deployment.target.keys()
    return tuple(sorted(id for id in both if deployment.original.get(id) != deployment.target.get(id)))


def steps(deployment: Deployment, world: World) -> tuple[Step, ...]:
    """The steps of a deployment, without empty ones."""
    removed: dict[str, Kind] = {}
    new: dict[str, Kind] = {}
    layers: dict[int, dict[str, Kind]] = {}
    targets = {id: world.spec(id, version) for id, version in deployment.target.items() if version is not None}
    wished = {**world.apps, **{id: app for id, app in targets.items() if app is not None}}
    dependencies = Dependencies(wished, world.groups)
    for id in affected(deployment):
        before, after = deployment.original.get(id), deployment.target.get(id)
        if after is None:
            removed[id] = "StopApplication"
            continue
        if before is None:
            new[id] = "StartApplication"
        layers.setdefault(dependencies.depth(id), {})[id] = _change(id, before, after, world)
    ordered = [removed, new, *(layers[depth] for depth in sorted(layers))]
    return tuple(Step(actions) for actions in ordered if actions)


def _change(id: str, before: str | None, after: str, world: World) -> Kind:
    if before is None:
        return "ScaleApplication"
    old, new = world.spec(id, before), world.spec(id, after)
    scaled = old is not None and new is not None and old.config_version == new.config_version
    return "ScaleApplication" if scaled else "RestartApplication"


def goal(deployment: Deployment, id: str, reached: bool, world: World) -> App | None:
    """What an app of a deployment should be. reached: whether its own step has begun.

    Until then it is its original; what is new has no instances. KeyError where a version that is needed is not
    known, so that nobody takes the app's tasks for unwished.
    """
    before, after = deployment.original.get(id), deployment.target.get(id)
    if not reached and before is not None:
        return known(id, before, world)
    if after is None:
        return None
    app = known(id, after, world)
    return app if reached else msgspec.structs.replace(app, instances=0)


def known(id: str, version: str, world: World) -> App:
    """One version of an app; KeyError where it is not known."""
    current = world.apps.get(id)
    app = current if current is not None and current.version == version else world.spec(id, version)
    if app is None:
        raise KeyError(f"{id}@{version}")
    return app
