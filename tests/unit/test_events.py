"""Changes of the mirror as Marathon's events."""

from dataclasses import replace
from typing import Any

from builders import V1, V2, app, node, status, task, world
from kato.api.events import Told, attached, events, posted
from kato.model.deployment import Deployment, Progress
from kato.model.task import Health, TaskState
from kato.model.world import World
from kato.store.changes import Change

NOW = 1_800_000_000.0
WEB = app(ports=1)
TASK = task(WEB)
LOOK = world(apps=[WEB], nodes=[node(address="10.0.0.1")], tasks=[TASK])


def told(before: Any, after: Any, look: World = LOOK, *, light: bool = True) -> list[dict[str, Any]]:
    known, change = Told(look), Change("key", before, after)
    known.learn(change)
    return events(change, known, look, NOW, light=light)


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [event["eventType"] for event in found]


def test_a_new_task_is_an_instance() -> None:
    (event,) = told(None, TASK)
    assert event == {
        "instanceId": TASK.id.removesuffix("._app.1"),
        "slaveId": "n1",
        "condition": "Staging",
        "host": "10.0.0.1",
        "runSpecId": "/web",
        "runSpecVersion": V1,
        "eventType": "instance_changed_event",
        "timestamp": "2027-01-15T08:00:00.000Z",
    }


def test_a_state_is_told_once() -> None:
    running = status(TASK)
    update, changed = told(None, running)
    assert (
        update["taskStatus"] == "TASK_RUNNING" and update["host"] == "10.0.0.1" and update["ports"] == TASK.ports
    )
    assert changed["condition"] == "Running"
    assert told(running, status(TASK, seq=2)) == []


def test_the_end_of_a_task_that_is_forgotten_already_is_told() -> None:
    gone = world(apps=[WEB])
    known = Told(LOOK)
    change = Change("status", status(TASK), status(TASK, TaskState.FAILED, message="exit code 3"))
    update, changed = events(change, known, gone, NOW)
    assert update["taskStatus"] == "TASK_FAILED" and update["message"] == "exit code 3"
    assert changed["condition"] == "Failed"


def test_the_last_task_of_a_removed_app_ends_it() -> None:
    other = task(WEB, 2)
    gone = world(tasks=[TASK, other])
    known = Told(gone)
    first, last = Change("t", TASK, None), Change("t", other, None)
    assert events(first, known, gone, NOW) == []
    known.forget(first)
    assert kinds(events(last, known, gone, NOW)) == ["app_terminated_event"]
    known.forget(last)
    assert known.tasks == {}
    assert told(TASK, None) == []


def test_health_is_told_when_it_changes() -> None:
    from kato.model.app import HealthCheck

    checked = app(health_checks=(HealthCheck(protocol="TCP"),))
    mine = task(checked)
    look = world(apps=[checked], nodes=[node()], tasks=[mine])
    new = status(mine, health=(Health(),))
    well = status(mine, health=(Health(alive=True, first_success=1.0, last_success=1.0),))
    again = status(mine, health=(Health(alive=True, first_success=1.0, last_success=2.0),))
    ill = status(mine, health=(Health(alive=False, consecutive_failures=1, last_success=2.0, last_failure=3.0),))
    worse = status(mine, health=(Health(alive=False, consecutive_failures=2, last_success=2.0, last_failure=4.0),))
    assert kinds(told(new, well, look)) == ["health_status_changed_event", "instance_health_changed_event"]
    assert told(well, again, look) == []
    assert kinds(told(again, ill, look)) == [
        "failed_health_check_event",
        "health_status_changed_event",
        "instance_health_changed_event",
    ]
    (failed,) = told(ill, worse, look)
    assert failed["eventType"] == "failed_health_check_event" and failed["healthCheck"]["protocol"] == "TCP"


def test_a_deployment_is_told_from_its_flip_to_its_end() -> None:
    new = app(version=V2, cpus=0.2)
    deployment = Deployment(id="d", version=V2, started=0, original={"/web": V1}, target={"/web": V2})
    look = world(apps=[new], old=[WEB], deployments=[deployment])
    changed, info = told(None, deployment, look, light=False)
    assert changed["groupId"] == "/" and changed["version"] == V2
    assert info["plan"]["steps"] == [{"actions": [{"action": "RestartApplication", "app": "/web"}]}]
    assert info["currentStep"] == info["plan"]["steps"][0]
    assert info["plan"]["original"]["apps"][0]["cpus"] == 0.1
    assert info["plan"]["target"]["apps"][0]["cpus"] == 0.2
    (step,) = told(None, Progress(deployment="d", finished=1), look)
    assert step["eventType"] == "deployment_step_success" and set(step["plan"]) == {"id", "version", "steps"}
    (success,) = told(deployment, None, look)
    assert success["eventType"] == "deployment_success" and success["id"] == "d"
    cancelled = Deployment(
        id="d", version=V2, started=0, original={"/web": V1}, target={"/web": V2}, cancelled=True
    )
    assert told(deployment, cancelled, look) == []
    assert kinds(told(cancelled, None, look)) == ["deployment_failed"]


def test_no_plan_is_made_for_nobody() -> None:
    """Whoever asks for the versions of a deployment's apps makes its plan."""

    def unasked(app: str, version: str) -> None:
        raise AssertionError(f"{app}@{version} was looked up")

    deployment = Deployment(id="d", version=V2, started=0, original={"/web": V1}, target={"/web": V2})
    look = replace(world(apps=[WEB], deployments=[deployment]), spec=unasked)
    known = Told(look)
    changes = (
        Change("d", None, deployment),
        Change("p", None, Progress(deployment="d", finished=1)),
        Change("d", deployment, None),
    )
    told = [event for each in changes for event in events(each, known, look, NOW, wants=lambda kind: False)]
    assert kinds(told) == ["group_change_success"]


def test_apps_of_one_group_change_that_group() -> None:
    deployment = Deployment(id="d", version=V2, started=0, original={}, target={"/a/b/x": None, "/a/c/y": None})
    changed, info = told(None, deployment, light=False)
    assert changed["groupId"] == "/a"
    assert info["plan"]["original"] == info["plan"]["target"]


def test_clients_are_told_of() -> None:
    assert attached("1.2.3.4", NOW)["eventType"] == "event_stream_attached"
    assert attached("1.2.3.4", NOW, gone=True)["eventType"] == "event_stream_detached"
    post = posted("1.2.3.4", "/v2/apps", WEB, NOW)
    assert post["appDefinition"]["id"] == "/web" and post["clientIp"] == "1.2.3.4" and post["uri"] == "/v2/apps"
