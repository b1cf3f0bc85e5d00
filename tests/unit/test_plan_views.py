"""What tasks find in their environment, what balancers serve, and why something is missing."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from builders import V1, V2, app, node, status, task, world
from kato.model.action import Plan
from kato.model.app import (
    App,
    Container,
    Docker,
    HealthCheck,
    Network,
    PortDefinition,
    PortMapping,
    SecretRef,
    SecretSource,
)
from kato.model.deployment import Launches
from kato.model.errors import NotFound
from kato.model.frontend import BorderAck, Server, Service
from kato.model.secret import Secret
from kato.model.task import Health, TaskState
from kato.plan import Recall, decide, environment, frontends, queue, why

PORTS = (PortDefinition(port=10_000, name="http-api"), PortDefinition(port=10_001, protocol="udp"))


def test_environment_is_marathons() -> None:
    wish = app(
        cpus=0.5,
        mem=64.0,
        port_definitions=PORTS,
        labels={"team": "a", "HAPROXY_0_VHOST": "x.localhost", "long": "x" * 512},
        env={"PORT0": "mine", "PASSWORD": SecretRef(secret="db"), "OTHER": SecretRef(secret="none")},
        secrets={"db": SecretSource(source="vault/db")},
    )
    mine = task(wish, id="web.1", ports=(31010, 31011))
    found = environment(wish, mine, node(address="10.0.0.1"), world(apps=[wish]))
    assert found == {
        "MESOS_TASK_ID": "web.1",
        "MARATHON_APP_ID": "/web",
        "MARATHON_APP_VERSION": V1,
        "MARATHON_APP_RESOURCE_CPUS": "0.5",
        "MARATHON_APP_RESOURCE_MEM": "64.0",
        "MARATHON_APP_RESOURCE_DISK": "0.0",
        "MARATHON_APP_RESOURCE_GPUS": "0",
        "MARATHON_APP_LABELS": "HAPROXY_0_VHOST TEAM",
        "MARATHON_APP_LABEL_TEAM": "a",
        "MARATHON_APP_LABEL_HAPROXY_0_VHOST": "x.localhost",
        "HOST": "10.0.0.1",
        "PORT": "31010",
        "PORTS": "31010,31011",
        "PORT0": "mine",
        "PORT1": "31011",
        "PORT_10000": "31010",
        "PORT_10001": "31011",
        "PORT_HTTP_API": "31010",
    }
    known = {"vault/db": Secret(value=b"s3cret", since=0.0)}
    told = environment(wish, mine, node(), replace(world(apps=[wish]), secrets=known))
    assert told["PASSWORD"] == "s3cret" and "OTHER" not in told


def test_environment_of_a_container_names_its_image_and_its_own_ports() -> None:
    wish = app(
        port_definitions=None,
        container=Container(
            docker=Docker(image="nginx:1"), port_mappings=(PortMapping(container_port=80, service_port=10_000),)
        ),
    )
    found = environment(wish, task(wish, ports=(31010,)), node(), world(apps=[wish]))
    assert (found["MARATHON_APP_DOCKER_IMAGE"], found["PORT_80"], found["PORT0"]) == ("nginx:1", "31010", "31010")


def test_a_container_on_a_network_of_its_own_is_told_where_it_listens_there() -> None:
    mappings = (PortMapping(container_port=5000, service_port=10_000), PortMapping(container_port=0))
    wish = app(
        port_definitions=None,
        networks=(Network(mode="container", name="default"),),
        container=Container(docker=Docker(image="nginx:1"), port_mappings=mappings),
    )
    found = environment(wish, task(wish, ports=(31010, 31011)), node(), world(apps=[wish]))
    assert (found["PORT"], found["PORT0"], found["PORT1"], found["PORTS"]) == (
        "5000",
        "5000",
        "31011",
        "5000,31011",
    )
    assert "HOST" not in found, "it would listen on the machine's address, which is not there"


def test_environment_says_where_dependencies_are_reached() -> None:
    db = app("/g/data/my-db", port_definitions=PORTS)
    cache = app("/g/data/cache", ports=1)
    quiet = app("/g/data/quiet")
    wish = app("/g/web", dependencies=("/g/data",), env={"CACHE_HOST": "own"})
    cell = world(
        apps=[db, cache, quiet, wish],
        borders=[BorderAck(node="n1", seq=0, address="10.0.0.9"), BorderAck(node="n2", seq=0, address="10.0.0.2")],
    )
    found = environment(wish, task(wish), node("n2"), cell)
    assert (found["MY_DB_HOST"], found["MY_DB_PORT"], found["MY_DB_PORT_1"]) == ("10.0.0.2", "10000", "10001")
    assert (found["CACHE_HOST"], found["CACHE_PORT"]) == ("own", "10000")
    assert not [name for name in found if name.startswith("QUIET")]
    assert environment(wish, task(wish), node("n9"), cell)["MY_DB_HOST"] == "10.0.0.9"


def test_environment_names_what_is_on_one_network_by_its_own_name_and_port() -> None:
    shared, bridge = (Network(mode="container", name="default"),), (Network(mode="container/bridge"),)

    def contained(id: str, networks: tuple[Network, ...], **more: Any) -> App:
        mappings = (PortMapping(container_port=6379, service_port=10007),)
        return app(id, networks=networks, container=Container(port_mappings=mappings), **more)

    redis, silent = contained("/shop/redis", shared), app("/shop/silent", networks=shared)
    wish = contained("/shop/web", shared, dependencies=("/shop/redis", "/shop/silent"))
    apart = contained("/shop/apart", bridge, dependencies=("/shop/redis",))
    other = contained("/other/web", shared, dependencies=("/shop/redis",))
    cell = world(apps=[redis, silent, wish, apart, other])
    found = {each.id: environment(each, task(each), node(), cell) for each in (wish, apart, other)}
    assert (found["/shop/web"]["REDIS_HOST"], found["/shop/web"]["REDIS_PORT"]) == ("redis", "6379")
    assert found["/shop/web"]["SILENT_HOST"] == "silent" and "SILENT_PORT" not in found["/shop/web"]
    for id in ("/shop/apart", "/other/web"):
        assert (found[id]["REDIS_HOST"], found[id]["REDIS_PORT"]) == ("127.0.0.1", "10007")


def test_environment_of_a_docker_container_on_a_network_names_what_is_elsewhere() -> None:
    shared, bridge = (Network(mode="container", name="default"),), (Network(mode="container/bridge"),)
    redis = app("/shop/redis", port_definitions=PORTS)

    def contained(id: str, networks: tuple[Network, ...]) -> App:
        container = Container(type="DOCKER", docker=Docker(image="web:1"))
        return app(id, networks=networks, container=container, dependencies=("/shop/redis",))

    wishes = contained("/shop/web", shared), contained("/shop/apart", bridge)
    cell = world(apps=[redis, *wishes])
    found = [environment(each, task(each), node(), cell) for each in wishes]
    assert [each["REDIS_HOST"] for each in found] == ["redis.shop.kato", "127.0.0.1"]
    assert {each["REDIS_PORT"] for each in found} == {"10000"}


def test_frontends_show_what_serves_and_what_drains() -> None:
    wish = app(
        port_definitions=PORTS, labels={"HAPROXY_0_VHOST": "a.localhost, b.localhost", "HAPROXY_0_PATH": "/x"}
    )
    tasks = [
        task(wish, 1, id="a-serves"),
        task(wish, 2, id="b-drains", goal="drain"),
        task(wish, 3, id="c-stops", goal="stop"),
        task(wish, 4, id="d-not-ready"),
        task(wish, 5, id="e-ill"),
        task(wish, 6, id="f-starts"),
        task(wish, 7, id="g-ended", goal="drain"),
    ]
    facts = [
        status(tasks[0]),
        status(tasks[1]),
        status(tasks[2]),
        status(tasks[3], ready=False),
        status(tasks[4], alive=False),
        status(tasks[5], TaskState.STARTING),
        status(tasks[6], TaskState.FAILED),
    ]
    view = frontends(world(apps=[wish], nodes=[node(address="10.0.0.1")], tasks=tasks, statuses=facts, seq=4))
    assert view.seq == 4
    assert view.services == (
        Service(
            app="/web",
            index=0,
            port=10_000,
            hosts=("a.localhost", "b.localhost"),
            path="/x",
            servers=(Server("a-serves", "10.0.0.1", 31010), Server("b-drains", "10.0.0.1", 31020, "drain")),
        ),
    )


def test_frontends_find_the_port_of_an_older_version_by_its_service_port() -> None:
    old = app(port_definitions=(PortDefinition(port=7), PortDefinition(port=10_000)))
    new = app(version=V2, port_definitions=(PortDefinition(port=10_000), PortDefinition(port=8)))
    mine = task(old, id="old")
    cell = world(apps=[new], old=[old], nodes=[node()], tasks=[mine], statuses=[status(mine)])
    assert [(each.port, each.leaving, [s.port for s in each.servers]) for each in frontends(cell).services] == [
        (10_000, False, [31011]),
        (8, False, []),
        (7, True, [31010]),
    ]


def test_frontends_go_on_where_a_service_port_got_another_number_and_keep_the_old_one_for_its_sessions() -> None:
    old = app(port_definitions=(PortDefinition(port=10_000),))
    new = app(version=V2, port_definitions=(PortDefinition(port=10_005),), labels={"HAPROXY_0_VHOST": "x"})
    mine = task(old, id="old")
    cell = world(apps=[new], old=[old], nodes=[node()], tasks=[mine], statuses=[status(mine)])
    assert frontends(cell).services == (
        Service("/web", 0, 10_005, ("x",), servers=(Server("old", "127.0.0.1", 31010),)),
        Service("/web", 0, 10_000, servers=(Server("old", "127.0.0.1", 31010, "drain"),), leaving=True),
    )
    stopped = msgspec.structs.replace(mine, goal="stop")
    cell = world(apps=[new], old=[old], nodes=[node()], tasks=[stopped], statuses=[status(mine)])
    assert [(each.port, each.servers) for each in frontends(cell).services] == [(10_005, ())]


def test_frontends_keep_a_removed_app_while_a_task_of_it_may_have_sessions() -> None:
    old, new = app(ports=1, labels={"HAPROXY_0_VHOST": "old"}), app(version=V2, ports=2)
    tasks = [
        task(old, 1, id="a-runs"),
        task(new, 2, id="b-drains", goal="drain"),
        task(new, 3, id="c-stops", goal="stop"),
        task(new, 4, id="d-starts"),
    ]
    facts = [status(each) for each in tasks[:3]]
    gone = world(old=[old, new], nodes=[node()], tasks=tasks, statuses=facts)
    a, b = Server("a-runs", "127.0.0.1", 31010, "drain"), Server("b-drains", "127.0.0.1", 31020, "drain")
    second = Server("b-drains", "127.0.0.1", 31021, "drain")
    assert frontends(gone).services == (
        Service("/web", 0, 10_000, servers=(a, b), leaving=True),
        Service("/web", 1, 10_001, servers=(second,), leaving=True),
    )
    ended = [status(each, TaskState.KILLED) for each in tasks[:2]]
    assert frontends(world(old=[old, new], nodes=[node()], tasks=tasks, statuses=ended)).services == ()
    assert frontends(world(nodes=[node()], tasks=tasks, statuses=facts)).services == ()


def test_frontends_with_what_is_recalled_are_the_same() -> None:
    recall, wish = Recall(), app(ports=1)
    mine = task(wish)
    for facts in ([], [status(mine)], [status(mine, TaskState.FAILED)]):
        for apps in ([wish], []):
            cell = world(apps=apps, old=[wish], nodes=[node()], tasks=[mine], statuses=facts)
            assert frontends(cell, recall) == frontends(cell)


def test_why_names_the_filter_the_task_and_the_last_failure() -> None:
    wish = app(instances=3, cpus=2.0, ports=1)
    ill, fine = task(wish, 1, id="ill"), task(wish, 2, id="fine")
    fact = status(ill, health=(Health(alive=False, cause="connection refused"),))
    cell = world(
        apps=[app(instances=3, cpus=2.0, ports=1, health_checks=(HealthCheck(),))],
        nodes=[node(cpus=4.0)],
        tasks=[ill, fine],
        statuses=[fact, status(fine, alive=True)],
    )
    found = why(cell, decide(cell, 0.0), "/web", 0.0)
    assert (found.wished, found.healthy) == (3, 1)
    assert found.sentences == (
        "/web waits for 1 task: needs 2 cpus: n1 has 4 (0 free).",
        "ill on n1 is not healthy: its HTTP check says connection refused.",
    )
    with pytest.raises(NotFound, match="App '/x' does not exist"):
        why(cell, decide(cell, 0.0), "/x", 0.0)


def test_why_of_what_is_well_says_so() -> None:
    wish = app()
    mine = task(wish)
    cell = world(apps=[wish], nodes=[node()], tasks=[mine], statuses=[status(mine)])
    assert why(cell, decide(cell, 0.0), "/web", 0.0).sentences == ("1 of 1 tasks are healthy.",)


def test_why_of_a_bad_rollout_says_who_serves_meanwhile() -> None:
    checks = (HealthCheck(protocol="TCP", delay_seconds=15),)
    old = app(instances=2, health_checks=checks)
    new = app(instances=2, health_checks=checks, version=V2)
    first, second, third = task(old, 1), task(old, 2), task(new, 3, created=100.0)
    facts = [
        status(first, alive=True),
        status(second, alive=True),
        status(third, health=(Health(cause="refused"),)),
    ]
    cell = world(apps=[new], old=[old], nodes=[node()], tasks=[first, second, third], statuses=facts)
    found = why(cell, decide(cell, 0.0), "/web", 200.0)
    assert found.healthy == 0
    assert found.sentences == (
        "web.3 on n1 is not healthy: its TCP check says refused.",
        f"2 tasks of version {V1} still serve, until newer ones do.",
    )
    assert [(each.task, each.newest) for each in found.ailing] == [(third.id, True)]
    sick = [status(first, health=(Health(cause="timeout"),)), *facts[1:]]
    worse = why(
        world(apps=[new], old=[old], nodes=[node()], tasks=[first, second], statuses=sick), Plan(), "/web", 0.0
    )
    assert worse.sentences[:2] == (
        f"web.1 of version {V1} on n1 is not healthy: its TCP check says timeout.",
        f"1 task of version {V1} still serves, until newer ones do.",
    )


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (100.2, "is checked first 15 s after its start (HTTP): in 15 s."),
        (114.5, "is checked first 15 s after its start (HTTP): in 1 s."),
        (115.0, "waits for its first HTTP check, which may take 20 s."),
    ],
)
def test_why_of_a_young_task_says_when_it_is_checked_first(now: float, said: str) -> None:
    wish = app(health_checks=(HealthCheck(),))
    mine = task(wish, created=100.0)
    cell = world(apps=[wish], nodes=[node()], tasks=[mine], statuses=[status(mine, alive=False)])
    assert why(cell, Plan(), "/web", now).sentences == (f"web.1 on n1 {said}",)


@pytest.mark.parametrize(
    ("goal", "more", "said"),
    [
        ("run", {}, "still runs, and is taken out of service next"),
        ("drain", {}, "ends when its last connections have, at the latest in 3 s"),
        ("stop", {}, "has been asked to end, and is killed in 18 s if it has not"),
        ("stop", {"dark": frozenset({"n1"})}, "ends once n1 answers again"),
        (
            "stop",
            {"nodes": [node(runtimes=(), notes=("process: It is silent.",))]},
            "ends once the process runtime answers again: It is silent",
        ),
    ],
)
def test_why_of_an_app_that_is_being_removed_says_what_its_tasks_wait_for(
    goal: Any, more: dict[str, Any], said: str
) -> None:
    gone = app(task_kill_grace_period_seconds=20)
    left = task(gone, goal=goal, goal_since=100.0)
    given: dict[str, Any] = {"old": [gone], "nodes": [node()], "tasks": [left], "statuses": [status(left)]}
    cell = world(**(given | more))
    found = why(cell, Plan(), "/web", 102.0)
    assert found.sentences == ("/web is being removed.", f"web.1 on n1 {said}.")
    assert (found.wished, found.healthy) == (0, 0)


def test_queue_tells_delay_from_lack_of_room() -> None:
    late, large = app("/late"), app("/large", cpus=99.0, instances=2)
    cell = world(
        apps=[late, large, app("/fine")],
        nodes=[node()],
        launches=[Launches(app="/late", attempts=1, config=V1, failures=1, until=11.0)],
    )
    found = queue(cell, decide(cell, 10.0), 10.0)
    assert [(each.app.id, each.count, each.left, each.overdue) for each in found] == [
        ("/large", 2, 0.0, True),
        ("/late", 1, 1.0, False),
    ]
    assert [str(refusal) for refusal in found[0].refusals] == ["needs 99 cpus: n1 has 4 (3.9 free)"]


def test_frontends_are_found_anew_only_for_what_shows_in_them() -> None:
    recall = Recall()
    apps = [app("/a", ports=1), app("/b", ports=1)]
    tasks = [task(each) for each in apps]
    checked = [status(each, alive=True) for each in tasks]
    cell = world(apps=apps, nodes=[node()], tasks=tasks, statuses=checked)
    first = frontends(cell, recall)
    again = msgspec.structs.replace(checked[0], seq=2, health=(Health(alive=True, last_success=9.0),))
    busy = replace(
        cell,
        seq=5,
        statuses={**cell.statuses, "/a": {tasks[0].id: again}},
        nodes={"n1": node(taken=(31000,))},
    )
    second = frontends(busy, recall)
    assert second.seq == 5 and second.services == first.services
    assert all(was is now for was, now in zip(first.services, second.services, strict=True))
    moved = frontends(replace(busy, nodes={"n1": node(address="10.0.0.7")}), recall)
    assert [server.address for service in moved.services for server in service.servers] == ["10.0.0.7"] * 2
