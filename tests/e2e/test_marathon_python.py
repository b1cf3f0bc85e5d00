"""Marathon's Python client, as it is published, over its whole range against a real cell: calls go in, and what it
makes of the answers comes out.
"""

import collections
import collections.abc
import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest

# Python 3.10 took the old name away, which the client's encoder uses; whoever runs it gives it back.
collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]

from marathon import MarathonClient, NotFoundError  # noqa: E402
from marathon.exceptions import ConflictError, MarathonHttpError  # noqa: E402
from marathon.models import MarathonApp, MarathonGroup, MarathonHealthCheck  # noqa: E402
from marathon.models.app import MarathonUpgradeStrategy, PortDefinition, ReadinessCheck  # noqa: E402
from marathon.models.constraint import MarathonConstraint  # noqa: E402
from marathon.models.events import MarathonDeploymentSuccess, MarathonStatusUpdateEvent  # noqa: E402

from machine import SLOW, Machine, own_cell  # noqa: E402

SERVE = "exec python3 -m http.server --bind 127.0.0.1 $PORT0"
SMALL: dict[str, Any] = {"cpus": 0.05, "mem": 32}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with own_cell() as machine:
        machine.start()
        yield machine


@pytest.fixture
def client(machine: Machine) -> Iterator[Any]:
    """A client of an empty cell."""
    client = MarathonClient(f"http://{machine.api}")
    yield client
    for app in client.list_apps():
        client.delete_app(app.id, force=True)
    machine.until(lambda: client.list_tasks() == [] and client.list_deployments() == [])
    client.session.close()
    client.sse_session.close()


def settled(machine: Machine, client: Any, answer: dict[str, Any]) -> None:
    """Returns once the deployment that an answer names has ended."""
    assert set(answer) == {"version", "deploymentId"}
    ended(machine, client, answer["deploymentId"])


def ended(machine: Machine, client: Any, id: str) -> None:
    machine.until(lambda: id not in [each.id for each in client.list_deployments()])


def created(machine: Machine, client: Any, id: str, **more: Any) -> Any:
    """An app that is made, and runs."""
    app = client.create_app(id, MarathonApp(**{"cmd": "sleep 1000", "instances": 1, **SMALL, **more}))
    assert [deployment.id for deployment in app.deployments]
    ended(machine, client, app.deployments[0].id)
    return app


def test_the_cell_tells_of_itself(machine: Machine, client: Any) -> None:
    assert client.ping() == b"pong"
    info = client.get_info()
    assert (info.name, info.leader, info.elected) == ("marathon", machine.api, True)
    assert info.marathon_config.local_port_min == 10000
    assert info.http_config.http_port == int(machine.api.rpartition(":")[2])
    assert client.get_leader() == {"leader": machine.api}
    metrics = client.get_metrics()
    assert metrics and isinstance(metrics, dict)


def test_an_app_of_every_kind_of_word_is_made_listed_and_found(machine: Machine, client: Any) -> None:
    check = MarathonHealthCheck(
        protocol="HTTP", path="/", port_index=0, interval_seconds=1, timeout_seconds=5, grace_period_seconds=30,
        max_consecutive_failures=3, ignore_http1xx=True, delay_seconds=0,
    )  # fmt: skip
    made = created(
        machine, client, "/all/web", cmd=SERVE, instances=1, env={"ONE": "1"}, labels={"tier": "front"},
        health_checks=[check], constraints=[MarathonConstraint("hostname", "MAX_PER", "5")],
        port_definitions=[PortDefinition(port=0, protocol="tcp", name="http", labels={})],
        readiness_checks=[
            ReadinessCheck(
                name="ready", protocol="HTTP", path="/", port_name="http", interval_seconds=2, timeout_seconds=1,
                http_status_codes_for_ready=[200], preserve_last_response=False,
            )
        ],
        upgrade_strategy=MarathonUpgradeStrategy(minimum_health_capacity=1, maximum_over_capacity=1),
        backoff_seconds=1, backoff_factor=1.5, max_launch_delay_seconds=60, kill_selection="OLDEST_FIRST",
        task_kill_grace_period_seconds=2,
    )  # fmt: skip
    assert (made.id, made.instances, made.env) == ("/all/web", 1, {"ONE": "1"})
    created(machine, client, "/all/other", labels={"tier": "back"})

    app = client.get_app("all/web", embed_tasks=True, embed_counts=True, embed_deployments=True,
                         embed_readiness=True, embed_last_task_failure=True, embed_failures=True,
                         embed_task_stats=True)  # fmt: skip
    assert (app.kill_selection, app.backoff_factor, app.constraints[0].operator) == (
        "OLDEST_FIRST",
        1.5,
        "MAX_PER",
    )
    assert (app.tasks_running, app.tasks_healthy, app.tasks_staged, app.tasks_unhealthy) == (1, 1, 0, 0)
    assert [(task.state, task.host, len(task.ports)) for task in app.tasks] == [("TASK_RUNNING", "127.0.0.1", 1)]
    assert app.tasks[0].health_check_results[0].alive is True
    assert app.tasks[0].started_at >= app.tasks[0].staged_at
    assert [(each["name"], each["ready"]) for each in app.readiness_check_results] == [("ready", True)]
    assert app.health_checks[0].delay_seconds == 0
    assert app.task_stats.total_summary.stats.counts.healthy == 1
    assert app.task_stats.with_latest_config.stats.life_time.average_seconds >= 0

    everything: dict[str, Any] = {f"embed_{word}": True for word in (
        "tasks", "counts", "deployments", "readiness", "last_task_failure", "failures", "task_stats")}  # fmt: skip
    assert {each.id for each in client.list_apps(**everything)} == {"/all/web", "/all/other"}
    for chosen in (
        {"cmd": "http.server"},
        {"app_id": "all/w"},
        {"label": "tier==front"},
        {"instances": 1, "cmd": "http"},
    ):
        assert [each.id for each in client.list_apps(**chosen)] == ["/all/web"]
    [task] = client.list_tasks("/all/web")
    assert task.app_id == "/all/web" and {each.app_id for each in client.list_tasks()} == {
        "/all/web",
        "/all/other",
    }
    [end] = [each for each in client.list_endpoints() if each.task_id == task.id]
    assert (end.host, end.task_port, end.service_port) == (
        "127.0.0.1",
        task.ports[0],
        made.port_definitions[0].port,
    )


def test_an_app_is_changed_scaled_restarted_and_taken_back(machine: Machine, client: Any) -> None:
    first = created(machine, client, "/changed").version
    settled(machine, client, client.scale_app("/changed", 2))
    settled(machine, client, client.scale_app("/changed", delta=-1, force=True))
    assert client.get_app("/changed").instances == len(client.list_tasks("/changed")) == 1
    settled(
        machine, client, client.update_app("/changed", MarathonApp(cmd="sleep 2000", env={"A": "b"}), force=True)
    )
    app = client.get_app("/changed")
    assert (app.cmd, app.env, app.mem) == ("sleep 2000", {"A": "b"}, 32)

    versions = client.list_versions("/changed")
    assert versions == sorted(versions, reverse=True) and {first, app.version} <= set(versions)
    assert client.get_version("/changed", first).cmd == "sleep 1000"
    before = client.list_tasks("/changed")[0].id
    settled(machine, client, client.restart_app("/changed"))
    assert client.list_tasks("/changed")[0].id != before
    settled(machine, client, client.rollback_app("/changed", first))
    assert client.get_app("/changed").cmd == "sleep 1000"

    one, other = MarathonApp(id="/changed", cmd="sleep 3000"), MarathonApp(id="/new", cmd="sleep 1000", **SMALL)
    settled(machine, client, client.update_apps([one, other]))
    assert {each.id: each.cmd for each in client.list_apps()} == {"/changed": "sleep 3000", "/new": "sleep 1000"}
    settled(machine, client, client.delete_app("/new"))
    with pytest.raises(NotFoundError, match="does not exist"):
        client.get_app("/new")


def test_tasks_are_killed_one_several_and_with_scale(machine: Machine, client: Any) -> None:
    created(machine, client, "/killed", instances=3, backoff_seconds=0)

    def stands(count: int, without: set[str]) -> Callable[[], bool]:
        def holds() -> bool:
            tasks = client.list_tasks("/killed")
            running = {task.id for task in tasks if task.state == "TASK_RUNNING"}
            return len(tasks) == len(running) == count and not running & without

        return holds

    old = client.list_tasks("/killed")
    assert client.kill_task("/killed", old[0].id).id == old[0].id
    machine.until(stands(3, {old[0].id}))
    some = [task.id for task in client.list_tasks("/killed")][:2]
    assert client.kill_given_tasks(some) is True
    machine.until(stands(3, {*some}))
    settled(machine, client, client.kill_task("/killed", client.list_tasks("/killed")[0].id, scale=True))
    assert client.get_app("/killed").instances == 2
    assert client.kill_given_tasks([client.list_tasks("/killed")[0].id], scale=True, force=True) is True
    machine.until(stands(1, set()))
    assert client.kill_tasks("/killed", host="nowhere.example") == []
    [last] = client.list_tasks("/killed")
    assert [task.id for task in client.kill_tasks("/killed", host=last.host, wipe=True)] == [last.id]
    machine.until(stands(1, {last.id}))
    settled(machine, client, client.kill_tasks("/killed", scale=True))
    assert client.get_app("/killed").instances == 0


def test_groups_are_made_changed_scaled_taken_back_and_deleted(machine: Machine, client: Any) -> None:
    web = MarathonApp(id="/shop/web", cmd="sleep 1000", instances=1, **SMALL)
    settled(machine, client, client.create_group(MarathonGroup(id="/shop", apps=[web])))
    group = client.get_group("shop")
    assert (group.id, [app.id for app in group.apps]) == ("/shop", ["/shop/web"])
    assert (
        [each.id for each in client.list_groups()] == ["/shop"] == [g.id for g in client.list_groups(id="/shop")]
    )
    settled(machine, client, client.scale_group("shop", 2))
    assert client.get_app("/shop/web").instances == 2
    group = client.get_group("shop")
    web.cmd, web.instances = "sleep 2000", 1
    settled(machine, client, client.update_group("shop", MarathonGroup(id="/shop", apps=[web]), force=True))
    settled(machine, client, client.rollback_group("shop", group.version, force=True))
    assert (client.get_app("/shop/web").cmd, client.get_app("/shop/web").instances) == ("sleep 1000", 2)
    settled(machine, client, client.delete_group("shop", force=True))
    with pytest.raises(NotFoundError):
        client.get_group("shop")


def test_deployments_and_the_queue_are_shown_and_taken_back(machine: Machine, client: Any) -> None:
    with pytest.raises(MarathonHttpError, match="not valid"):
        client.create_app("/huge", MarathonApp(cmd="true", args=["true"]))
    waiting = client.create_app("/huge", MarathonApp(cmd="sleep 1000", instances=1, cpus=10_000, mem=32))
    [deployment] = client.list_deployments()
    assert (deployment.id, deployment.affected_apps) == (waiting.deployments[0].id, ["/huge"])
    assert deployment.current_actions[0].app == "/huge" and deployment.steps
    [item] = client.list_queue(embed_last_unused_offers=True)
    assert (item.app.id, item.count, item.delay.overdue) == ("/huge", 1, True)
    assert item.processed_offers_summary["rejectSummaryLastOffers"][0]["reason"] == "InsufficientCpus"
    assert [each.app.id for each in client.list_queue()] == ["/huge"]
    client.reset_delay("/huge")
    with pytest.raises(ConflictError, match="locked"):
        client.update_app("/huge", MarathonApp(cmd="sleep 1"))
    settled(machine, client, client.delete_deployment(deployment.id))
    assert client.list_apps() == []

    again = client.create_app("/huge", MarathonApp(cmd="sleep 1000", instances=1, cpus=10_000, mem=32))
    assert client.delete_deployment(again.deployments[0].id, force=True) == {}
    ended(machine, client, again.deployments[0].id)
    assert [app.id for app in client.list_apps()] == ["/huge"]


def test_events_of_an_app_s_life_are_read_as_they_come(machine: Machine, client: Any) -> None:
    heard: Queue[Any] = Queue()
    listener = MarathonClient(f"http://{machine.api}")
    streams = [
        listener.event_stream(),
        listener.event_stream(raw=True, event_types=[MarathonDeploymentSuccess, "status_update_event"]),
    ]

    def read(stream: Any) -> None:
        for event in stream:
            heard.put(event)
            if isinstance(event, MarathonDeploymentSuccess) or (
                isinstance(event, str) and "deployment_suc" in event
            ):
                return

    threads = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in streams]
    threads[0].start()
    first = heard.get(timeout=10 * SLOW)
    assert first.event_type == "event_stream_attached"
    threads[1].start()
    assert heard.get(timeout=10 * SLOW).event_type == "event_stream_attached", "the other one, who filters it out"
    created(machine, client, "/heard")
    for thread in threads:
        thread.join(10 * SLOW)
        assert not thread.is_alive()
    events = [heard.get_nowait() for _ in range(heard.qsize())]
    kinds = [event.event_type for event in events if not isinstance(event, str)]
    assert {"api_post_event", "deployment_info", "instance_changed_event", "deployment_step_success"} <= set(kinds)
    assert kinds[-1] == "deployment_success"
    updates = [event for event in events if isinstance(event, MarathonStatusUpdateEvent)]
    assert (updates[-1].app_id, updates[-1].task_status) == ("/heard", "TASK_RUNNING")
    assert any("status_update_event" in event for event in events if isinstance(event, str))
    for stream in streams:
        stream.close()
    listener.session.close()
    listener.sse_session.close()


def test_what_marathon_itself_took_away_is_told_as_missing(machine: Machine, client: Any) -> None:
    """Callback subscriptions went with Marathon 1.5. Abdication means nothing where there is one master."""
    for call in (
        client.list_event_subscriptions,
        lambda: client.create_event_subscription("http://127.0.0.1:1/"),
        lambda: client.delete_event_subscription("http://127.0.0.1:1/"),
    ):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(MarathonHttpError) as refused:
        client.delete_leader()
    assert refused.value.status_code == 405
