"""Apps that end: what is done is kept and holds nothing, what failed is tried again as often as it may, and who
depends on a job waits for its end."""

from typing import Any

import pytest

from builders import V1, V2, app, node, status, task, world
from kato.model.action import Action, Forget, Keep, Place
from kato.model.app import RestartPolicy, UpgradeStrategy
from kato.model.deployment import Deployment, Kill, Launches
from kato.model.node import Resources
from kato.model.task import Task, TaskState
from kato.model.world import World
from kato.plan import decide, why

NOW = 1000.0
ONCE = RestartPolicy(condition="none", job=True)
THRICE = RestartPolicy(condition="on-failure", max_attempts=2)


def kinds(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


def over(state: TaskState, policy: RestartPolicy | None, *, kept: bool = False, **more: Any) -> World:
    """An app with a task that has ended. kept: whether that was written down."""
    wish = more.pop("wish", None) or app(restart_policy=policy, ports=1)
    gone = Keep(task(wish), "").kept if kept else task(wish)
    code = {TaskState.FINISHED: 0, TaskState.FAILED: 3}.get(state)
    begun = more.pop("started", NOW - 5)
    fact = status(
        gone, state, started=begun, ended=NOW, exit_code=code, message=f"Command exited with status {code}"
    )
    return world(apps=[wish], nodes=[node()], tasks=[gone], statuses=[fact], **more)


def only(here: World) -> Task:
    (found,) = here.tasks["/web"].values()
    return found


@pytest.mark.parametrize(
    ("state", "policy", "what"),
    [
        (TaskState.FINISHED, ONCE, ["Keep"]),
        (TaskState.FINISHED, THRICE, ["Keep"]),
        (TaskState.FINISHED, RestartPolicy(), ["Forget"]),
        (TaskState.FINISHED, None, ["Forget"]),
        (TaskState.FAILED, ONCE, ["Keep"]),
        (TaskState.LOST, ONCE, ["Keep"]),
        (TaskState.FAILED, THRICE, ["Forget"]),
        (TaskState.LOST, THRICE, ["Forget", "Count", "Place"]),
    ],
)
def test_what_becomes_of_a_task_that_has_ended(
    state: TaskState, policy: RestartPolicy | None, what: list[str]
) -> None:
    assert kinds(decide(over(state, policy), NOW).actions) == what


def test_what_never_ran_is_tried_again_though_it_is_to_run_once() -> None:
    plan = decide(over(TaskState.FAILED, ONCE, started=None), NOW)
    assert kinds(plan.actions) == ["Forget"] and plan.waits["/web"].until == NOW + 1


def test_what_is_done_holds_neither_resources_nor_ports() -> None:
    (keep,) = decide(over(TaskState.FINISHED, ONCE), NOW).actions
    assert isinstance(keep, Keep)
    assert keep.launches is None, "an end that is well counts as no failure"
    assert (keep.kept.goal, keep.kept.resources, keep.kept.ports) == ("done", Resources(), ())


def test_its_room_is_given_to_others_at_once() -> None:
    wish = app("/web", restart_policy=ONCE, cpus=4.0)
    here = over(TaskState.FINISHED, None, wish=wish)
    other = app("/other", cpus=4.0)
    plan = decide(world(**_parts(here), apps=[wish, other]), NOW)
    assert kinds(plan.actions) == ["Keep", "Count", "Place"]


def _parts(here: World) -> dict[str, Any]:
    tasks = [each for mine in here.tasks.values() for each in mine.values()]
    facts = [each for mine in here.statuses.values() for each in mine.values()]
    return {"nodes": here.nodes.values(), "tasks": tasks, "statuses": facts}


@pytest.mark.parametrize("state", [TaskState.FINISHED, TaskState.FAILED])
def test_what_is_done_stays_done(state: TaskState) -> None:
    plan = decide(over(state, ONCE, kept=True), NOW)
    assert not plan.actions and not plan.waits


def test_it_stays_though_its_node_is_gone() -> None:
    here = over(TaskState.FINISHED, ONCE, kept=True)
    assert not decide(world(**(_parts(here) | {"nodes": [node("n2")]}), apps=here.apps.values()), NOW).actions


def test_a_newer_version_a_kill_and_scaling_run_it_again_or_forget_it() -> None:
    here = over(TaskState.FINISHED, ONCE, kept=True)
    parts, wish = _parts(here), here.apps["/web"]
    newer = app(version=V2, restart_policy=ONCE, ports=1)
    assert kinds(decide(world(**parts, apps=[newer], old=[wish]), NOW).actions) == ["Forget", "Count", "Place"]
    none = app(instances=0, restart_policy=ONCE, ports=1)
    assert kinds(decide(world(**parts, apps=[none]), NOW).actions) == ["Forget"]
    two = app(instances=2, restart_policy=ONCE, ports=1)
    assert kinds(decide(world(**parts, apps=[two]), NOW).actions) == ["Count", "Place"]
    assert kinds(decide(world(**parts), NOW).actions) == ["Forget"]
    kill = Kill(task=only(here).id, app="/web")
    plan = decide(world(**parts, apps=[wish], kills={kill.task: kill}), NOW)
    assert kinds(plan.actions) == ["Forget", "Count", "Place"]


def test_it_is_given_up_after_as_many_failures_as_it_may_have() -> None:
    record = Launches(app="/web", attempts=3, config=V1, failures=2)
    (keep,) = decide(over(TaskState.FAILED, THRICE, launches=[record], started=NOW - 500), NOW).actions
    assert isinstance(keep, Keep) and keep.launches is not None
    assert keep.launches.failures == 3, "one that ran long is counted too"


def test_a_sick_one_that_is_given_up_is_not_placed_again() -> None:
    record = Launches(app="/web", attempts=3, config=V1, failures=3)
    here = world(apps=[app(restart_policy=THRICE)], nodes=[node()], launches=[record])
    plan = decide(here, NOW)
    assert not plan.actions
    assert "it has failed 3 times, as often as it may" in str(plan.waits["/web"])


# -- who depends on it --------------------------------------------------------------------------------------------


_ALL_AT_ONCE = UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=0.0)
JOB = app("/shop/job", restart_policy=ONCE)
WEB = app("/shop/web", dependencies=("/shop/job",))
DEPLOYMENT = Deployment(
    id="d", version=V1, original={JOB.id: None, WEB.id: None}, target={JOB.id: V1, WEB.id: V1}, started=0.0
)


def shop(state: TaskState, *, kept: bool = True, **more: Any) -> World:
    gone = task(JOB)
    gone = Keep(gone, "").kept if kept else gone
    fact = status(gone, state, exit_code=3, message="Command exited with status 3")
    return world(apps=[JOB, WEB], nodes=[node()], tasks=[gone], statuses=[fact], **more)


def placed(here: World) -> set[str]:
    return {each.task.app for each in decide(here, NOW).actions if isinstance(each, Place)}


@pytest.mark.parametrize("deployments", [[], [DEPLOYMENT]])
def test_who_depends_on_a_job_begins_when_it_has_ended_well(deployments: list[Deployment]) -> None:
    assert not placed(shop(TaskState.RUNNING, kept=False, deployments=deployments))
    assert not placed(shop(TaskState.FAILED, deployments=deployments))
    assert placed(shop(TaskState.FINISHED, deployments=deployments)) == {"/shop/web"}
    assert placed(shop(TaskState.FINISHED, kept=False, deployments=deployments)) == {"/shop/web"}


def test_who_has_begun_is_replaced_whatever_becomes_of_the_job() -> None:
    begun = Launches(app="/shop/web", attempts=1, config=V1)
    assert placed(shop(TaskState.FAILED, launches=[begun])) == {"/shop/web"}


def test_an_older_version_stays_while_the_job_has_failed() -> None:
    """The job was of an earlier deployment; this one upgrades who depends on it, and stops nothing meanwhile."""
    newer = app("/shop/web", version=V2, dependencies=("/shop/job",), upgrade_strategy=_ALL_AT_ONCE)
    upgrade = Deployment(id="d", version=V2, original={WEB.id: V1}, target={WEB.id: V2}, started=0.0)
    old, here = task(WEB), shop(TaskState.FAILED)
    here = world(
        apps=[JOB, newer],
        nodes=[node()],
        tasks=[*here.tasks["/shop/job"].values(), old],
        statuses=[*here.statuses["/shop/job"].values(), status(old)],
        deployments=[upgrade],
        old=[WEB],
    )
    assert not decide(here, NOW).actions


def test_why_says_which_job_and_how_it_ended() -> None:
    here = shop(TaskState.FAILED, deployments=[DEPLOYMENT])
    said = " ".join(why(here, decide(here, NOW), "/shop/web", NOW).sentences)
    assert "/shop/job is to end well first." in said
    assert "shop_job.1, which is to end well first, has failed: Command exited with status 3." in said
    assert "kato restart shop/job --force" in said
    said = " ".join(why(here, decide(here, NOW), "/shop/job", NOW).sentences)
    assert "is not replaced: Command exited with status 3; `kato restart shop/job` runs it again." in said


def test_an_end_that_was_asked_for_is_no_end_of_its_own() -> None:
    here = over(TaskState.KILLED, ONCE)
    gone = only(here)
    kill = Kill(task=gone.id, app="/web")
    plan = decide(world(**_parts(here), apps=here.apps.values(), kills={kill.task: kill}), NOW)
    assert isinstance(plan.actions[0], Forget) and kinds(plan.actions)[-1] == "Place"
