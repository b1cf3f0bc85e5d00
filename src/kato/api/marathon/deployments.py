"""`/v2/deployments`: running changes come out with their steps; wishes to take one back go on."""

from starlette.requests import Request
from starlette.responses import Response

from kato.api import forms
from kato.api.answers import answer
from kato.api.body import flag
from kato.api.marathon.documents import readiness, step_document
from kato.api.operation import CHANGE, DEPLOYMENT, FORCE, ID, Answer, Operation, ok
from kato.api.parts import Parts
from kato.api.wish import Wish, wish
from kato.model.deployment import Deployment
from kato.model.errors import NotFound
from kato.model.world import World
from kato.plan.deployment import steps, view

Json = dict[str, object]


class Deployments:
    """The routes of deployments."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        back = {
            200: Answer(forms.Deployed, "Another deployment takes it back.", headers={ID: DEPLOYMENT}),
            202: Answer(about="It ends (`force`), and nothing is taken back."),
        }
        return [
            Operation("GET", "/v2/deployments", self.index, ok(list[forms.DeploymentInfo])),
            Operation("DELETE", "/v2/deployments/{id}", self.delete, back, (FORCE,), None, CHANGE),
        ]

    async def index(self, request: Request) -> Response:
        """All that run, the oldest first."""
        world = self._parts.world
        running = sorted(world.deployments.values(), key=lambda each: each.version)
        return answer([deployment_document(each, world) for each in running])

    async def delete(self, request: Request) -> Response:
        """Takes one back by a new deployment; with `force` it only ends, and nothing is answered (202)."""
        id = str(request.path_params["id"])
        if flag(request, "force"):
            await self._parts.wishes.commit(lambda world: Wish(cancel=(_find(world, id).id,)))
            return Response(status_code=202)
        return await self._parts.wish(lambda world: wish.roll_back(world, _find(world, id)), force=True)


def deployment_document(deployment: Deployment, world: World) -> Json:
    """One deployment, with its steps and where it stands."""
    seen = view(deployment, world)
    return {
        "id": seen.id,
        "version": seen.version,
        "affectedApps": seen.affected,
        "affectedPods": [],
        "steps": [step_document(step) for step in seen.steps],
        "currentActions": [
            {"action": kind, "app": app, "readinessCheckResults": _readiness(app, world)}
            for app, kind in seen.current_step.actions.items()
        ],
        "currentStep": seen.current,
        "totalSteps": len(seen.steps),
    }


def step_documents(deployment: Deployment | None, world: World) -> list[Json]:
    """The steps that a deployment takes, or would."""
    return [step_document(step) for step in steps(deployment, world)] if deployment else []


def _readiness(app: str, world: World) -> list[dict[str, object]]:
    return readiness(world, world.apps[app]) if app in world.apps else []


def _find(world: World, id: str) -> Deployment:
    deployment = world.deployments.get(id)
    if deployment is None or deployment.cancelled:
        raise NotFound(f"DeploymentPlan {id} does not exist")
    return deployment
