"""A newer version's image is had before anything older is stopped: the plan waits for it, the agent fetches it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from builders import V2, app, node, status, task, world
from fakes import FakeRuntime
from kato.model.action import Drain, Place, Stop
from kato.model.app import App, Container, Docker, UpgradeStrategy
from kato.model.errors import DriverError
from kato.model.link import Pull
from kato.model.secret import Secret
from kato.model.task import TaskState
from kato.plan import Recall, decide, upgrades, why
from scenes import Scene, listing, on_virtual_time, passes

STOP_FIRST = UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=0.0)


def contained(image: str, **more: Any) -> App:
    return app(container=Container(docker=Docker(image=image)), upgrade_strategy=STOP_FIRST, **more)


OLD, NEW = contained("web:1"), contained("web:2", version=V2)
RUNS = task(OLD)


def cell(images: dict[str, str]) -> Any:
    nodes = [node(images=images, runtimes=("docker",))]
    return world(apps=[NEW], nodes=nodes, tasks=[RUNS], statuses=[status(RUNS)], old=[OLD])


@pytest.mark.parametrize(
    ("images", "stops", "reason"),
    [
        ({}, False, "Its image web:2 is awaited on n1."),
        ({"web:2": "There is no image web:2."}, False, "There is no image web:2."),
        ({"web:2": ""}, True, ""),
    ],
)
def test_an_older_task_is_stopped_only_once_the_newer_image_is_there(
    images: dict[str, str], stops: bool, reason: str
) -> None:
    plan = decide(cell(images), 1.0)
    assert any(isinstance(each, (Stop, Drain)) for each in plan.actions) == stops
    said = " ".join(why(cell(images), plan, "/web", 1.0).sentences)
    assert ("Older tasks there are not stopped before it is there." in said) == (not stops)
    assert reason.lower() in said.lower()


def test_why_tells_how_far_an_image_is() -> None:
    pull = Pull("n1", "web:2", 34_000_000, 80_000_000)
    plan = decide(cell({}), 1.0)
    found = why(cell({}), plan, "/web", 1.0, [pull, Pull("n1", "other:1", 1)])
    assert found.pulling == "pulling web:2, 34 MB of 80"
    assert "n1 is pulling web:2, 34 MB of 80. Older tasks" in " ".join(found.sentences)
    first = world(
        apps=[NEW],
        nodes=[node(runtimes=("docker",))],
        tasks=[task(NEW)],
        statuses=[status(task(NEW), TaskState.STARTING)],
    )
    said = why(first, decide(first, 1.0), "/web", 1.0, [pull])
    assert said.sentences[0] == "web.1 on n1 is starting: pulling web:2, 34 MB of 80."


def test_the_image_that_came_is_seen_by_a_plan_that_recalls() -> None:
    recall = Recall()
    before = cell({})
    assert not decide(before, 1.0, recall).actions
    after = replace(before, nodes={"n1": node(images={"web:2": ""}, runtimes=("docker",))})
    assert decide(after, 1.0, recall).actions


def test_a_first_version_waits_for_no_image() -> None:
    plan = decide(world(apps=[NEW], nodes=[node(runtimes=("docker",))]), 1.0)
    assert [type(each) for each in plan.actions if isinstance(each, Place)] == [Place]


def test_upgrades_are_the_newer_versions_of_what_runs() -> None:
    process = app("/p")
    apps = {each.id: each for each in (NEW, contained("same:1", id="/same"), msgspec.structs.replace(process))}
    tasks = [RUNS, task(contained("same:1", id="/same")), task(app("/p", version=V2)), task(app("/gone"))]
    assert upgrades(apps, tasks) == (NEW,)


class Fetching(FakeRuntime):
    """A runtime with the power to fetch: `missing` is why it cannot."""

    name = "docker"
    missing: DriverError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str | None] = []

    async def fetch(self, app: App, secrets: Mapping[str, Secret]) -> None:
        self.fetched.append(app.image)
        if self.missing is not None:
            raise self.missing


@on_virtual_time
async def test_the_agent_fetches_what_is_wanted_and_says_at_once_what_came_of_it() -> None:
    scene, runtime = Scene(), Fetching()
    runtime.missing = DriverError("There is no image web:2.")
    scene.runtime = runtime
    scene.runtimes = {"docker": runtime}
    async with scene.running():
        scene.link.send(msgspec.structs.replace(listing(1, (OLD, RUNS)), upgrades=(NEW,)))
        await passes(0.5)
        assert scene.link.updates[-1].images == {"web:2": "There is no image web:2."}
        runtime.missing = None
        await passes(2)
        assert scene.link.updates[-1].images == {"web:2": ""}
        assert runtime.fetched == ["web:2", "web:2"]
        scene.link.send(listing(2, (OLD, RUNS)))
        await passes(6)
        assert scene.link.updates[-1].images == {}
