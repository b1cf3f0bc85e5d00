"""Marathon's steps, and what holds an app until its own has begun."""

import pytest

from builders import V1, V2, app, node, status, task, world
from kato.model.action import Advance, Finish, Place
from kato.model.app import App, VersionInfo
from kato.model.deployment import Deployment, GroupRecord, Progress
from kato.model.task import Task
from kato.model.world import World
from kato.plan import decide
from kato.plan.deployment import affected, steps, view

SCALED = VersionInfo(last_scaling_at=V2, last_config_change_at=V1)
OLD = [app("/g/db"), app("/g/api"), app("/g/web", instances=1), app("/g/gone")]
NEW = [
    app("/g/db", version=V2),
    app("/g/api", version=V2, dependencies=("/g/db",)),
    app("/g/web", version=V2, instances=3, version_info=SCALED, dependencies=("/g/api",)),
    app("/g/fresh", version=V2),
]


def deployment(**more: object) -> Deployment:
    given: dict[str, object] = {
        "id": "d1",
        "version": V2,
        "original": {each.id: V1 for each in OLD} | {"/g/fresh": None},
        "target": {each.id: V2 for each in NEW} | {"/g/gone": None},
        "started": 0.0,
    }
    return Deployment(**(given | more))  # type: ignore[arg-type]


def cell(tasks: list[Task], *, serving: bool = True, finished: int | None = None, **more: object) -> World:
    progress = {"d1": Progress(deployment="d1", finished=finished)} if finished is not None else {}
    return world(
        apps=NEW,
        old=OLD,
        nodes=[node()],
        tasks=tasks,
        statuses=[status(each) for each in tasks] if serving else [],
        deployments=[deployment(**more)],
        progress=progress,
    )


def on(apps: list[App], *ids: str) -> list[Task]:
    return [task(each, n + 1) for each in apps if each.id in ids for n in range(each.instances)]


def test_steps_stop_start_then_layers_by_longest_path() -> None:
    found = [dict(step.actions) for step in steps(deployment(), cell([]))]
    assert found == [
        {"/g/gone": "StopApplication"},
        {"/g/fresh": "StartApplication"},
        {"/g/db": "RestartApplication", "/g/fresh": "ScaleApplication"},
        {"/g/api": "RestartApplication"},
        {"/g/web": "ScaleApplication"},
    ]
    assert affected(deployment()) == ("/g/api", "/g/db", "/g/fresh", "/g/gone", "/g/web")


def test_a_dependency_on_a_group_and_of_a_group_orders_its_apps() -> None:
    apps = [app("/a/x"), app("/b/y"), app("/c/z", dependencies=("/b",))]
    groups = {"/b": GroupRecord(id="/b", version=V1, dependencies=("/a",))}
    new = {each.id: V1 for each in apps}
    change = Deployment(id="d", version=V1, original=dict.fromkeys(new), target=new, started=0.0)
    found = steps(change, world(apps=apps, groups=groups, deployments=[change]))
    assert [list(step.actions) for step in found[1:]] == [["/a/x"], ["/b/y"], ["/c/z"]]


def test_a_circle_of_dependencies_still_has_steps() -> None:
    apps = [app("/a", dependencies=("/b",)), app("/b", dependencies=("/a",))]
    new = {each.id: V1 for each in apps}
    change = Deployment(id="d", version=V1, original=dict.fromkeys(new), target=new, started=0.0)
    found = steps(change, world(apps=apps, deployments=[change]))
    assert {id for step in found for id in step.actions} == {"/a", "/b"}


def test_apps_that_do_not_change_are_in_no_step() -> None:
    same = deployment(original={"/g/db": V2}, target={"/g/db": V2})
    assert steps(same, cell([])) == ()
    assert view(same, cell([])).current == 1


def test_only_the_step_that_is_reached_acts() -> None:
    old = on(OLD, "/g/db", "/g/api", "/g/web")
    plan = decide(cell(old), 10.0)
    advance = [action for action in plan.actions if isinstance(action, Advance)]
    assert [each.progress.finished for each in advance] == [2]  # gone is gone, fresh has started with none
    assert {action.task.app for action in plan.actions if isinstance(action, Place)} == {"/g/db", "/g/fresh"}
    assert "at step 3 of its deployment" in plan.waits["/g/web"].reason


def test_a_step_is_finished_only_when_exactly_its_tasks_are_there_and_serve() -> None:
    rest = on(OLD, "/g/api", "/g/web")
    done = on(NEW, "/g/db", "/g/fresh")
    both = decide(cell(rest + done + on(OLD, "/g/db"), finished=2), 10.0)
    assert not [action for action in both.actions if isinstance(action, Advance)]
    only = decide(cell(rest + done, finished=2), 10.0)
    assert [action.progress.finished for action in only.actions if isinstance(action, Advance)] == [3]
    asleep = decide(cell(rest + done, finished=2, serving=False), 10.0)
    assert not [action for action in asleep.actions if isinstance(action, Advance)]


@pytest.mark.parametrize(("settled", "ends"), [(True, True), (False, False)])
def test_it_ends_with_its_last_step_and_not_before_its_pointers_are_written(settled: bool, ends: bool) -> None:
    everything = on(NEW, "/g/db", "/g/fresh", "/g/api", "/g/web")
    plan = decide(cell(everything, finished=4, settled=settled), 10.0)
    assert (Finish("d1", True, "all its steps are finished") in plan.actions) is ends


def test_a_cancelled_one_ends_and_holds_nothing() -> None:
    plan = decide(cell(on(OLD, "/g/db", "/g/api", "/g/web"), cancelled=True), 10.0)
    assert Finish("d1", False, "it was cancelled") in plan.actions
    assert {action.task.app for action in plan.actions if isinstance(action, Place)} >= {"/g/api", "/g/web"}


def test_an_empty_one_ends_at_once() -> None:
    empty = Deployment(id="d", version=V1, original={}, target={}, started=0.0)
    assert decide(world(deployments=[empty]), 0.0).actions == (Finish("d", True, "all its steps are finished"),)


def test_where_a_version_is_not_known_the_apps_tasks_are_left_alone() -> None:
    old = task(app())
    change = Deployment(id="d", version=V2, original={"/web": V1}, target={"/web": V2}, started=0.0)
    assert decide(world(nodes=[node()], tasks=[old], deployments=[change]), 0.0).actions == ()


def test_view_counts_steps_from_one() -> None:
    seen = view(deployment(), cell([], finished=2))
    assert (seen.current, dict(seen.current_step.actions)) == (
        3,
        {"/g/db": "RestartApplication", "/g/fresh": "ScaleApplication"},
    )
