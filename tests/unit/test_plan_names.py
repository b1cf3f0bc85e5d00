"""Worlds go in, and what name servers answer comes out."""

from builders import V2, app, node, status, task, world
from kato.drivers.dns import wire
from kato.drivers.dns.forward import answers, nameservers
from kato.model.app import Container, Network, PortDefinition, PortMapping
from kato.model.names import AppNames, Target
from kato.model.task import TaskState
from kato.plan import Recall, names
from kato.plan.names import host_name


def test_an_app_and_its_tasks_have_names_and_their_ports_services() -> None:
    redis = app("/voting/redis", port_definitions=(PortDefinition(port=6379, name="main"),))
    tasks = [task(redis, 1), task(redis, 2, on="n2", incarnation=3)]
    cell = world(
        apps=[redis],
        nodes=[node("n1", address="10.0.0.1"), node("n2", address="fd00::1")],
        tasks=tasks,
        statuses=map(status, tasks),
        revision=9,
    )
    view = names(cell)
    behind = (Target("1.redis.voting.kato", 31010), Target("2-3.redis.voting.kato", 31020))
    assert view.seq == 9
    assert view.apps == {
        "/voting/redis": AppNames(
            "/voting/redis",
            "redis.voting.kato",
            {
                "1.redis.voting.kato": ("10.0.0.1",),
                "2-3.redis.voting.kato": ("fd00::1",),
                "redis.voting.kato": ("10.0.0.1", "fd00::1"),
            },
            {"_main._redis._tcp.voting.kato": behind, "_redis._tcp.voting.kato": behind},
            {"_main._redis._tcp.voting.kato": (6379,), "_redis._tcp.voting.kato": (6379,)},
        )
    }


def test_only_what_serves_is_named() -> None:
    web = app("/web", ports=1)
    tasks = [task(web, n) for n in range(1, 7)]
    tasks += [task(web, 7, goal="drain"), task(web, 8, goal="stop"), task(web, 9)]
    facts = [
        status(tasks[0], alive=True),
        status(tasks[1], alive=False),
        status(tasks[2], ready=False),
        *(status(tasks[n], state) for n, state in ((3, TaskState.STARTING), (4, TaskState.FAILED))),
        status(tasks[5], TaskState.KILLING),
        *map(status, tasks[6:8]),
    ]
    found = names(world(apps=[web], nodes=[node()], tasks=tasks, statuses=facts)).apps["/web"]
    assert found.hosts == {"web.kato": ("127.0.0.1",), "1.web.kato": ("127.0.0.1",)}
    assert found.services == {"_web._tcp.kato": (Target("1.web.kato", 31010),)}


def test_an_app_without_a_task_has_its_name_and_a_removed_one_has_what_still_serves() -> None:
    web, gone = app("/web"), app("/gone")
    left = task(gone)
    found = names(world(apps=[web], old=[gone], nodes=[node()], tasks=[left], statuses=[status(left)])).apps
    assert found["/web"].hosts == {"web.kato": ()}
    assert found["/gone"].hosts == {"gone.kato": ("127.0.0.1",), "1.gone.kato": ("127.0.0.1",)}
    assert names(world(old=[gone], nodes=[node()], tasks=[left])).apps["/gone"].hosts == {}


def test_ports_are_those_of_the_version_that_a_task_runs() -> None:
    old = app("/a", port_definitions=(PortDefinition(port=1, protocol="udp"),))
    new = app("/a", version=V2, port_definitions=(PortDefinition(port=1, protocol="udp,tcp"),))
    tasks = [task(old, 1), task(new, 2)]
    found = names(world(apps=[new], old=[old], nodes=[node()], tasks=tasks, statuses=map(status, tasks)))
    assert {name: [each.port for each in targets] for name, targets in found.apps["/a"].services.items()} == {
        "_a._tcp.kato": [31020],
        "_a._udp.kato": [31010, 31020],
    }


def test_a_container_s_host_ports_are_named() -> None:
    bridged = app(
        "/c",
        networks=(Network(mode="container/bridge"),),
        container=Container(port_mappings=(PortMapping(container_port=80, service_port=10001),)),
    )
    one = task(bridged)
    found = names(world(apps=[bridged], nodes=[node()], tasks=[one], statuses=[status(one)])).apps["/c"]
    assert found.services == {"_c._tcp.kato": (Target("1.c.kato", 31010),)}


def test_an_id_that_can_be_no_name_has_none() -> None:
    assert host_name("/" + "x" * 64) is None and host_name("/" + "x" * 63) == "x" * 63 + ".kato"
    assert host_name("/abcd" * 49 + "/abcd") is None
    assert host_name("/a/b.c") == "b.c.a.kato"
    long = app("/" + "x" * 63, ports=1)
    one = task(long)
    found = names(world(apps=[long], nodes=[node()], tasks=[one], statuses=[status(one)])).apps[long.id]
    assert set(found.hosts) == {"x" * 63 + ".kato", "1." + "x" * 63 + ".kato"} and not found.services


def test_a_node_whose_address_is_no_ip_address_has_no_names() -> None:
    web = app()
    one = task(web)
    cell = world(apps=[web], nodes=[node(address="n1.example")], tasks=[one], statuses=[status(one)])
    assert names(cell).apps["/web"].hosts == {"web.kato": ()}


def test_what_did_not_change_is_the_same_object() -> None:
    web, back = app(), app("/back")
    one = task(web)
    recall = Recall()
    cell = world(apps=[web, back], nodes=[node()], tasks=[one], statuses=[status(one)])
    first = names(cell, recall).apps
    later = world(apps=[web, back], nodes=[node()], tasks=[one], statuses=[status(one, TaskState.FAILED)])
    second = names(later, recall).apps
    assert second["/web"].hosts == {"web.kato": ()} and first["/back"] is second["/back"]


def test_only_the_answer_to_a_question_is_taken_for_it() -> None:
    query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"
    reply = query[:2] + b"\x81\x80" + query[4:]
    assert answers(reply, query)
    assert not any(
        answers(each, query)
        for each in (
            b"",
            query,
            b"\0\0" + reply[2:],
            reply[:12] + b"\1b" + reply[14:],
            reply[:4] + b"\0\0" + reply[6:],
        )
    )


def test_resolvers_are_read_as_libc_reads_them() -> None:
    text = (
        "# nameserver 192.0.2.9\n; x\nsearch kato\nnameserver\t192.0.2.1 x\n nameserver fe80::1%eth0\nnameserver\n"
    )
    assert nameservers(text + "nameserver nobody.example\noptions edns0\n") == ["192.0.2.1", "fe80::1%eth0"]


def test_above_a_name_are_all_its_parents() -> None:
    assert list(wire.ancestors(wire.wire_name("a.bc.kato"))) == [
        *(b"\1a\2bc\4kato\0", b"\2bc\4kato\0", b"\4kato\0", b"\0")
    ]
