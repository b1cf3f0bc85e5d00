"""Marathon's JSON becomes Apps: old words and new, groups, partial updates, and every fault with its path."""

from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest

from kato.language import read
from kato.language.marathon import Tree, documents, merge, read_app, read_apps, read_group
from kato.language.shape import Malformed, steps, written
from kato.language.wire import app_document
from kato.model.app import App, Artifact, Network, PortDefinition, PortMapping, UpgradeStrategy, VersionInfo
from kato.model.deployment import GroupRecord
from kato.model.errors import InvalidApp, InvalidInput


def app(**more: Any) -> App:
    """An app read as the API reads it, with a command unless it has an image."""
    return read_app({"id": "/a", **({} if "container" in more else {"cmd": "x"}), **more})


def faults(call: Any, *args: Any, **more: Any) -> dict[str, str]:
    """Path → message of what a call raises."""
    with pytest.raises(InvalidApp) as caught:
        call(*args, **more)
    return {fault.path: fault.message for fault in caught.value.faults}


def docker(**more: Any) -> dict[str, Any]:
    return {"type": "DOCKER", "docker": {"image": "i", **more}}


def test_host_mode_without_ports_gets_one_named_default() -> None:
    found = app()
    assert found.networks == (Network(mode="host"),)
    assert found.port_definitions == (PortDefinition(port=0, name="default"),)
    assert app(portDefinitions=[]).ports == () == app(ports=[]).ports


def test_old_words_become_new_ones() -> None:
    found = app(
        ports=[0, 8080],
        uris=["http://x/a.tgz", "http://x/b.py"],
        networks=None,
        args=None,
    )
    assert [port.service for port in found.ports] == [0, 8080]
    assert found.fetch == (
        Artifact(uri="http://x/a.tgz", extract=True),
        Artifact(uri="http://x/b.py", extract=False),
    )


@pytest.mark.parametrize(("network", "mode"), [("HOST", "host"), ("BRIDGE", "container/bridge"), (None, "host")])
def test_docker_network_becomes_networks(network: str | None, mode: str) -> None:
    found = app(container=docker(network=network))
    assert [each.mode for each in found.networks] == [mode]


def test_docker_port_mappings_move_up_and_a_bridge_gives_host_ports() -> None:
    found = app(container=docker(network="BRIDGE", portMappings=[{"containerPort": 80, "servicePort": 10000}]))
    assert found.container is not None
    assert found.container.port_mappings == (PortMapping(container_port=80, host_port=0, service_port=10000),)
    assert found.port_definitions is None


def test_a_bridge_without_mappings_gets_one_and_ports_of_older_marathons_are_no_contradiction() -> None:
    found = app(container=docker(network="BRIDGE"), ports=[10001])
    assert found.container is not None
    assert found.container.port_mappings == (PortMapping(container_port=0, host_port=0, name="default"),)


def test_an_ip_address_becomes_a_network_and_its_ports_mappings() -> None:
    found = app(
        ipAddress={
            "networkName": "blue",
            "labels": {"a": "b"},
            "discovery": {"ports": [{"number": 80, "name": "http"}]},
        }
    )
    assert found.networks == (Network(mode="container", name="blue", labels={"a": "b"}),)
    assert found.container is not None and found.container.type == "MESOS"
    assert found.container.port_mappings == (PortMapping(container_port=80, name="http"),)


def test_a_network_without_a_mode_is_a_container_network() -> None:
    assert app(networks=[{"name": "blue"}]).networks == (Network(mode="container", name="blue"),)


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"uris": ["a"], "fetch": [{"uri": "b"}]}, "/uris"),
        ({"ports": [1], "portDefinitions": [{"port": 2}]}, "/ports"),
        ({"container": docker(network="HOST"), "networks": [{"mode": "host"}]}, "/container/docker/network"),
        ({"container": docker(network="NONE")}, "/container/docker/network"),
        ({"ipAddress": {}, "networks": [{"mode": "host"}]}, "/ipAddress"),
        ({"ipAddress": {}, "ports": [1]}, "/ipAddress"),
        (
            {
                "networks": [{"mode": "container/bridge"}],
                "container": {"portMappings": [{}], **docker(portMappings=[{}])},
            },
            "/container/docker/portMappings",
        ),
        ({"networks": [{"mode": "container/bridge"}], "portDefinitions": [{}]}, "/portDefinitions"),
        ({"container": {"portMappings": [{}], **docker()}}, "/container/portMappings"),
    ],
)
def test_mixing_old_and_new_is_refused(more: dict[str, Any], path: str) -> None:
    assert path in faults(app, **more)


def test_volumes_change_the_upgrade_and_residency() -> None:
    persistent = app(
        cmd="x",
        container={"type": "MESOS", "volumes": [{"containerPath": "d", "persistent": {"size": 1}}]},
    )
    assert persistent.upgrade_strategy == UpgradeStrategy(minimum_health_capacity=0.5, maximum_over_capacity=0)
    assert persistent.residency is not None and persistent.residency["taskLostBehavior"] == "WAIT_FOREVER"
    assert persistent.unreachable_strategy == "disabled"
    external = app(
        cmd="x",
        container={
            "type": "MESOS",
            "volumes": [{"containerPath": "d", "external": {"name": "n", "provider": "kato"}}],
        },
        upgradeStrategy={"minimumHealthCapacity": 0},
    )
    assert external.upgrade_strategy == UpgradeStrategy(minimum_health_capacity=0, maximum_over_capacity=0)
    assert external.residency is None
    volume = {"containerPath": "d", "external": {"name": "n", "provider": "kato"}, "mode": "RO"}
    read = app(cmd="x", container={"type": "MESOS", "volumes": [volume]})
    assert read.upgrade_strategy == UpgradeStrategy() and not read.resident


def test_health_checks_get_the_first_port() -> None:
    found = app(
        healthChecks=[{"protocol": "TCP"}, {"protocol": "COMMAND", "command": {"value": "x"}}, {"port": 80}]
    )
    assert [check.port_index for check in found.health_checks] == [0, None, None]


def test_every_wrong_type_is_found_with_its_path() -> None:
    found = faults(
        read_app,
        {
            "id": "/a",
            "cpus": "1",
            "instances": 1.5,
            "env": {"A": 1},
            "healthChecks": [{}, {"protocol": "http"}],
            "upgradeStrategy": 3,
            "unreachableStrategy": "on",
            "constraints": [["a", 1]],
            "container": {"volumes": [{}]},
        },
    )
    assert found == {
        "/cpus": 'must be a number, not "1"',
        "/instances": "must be a whole number, not 1.5",
        "/env/A": 'must be text or {"secret": "name"}, not 1',
        "/healthChecks(1)/protocol": "must be one of COMMAND, HTTP, HTTPS, MESOS_HTTP, MESOS_HTTPS, MESOS_TCP, "
        "TCP, not \"http\". Did you mean 'HTTP'?",
        "/upgradeStrategy": "must be an object, not 3",
        "/unreachableStrategy": 'must be "disabled" or have inactiveAfterSeconds and expungeAfterSeconds, '
        'not "on"',
        "/constraints(0)(1)": "must be text, not 1",
        "/container/volumes(0)/containerPath": "is missing",
    }


def test_a_wrong_shape_is_told_from_a_broken_rule() -> None:
    with pytest.raises(Malformed):
        read_app({"id": "/a", "cmd": 3})
    with pytest.raises(InvalidApp) as caught:
        read_app({"id": "/a"})
    assert not isinstance(caught.value, Malformed)


@pytest.mark.parametrize("data", [None, 3, "x", [], {}, {"id": None}, {"cmd": "x"}])
def test_what_is_no_app_is_malformed(data: object) -> None:
    with pytest.raises(Malformed):
        read_app(data)


def test_nested_too_deep_is_malformed() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"x": deep}
    with pytest.raises(Malformed):
        read_app({"id": "/a", "cmd": "x", "residency": deep})


def test_the_api_ignores_what_a_get_adds_and_nulls_and_files_do_not_take_unknown_keys() -> None:
    data = {"id": "/a", "cmd": "x", "tasksRunning": 1, "deployments": [], "version": "v", "args": None, "zzz": {}}
    assert read_app(data) == app()
    assert set(faults(read_app, data, strict=True)) == {"/tasksRunning", "/deployments", "/zzz"}
    assert faults(read_app, {"id": "/a", "cmd": "x", "instancs": 1}, strict=True) == {
        "/instancs": "'instancs' is not a key here. Did you mean 'instances'?"
    }


def test_33_0_is_a_whole_number() -> None:
    assert app(instances=33.0).instances == 33


def test_relative_ids_and_dependencies() -> None:
    found = read_app({"id": "web", "cmd": "x", "dependencies": ["../db", "/x/y"]}, base="/shop")
    assert (found.id, found.dependencies) == ("/shop/web", ("/shop/db", "/x/y"))


def test_a_list_of_apps_has_paths_with_indexes() -> None:
    assert len(read_apps([{"id": "a", "cmd": "x"}, {"id": "b", "cmd": "x"}])) == 2
    assert set(faults(read_apps, [{"id": "a", "cpus": "x"}, {"id": 3}])) == {"(0)/cpus", "(1)/id"}
    assert set(faults(read_apps, [{"id": "a", "cmd": "x"}, {"id": "b", "cpus": 0}])) == {"(1)", "(1)/cpus"}
    assert "/id" in faults(read_apps, [{"id": "a", "cmd": "x"}, {"id": "a", "cmd": "x"}])


GROUP = {
    "id": "/shop",
    "dependencies": ["/base"],
    "apps": [{"id": "web", "cmd": "x", "dependencies": ["../data/db"]}],
    "groups": [{"id": "data", "apps": [{"id": "db", "cmd": "x"}], "groups": [{"id": "/shop/data/empty"}]}],
}


def test_a_group_is_read_whole() -> None:
    tree = read_group(GROUP, strict=True)
    assert tree.id == "/shop"
    assert [each.id for each in tree.apps] == ["/shop/web", "/shop/data/db"]
    assert tree.apps[0].dependencies == ("/shop/data/db",)
    assert tree.groups == (
        GroupRecord(id="/shop", version="", dependencies=("/base",)),
        GroupRecord(id="/shop/data", version=""),
        GroupRecord(id="/shop/data/empty", version=""),
    )
    assert read_group(documents(tree), strict=True) == tree


def test_a_group_without_an_id_is_where_it_is_put() -> None:
    assert read_group({"apps": [{"id": "a", "cmd": "x"}]}, base="/g").apps[0].id == "/g/a"
    assert read_group({"id": "h"}, base="/g") == Tree("/g/h", (), (GroupRecord(id="/g/h", version=""),))
    assert read_group({}, base="/") == Tree("/", (), ())


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({"apps": [{"id": "/other/a", "cmd": "x"}]}, {"/apps(0)/id"}),
        ({"groups": [{"id": "/other"}]}, {"/groups(0)/id"}),
        ({"groups": [{"id": "A"}]}, {"/groups(0)/id"}),
        ({"pods": [{"id": "p"}]}, {"/pods"}),
        ({"groups": [{"id": "b", "apps": [{"id": "a"}]}]}, {"/groups(0)/apps(0)"}),
        ({"apps": [{"id": "a", "cmd": "x"}], "groups": [{"id": "a"}]}, {"/id"}),
        ({"apps": [{"id": f"{a}", "cmd": "x", "dependencies": [f"../{b}"]} for a, b in ("ab", "ba")]},
         {"/dependencies"}),
    ],
)  # fmt: skip
def test_faults_of_a_group(data: dict[str, Any], paths: set[str]) -> None:
    assert set(faults(read_group, data, base="/g")) == paths


def test_a_partial_update_keeps_the_rest() -> None:
    old = app(cpus=2, env={"A": "1"}, ports=[80])
    assert read_app(merge(old, {"instances": 3})) == msgspec.structs.replace(old, instances=3)
    assert read_app(merge(old, {})) == old
    assert read_app(merge(old, {"env": {"B": "2"}})).env == {"B": "2"}
    assert read_app(merge(old, {"cpus": None})).cpus == 1
    assert read_app(merge(old, {"id": "/other"})).id == "/a"


@pytest.mark.parametrize(
    "patch",
    [
        {"args": ["y"]},
        {"ports": [90]},
        {"uris": ["http://x"]},
        {"ipAddress": {"networkName": "n"}},
        {"networks": [{"mode": "container/bridge"}], "container": docker()},
        {"container": docker(network="BRIDGE", portMappings=[{"containerPort": 80}])},
    ],
)
def test_a_partial_update_with_a_word_that_excludes_another_drops_that(patch: dict[str, Any]) -> None:
    old = app(ports=[80], fetch=[{"uri": "http://y"}])
    assert read_app(merge(old, patch)) != old


def test_back_to_the_host_network() -> None:
    old = app(container=docker(network="BRIDGE"))
    found = read_app(merge(old, {"networks": [{"mode": "host"}]}))
    assert found.port_definitions == (PortDefinition(port=0, name="default"),)


def test_the_document_leaves_out_what_is_not_set_and_writes_whole_numbers() -> None:
    document = app_document(app(cpus=2, mem=0.5))
    assert not {"executorResources", "check", "resourceLimits", "tty", "user", "args", "version"} & document.keys()
    assert (document["cpus"], document["mem"], type(document["cpus"])) == (2, 0.5, int)
    assert document["labels"] == {} and document["healthChecks"] == []
    assert document["portDefinitions"] == [{"port": 0, "protocol": "tcp", "name": "default"}]


def test_the_document_of_a_version_and_of_health_checks_is_whole() -> None:
    info = VersionInfo(last_scaling_at="s", last_config_change_at="c")
    found = msgspec.structs.replace(app(healthChecks=[{"path": "/"}]), version="v", version_info=info)
    document = app_document(found)
    assert (document["version"], document["versionInfo"]) == (
        "v",
        {"lastScalingAt": "s", "lastConfigChangeAt": "c"},
    )
    assert document["healthChecks"][0] == {
        "protocol": "HTTP",
        "path": "/",
        "portIndex": 0,
        "gracePeriodSeconds": 300,
        "intervalSeconds": 60,
        "timeoutSeconds": 20,
        "maxConsecutiveFailures": 3,
        "delaySeconds": 15,
        "ignoreHttp1xx": False,
    }


@pytest.mark.parametrize("path", [(), ("a",), ("a", 0, "b"), (0, "a"), ("a", 1, 2)])
def test_paths_in_marathons_manner(path: tuple[str | int, ...]) -> None:
    assert steps(written(path)) == path


def load(text: str, name: str = "m.yaml") -> Any:
    return read(text, path=str(PurePosixPath("/srv", name)), environ={}, files=lambda _path: None)


def test_files_are_told_by_shape() -> None:
    one = load("id: /a\ncmd: x\n")
    assert (one.group, [each.id for each in one.apps]) == (None, ["/a"])
    assert one.plan_body == {"apps": one.body()} and one.body()[0]["id"] == "/a"
    several = load('[{"id": "a", "cmd": "x"}, {"id": "b", "cmd": "x"}]', "m.json")
    assert (several.group, len(several.apps)) == (None, 2)
    group = load("id: /shop\napps:\n- {id: web, cmd: x}\n")
    assert (group.group, group.apps[0].id, [each.id for each in group.groups]) == ("/shop", "/shop/web", ["/shop"])


def test_faults_of_a_file_have_its_lines() -> None:
    with pytest.raises(InvalidApp) as caught:
        load("id: /shop\napps:\n- id: web\n  cmd: x\n  instancs: 2\n- id: db\n  cmd: x\n  cpus: many\n")
    assert [(fault.path, fault.message) for fault in caught.value.faults] == [
        ("/srv/m.yaml:5:3", "apps[0].instancs: 'instancs' is not a key here. Did you mean 'instances'?"),
        ("/srv/m.yaml:8:3", 'apps[1].cpus: must be a number, not "many"'),
    ]


def test_a_slip_in_the_top_key_gets_a_suggestion() -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'services'"):
        load("servics: {}\n")
