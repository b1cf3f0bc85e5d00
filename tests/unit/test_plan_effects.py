"""Changes go into a World, many at once; it comes out as if they were made one by one, and is copied once."""

from dataclasses import replace

import msgspec
import pytest

from builders import V1, V2, app, node, status, task, world
from kato.model.action import Action, Advance, Clear, Count, Drain, Finish, Forget, Keep, Place, Stop
from kato.model.app import Container, Docker
from kato.model.deployment import Deployment, Kill, Launches, Nudge, Progress
from kato.model.task import TaskState
from kato.plan.drill import Loss, drill
from kato.plan.effects import Storeys, carried_out, reported

NOW = 1_000_000.0
WEB, API = app("/web", instances=3), app("/api")
WEBS, APIS = [task(WEB, n) for n in (1, 2, 3)], [task(API)]
CHANGE = Deployment(id="d", version=V2, original={"/web": V1}, target={"/web": V2}, started=NOW)
HERE = replace(
    world(
        apps=[WEB, API],
        nodes=[node()],
        tasks=[*WEBS, *APIS],
        statuses=map(status, [*WEBS, *APIS]),
        deployments=[CHANGE],
        launches=[Launches(app="/web", attempts=3)],
    ),
    kills={WEBS[0].id: Kill(task=WEBS[0].id, app="/web")},
    nudges={"/web": Nudge(app="/web")},
    progress={"d": Progress(deployment="d")},
)


class Hashed(str):
    """A word that counts how often any like it is looked up in a mapping, or put into one."""

    looks = 0

    def __hash__(self) -> int:
        Hashed.looks += 1
        return super().__hash__()


@pytest.mark.parametrize("loss", [Loss("node", "n1"), Loss("engine", "docker")], ids=lambda loss: loss.kind)
def test_the_work_of_a_drill_grows_as_the_tasks_do(loss: Loss) -> None:
    few, many = (_hashes(count, loss) for count in (50, 500))
    assert many < 15 * few


def _hashes(count: int, loss: Loss) -> int:
    """How often the ids of `count` tasks that are lost together are hashed."""
    image = Container(type="DOCKER", docker=Docker(image="web"))
    of = app("/web", instances=count, container=image)
    mine = [task(of, n) for n in range(1, count + 1)]
    mine = [msgspec.structs.replace(each, id=Hashed(each.id)) for each in mine]
    runtimes = ("process", "docker")
    here = world(
        apps=[of],
        nodes=[node(each, cpus=1000.0, mem=1e6, runtimes=runtimes) for each in ("n1", "n2")],
        tasks=mine,
        statuses=map(status, mine),
    )
    Hashed.looks = 0
    assert len(drill(here, loss, NOW).lines) >= count
    return Hashed.looks


def test_all_at_once_is_as_one_by_one() -> None:
    actions: list[Action] = [
        Place(task(WEB, 4)),
        Place(task(app("/new"))),
        Drain(WEBS[0], "it is old"),
        Clear("kill", WEBS[0].id, "it is done"),
        Stop(WEBS[1], "it is too much", launches=Launches(app="/web", attempts=4)),
        Keep(WEBS[2], "it has ended"),
        Forget(APIS[0], "it is over", launches=Launches(app="/api", attempts=1)),
        Count("/web", None, "it is forgiven"),
        Clear("nudge", "/web", "it is done"),
        Advance(Progress(deployment="d", finished=1), 1),
        Finish("d", True, "it is done"),
    ]
    one_by_one = HERE
    for action in actions:
        one_by_one = replace(carried_out(one_by_one, [action], NOW), seq=HERE.seq)
    at_once = carried_out(HERE, actions, NOW)
    assert at_once.seq == HERE.seq + 1
    goals = {id: each.goal for id, each in at_once.tasks["/web"].items()}
    assert goals == {WEBS[0].id: "drain", WEBS[1].id: "stop", WEBS[2].id: "done", task(WEB, 4).id: "run"}
    assert at_once.tasks.keys() == {"/web", "/new"}
    assert not (at_once.kills or at_once.nudges or at_once.deployments or at_once.progress or at_once.locks)
    assert at_once.launches == {"/api": Launches(app="/api", attempts=1)}
    now_is = {
        app: {id: (each.goal, each.reason) for id, each in mine.items()} for app, mine in at_once.tasks.items()
    }
    assert now_is == {
        app: {id: (each.goal, each.reason) for id, each in mine.items()} for app, mine in one_by_one.tasks.items()
    }
    for part in ("statuses", "launches", "kills", "nudges", "deployments", "progress", "locks"):
        assert getattr(at_once, part) == getattr(one_by_one, part)


def test_what_does_not_change_stays_the_same_object() -> None:
    assert carried_out(HERE, [], NOW) is HERE
    assert reported(HERE, []) is HERE
    then = carried_out(HERE, [Stop(WEBS[0], "it is too much")], NOW)
    assert then.tasks["/api"] is HERE.tasks["/api"] and then.tasks["/web"] is not HERE.tasks["/web"]
    for part in ("statuses", "launches", "kills", "nudges", "deployments", "progress", "locks"):
        assert getattr(then, part) is getattr(HERE, part)
    assert HERE.tasks["/web"][WEBS[0].id].goal == "run"
    said = reported(HERE, [status(WEBS[0], TaskState.FAILED)])
    assert said.statuses["/web"][WEBS[0].id].state is TaskState.FAILED
    assert said.statuses["/api"] is HERE.statuses["/api"] and said.tasks is HERE.tasks


def test_each_storey_is_copied_once() -> None:
    storeys = Storeys({"/web": {"a": 1, "b": 2}})
    storeys.put("/web", "a", 3)
    whole, mine = storeys.mapping, storeys.mapping["/web"]
    storeys.put("/web", "c", 4)
    storeys.drop("/web", "b")
    storeys.drop("/web", "nobody")
    storeys.put("/api", "d", 5)
    assert storeys.mapping is whole and storeys.mapping["/web"] is mine
    assert storeys.mapping == {"/web": {"a": 3, "c": 4}, "/api": {"d": 5}}
    storeys.drop("/api", "d")
    assert "/api" not in storeys.mapping
    storeys.put("/api", "e", 6)
    assert storeys.mapping["/api"] == {"e": 6}
