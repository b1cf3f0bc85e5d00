"""Every rule that an app must keep, by one app that breaks it; and what is wrong between apps."""

import math
from typing import Any

import pytest

from builders import app
from kato.model.app import (
    App,
    AppVolume,
    Artifact,
    Command,
    Container,
    Docker,
    External,
    HealthCheck,
    Network,
    Persistent,
    PortDefinition,
    PortMapping,
    ReadinessCheck,
    RestartPolicy,
    SecretRef,
    SecretSource,
    UnreachableStrategy,
    UpgradeStrategy,
)
from kato.model.groups import validate_group
from kato.model.patterns import matches
from kato.model.validate import validate, validate_id


def paths(found: App) -> list[str]:
    return [fault.path for fault in validate(found)]


def volumes(*found: AppVolume) -> dict[str, Any]:
    return {"container": Container(type="MESOS", volumes=found)}


def bridge(*mappings: PortMapping) -> dict[str, Any]:
    return {
        "networks": (Network(mode="container/bridge"),),
        "port_definitions": None,
        "container": Container(docker=Docker(image="i"), port_mappings=mappings),
    }


DISK = AppVolume(container_path="data", persistent=Persistent(size=10))
NAMED = AppVolume(container_path="data", external=External(name="v", provider="kato"))
CAREFUL = {"upgrade_strategy": UpgradeStrategy(maximum_over_capacity=0), "unreachable_strategy": "disabled"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ports": 2, "health_checks": (HealthCheck(port_index=1), HealthCheck(protocol="TCP", port=80))},
        {"cmd": None, "args": ("a", "")},
        {"cmd": None, **bridge(PortMapping(container_port=80, host_port=0))},
        {"health_checks": (HealthCheck(protocol="COMMAND", command=Command(argv=("x",))),)},
        {"env": {"A": SecretRef(secret="s")}, "secrets": {"s": SecretSource(source="x")}},
        {**volumes(DISK), **CAREFUL},
        {**volumes(NAMED, AppVolume(container_path="/x", host_path="/y")), **CAREFUL},
        volumes(AppVolume(container_path="data", external=External(name="v", provider="kato", shared=True))),
        {"constraints": (("hostname", "UNIQUE"), ("@zone", "GROUP_BY", "2"), ("a", "CLUSTER"), ("a", "IS", "1"))},
        {
            "constraints": (
                ("a", "LIKE", "r[0-9]+"),
                ("a", "UNLIKE", ".*"),
                ("a", "MAX_PER", "1"),
                ("a", "GROUP_BY"),
            )
        },
        {"constraints": (("hostname", "UNIQUE", ""),)},
        {"resource_limits": {"cpus": "unlimited", "mem": 64}},
        {"container": Container(docker=Docker(image="i"))},
        {"container": Container(type="MESOS", docker=Docker(image="i")), "cmd": None},
        {"networks": (Network(mode="container", name="a"), Network(mode="container", name="b"))} | {"ports": 0},
        {"dependencies": ("/nowhere",), "mem": 0.0},
        {"id": "/a/b-c/d.e.f/9"},
    ],
)
def test_valid(more: dict[str, Any]) -> None:
    assert validate(app(**more)) == []


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"id": "a"}, "/id"),
        ({"id": "/"}, "/id"),
        ({"id": "/A"}, "/id"),
        ({"id": "/a_b"}, "/id"),
        ({"id": "/-a"}, "/id"),
        ({"id": "/a//b"}, "/id"),
        ({"id": "/a/tasks"}, "/id"),
        ({"id": "/" + "a" * 200}, "/id"),
        ({"cmd": None}, "/"),
        ({"cmd": None, "args": ()}, "/"),
        ({"args": ("x",)}, "/"),
        ({"cmd": " "}, "/cmd"),
        ({"cmd": "a\0"}, "/cmd"),
        ({"cmd": None, "args": ("a", "\0")}, "/args(1)"),
        ({"cmd": None, "args": ("",)}, "/args(0)"),
        ({"env": {"A=": ""}}, "/env/A="),
        ({"env": {"": ""}}, "/env/"),
        ({"env": {"A": "\0"}}, "/env/A"),
        ({"env": {"A": SecretRef(secret="s")}}, "/env/A"),
        ({"secrets": {"s": SecretSource(source="")}}, "/secrets/s/source"),
        ({"instances": -1}, "/instances"),
        ({"instances": 10**400}, "/instances"),
        ({"cpus": 0.0}, "/cpus"),
        ({"cpus": math.nan}, "/cpus"),
        ({"mem": -1.0}, "/mem"),
        ({"mem": math.inf}, "/mem"),
        ({"disk": -1.0}, "/disk"),
        ({"gpus": -1}, "/gpus"),
        ({"backoff_seconds": -1.0}, "/backoffSeconds"),
        ({"backoff_factor": 0.5}, "/backoffFactor"),
        ({"max_launch_delay_seconds": -1.0}, "/maxLaunchDelaySeconds"),
        ({"task_kill_grace_period_seconds": -1.0}, "/taskKillGracePeriodSeconds"),
        ({"fetch": (Artifact(uri=""),)}, "/fetch(0)/uri"),
        ({"constraints": (("a",),)}, "/constraints(0)"),
        ({"constraints": (("a", "IS", "b", "c"),)}, "/constraints(0)"),
        ({"constraints": (("", "UNIQUE"),)}, "/constraints(0)"),
        ({"constraints": (("a", "UNIQUE"), ("a", "EQUALS", "b"))}, "/constraints(1)"),
        ({"constraints": (("a", "UNIQUE", "b"),)}, "/constraints(0)"),
        ({"constraints": (("a", "LIKE"),)}, "/constraints(0)"),
        ({"constraints": (("a", "UNLIKE", "["),)}, "/constraints(0)"),
        ({"constraints": (("a", "IS"),)}, "/constraints(0)"),
        ({"constraints": (("a", "MAX_PER"),)}, "/constraints(0)"),
        ({"constraints": (("a", "MAX_PER", "0"),)}, "/constraints(0)"),
        ({"constraints": (("a", "GROUP_BY", "two"),)}, "/constraints(0)"),
        ({"constraints": (("a", "GROUP_BY", "²"),)}, "/constraints(0)"),
        ({"container": Container()}, "/container/docker"),
        ({"container": Container(docker=Docker())}, "/container/docker/image"),
        (
            {"container": Container(docker=Docker(image="i", pull_config=SecretRef(secret="s")))},
            "/container/docker/pullConfig",
        ),
        (volumes(AppVolume(container_path="a")), "/container/volumes(0)"),
        (
            volumes(AppVolume(container_path="a", host_path="/b", external=NAMED.external)) | CAREFUL,
            "/container/volumes(0)",
        ),
        (volumes(AppVolume(container_path="", host_path="/b")), "/container/volumes(0)/containerPath"),
        (volumes(AppVolume(container_path="a/../..", host_path="/b")), "/container/volumes(0)/containerPath"),
        (volumes(NAMED, NAMED) | CAREFUL, "/container/volumes(1)/containerPath"),
        (volumes(AppVolume(container_path="a", host_path="")), "/container/volumes(0)/hostPath"),
        (volumes(AppVolume(container_path="a", secret="s")), "/container/volumes(0)/secret"),
        (
            volumes(AppVolume(container_path="a", external=External(provider="kato"))) | CAREFUL,
            "/container/volumes(0)/external/name",
        ),
        (
            volumes(AppVolume(container_path="a", external=External(name="../a", provider="kato"))) | CAREFUL,
            "/container/volumes(0)/external/name",
        ),
        (
            volumes(AppVolume(container_path="a", external=External(name="a"))) | CAREFUL,
            "/container/volumes(0)/external/provider",
        ),
        (
            volumes(AppVolume(container_path="a/b", persistent=Persistent(size=1))) | CAREFUL,
            "/container/volumes(0)/containerPath",
        ),
        (
            volumes(AppVolume(container_path="a", mode="RO", persistent=Persistent(size=1))) | CAREFUL,
            "/container/volumes(0)/mode",
        ),
        (
            volumes(AppVolume(container_path="a", persistent=Persistent(size=0))) | CAREFUL,
            "/container/volumes(0)/persistent/size",
        ),
        (volumes(DISK) | {"unreachable_strategy": "disabled"}, "/upgradeStrategy/maximumOverCapacity"),
        (volumes(NAMED), "/upgradeStrategy/maximumOverCapacity"),
        (
            volumes(DISK) | {"upgrade_strategy": UpgradeStrategy(maximum_over_capacity=0)},
            "/unreachableStrategy",
        ),
        ({"networks": (Network(), Network())}, "/networks"),
        ({"networks": (Network(mode="container"),)}, "/networks(0)/name"),
        ({"networks": (Network(name="x"),)}, "/networks(0)/name"),
        (bridge(PortMapping(container_port=70000)), "/container/portMappings(0)/containerPort"),
        (bridge(PortMapping(host_port=-1)), "/container/portMappings(0)/hostPort"),
        (bridge(PortMapping(service_port=70000)), "/container/portMappings(0)/servicePort"),
        (bridge(PortMapping(name="a"), PortMapping(name="a")), "/container/portMappings(1)/name"),
        (
            bridge(PortMapping(service_port=80), PortMapping(service_port=80)),
            "/container/portMappings(1)/servicePort",
        ),
        (bridge(PortMapping(network_names=("x",))), "/container/portMappings(0)/networkNames"),
        ({"networks": (Network(mode="container/bridge"),), "ports": 1}, "/portDefinitions"),
        (bridge(PortMapping()) | {"networks": (Network(),)}, "/container/portMappings"),
        ({"port_definitions": (PortDefinition(port=65536),)}, "/portDefinitions(0)/port"),
        ({"port_definitions": (PortDefinition(name="A b"),)}, "/portDefinitions(0)/name"),
        ({"port_definitions": (PortDefinition(port=80), PortDefinition(port=80))}, "/portDefinitions(1)/port"),
        ({"health_checks": (HealthCheck(),)}, "/healthChecks(0)/portIndex"),
        ({"ports": 1, "health_checks": (HealthCheck(port_index=1),)}, "/healthChecks(0)/portIndex"),
        ({"ports": 1, "health_checks": (HealthCheck(port_index=0, port=80),)}, "/healthChecks(0)"),
        ({"health_checks": (HealthCheck(port=70000),)}, "/healthChecks(0)/port"),
        ({"ports": 1, "health_checks": (HealthCheck(command=Command(value="x")),)}, "/healthChecks(0)/command"),
        ({"health_checks": (HealthCheck(protocol="COMMAND"),)}, "/healthChecks(0)/command"),
        (
            {"health_checks": (HealthCheck(protocol="COMMAND", command=Command(value="a", argv=("b",))),)},
            "/healthChecks(0)/command",
        ),
        (
            {"health_checks": (HealthCheck(protocol="COMMAND", command=Command(value="a"), port_index=0),)},
            "/healthChecks(0)",
        ),
        ({"health_checks": (HealthCheck(port=1, interval_seconds=0),)}, "/healthChecks(0)/intervalSeconds"),
        ({"health_checks": (HealthCheck(port=1, timeout_seconds=math.nan),)}, "/healthChecks(0)/timeoutSeconds"),
        ({"health_checks": (HealthCheck(port=1, delay_seconds=-1),)}, "/healthChecks(0)/delaySeconds"),
        (
            {"health_checks": (HealthCheck(port=1, grace_period_seconds=-1),)},
            "/healthChecks(0)/gracePeriodSeconds",
        ),
        (
            {"health_checks": (HealthCheck(port=1, max_consecutive_failures=-1),)},
            "/healthChecks(0)/maxConsecutiveFailures",
        ),
        ({"readiness_checks": (ReadinessCheck(),)}, "/readinessChecks(0)/portName"),
        ({"dependencies": ("/web",)}, "/dependencies(0)"),
        (
            {"upgrade_strategy": UpgradeStrategy(minimum_health_capacity=1.1)},
            "/upgradeStrategy/minimumHealthCapacity",
        ),
        ({"upgrade_strategy": UpgradeStrategy(maximum_over_capacity=-1)}, "/upgradeStrategy/maximumOverCapacity"),
        (
            {"unreachable_strategy": UnreachableStrategy(inactive_after_seconds=2, expunge_after_seconds=1)},
            "/unreachableStrategy/inactiveAfterSeconds",
        ),
        ({"resource_limits": {"mem": 1}}, "/resourceLimits/mem"),
        ({"resource_limits": {"cpus": "much"}}, "/resourceLimits/cpus"),
        ({"resource_limits": {"disk": 1}}, "/resourceLimits/disk"),
        ({"restart_policy": RestartPolicy(max_attempts=1)}, "/restartPolicy/maxAttempts"),
        (
            {"restart_policy": RestartPolicy(condition="on-failure", max_attempts=0)},
            "/restartPolicy/maxAttempts",
        ),
        ({"restart_policy": RestartPolicy(job=True)}, "/restartPolicy/job"),
    ],
)
def test_one_fault(more: dict[str, Any], path: str) -> None:
    assert paths(app(**more)) == [path]


READY = ReadinessCheck(port_name="http")


@pytest.mark.parametrize(
    ("checks", "path"),
    [
        ((READY, READY), "/readinessChecks"),
        ((ReadinessCheck(port_name="http", timeout_seconds=30),), "/readinessChecks(0)/timeoutSeconds"),
        ((ReadinessCheck(port_name="http", path=""),), "/readinessChecks(0)/path"),
        (
            (ReadinessCheck(port_name="http", http_status_codes_for_ready=()),),
            "/readinessChecks(0)/httpStatusCodesForReady",
        ),
        (
            (ReadinessCheck(port_name="http", http_status_codes_for_ready=(99,)),),
            "/readinessChecks(0)/httpStatusCodesForReady",
        ),
    ],
)
def test_readiness(checks: tuple[ReadinessCheck, ...], path: str) -> None:
    ports = (PortDefinition(name="http"),)
    assert paths(app(port_definitions=ports, readiness_checks=(READY,))) == []
    assert paths(app(port_definitions=ports, readiness_checks=checks)) == [path]


def test_all_faults_are_found_at_once() -> None:
    assert paths(app(id="/A", cmd=None, cpus=0.0, constraints=(("a", "B"),))) == [
        "/id",
        "/",
        "/cpus",
        "/constraints(0)",
    ]


def test_every_message_says_something() -> None:
    for fault in validate(app(id="/A", cmd=None, instances=-1, **volumes(AppVolume(container_path="")))):
        assert len(fault.message) > 10 and not fault.message.endswith(".")


def test_group_ids() -> None:
    assert list(validate_id("/a/b")) == []
    assert [fault.path for fault in validate_id("a")] == ["/id"]


def test_ids_used_twice_and_apps_that_are_groups() -> None:
    assert [fault.message for fault in validate_group([app("/a"), app("/a"), app("/a/b")])] == [
        "/a is both an app and a group; give one another name",
        "two apps have the id /a; give one another name",
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"user": "99999999999"},
        {"user": "0:99999999999"},
        {"user": "4294967295"},
        {"user": "\u0663"},
        {"user": "a\0b"},
        {"user": ""},
        {"user": "a b"},
        {"backoff_seconds": 1e15},
        {"max_launch_delay_seconds": 1e15},
        {"backoff_factor": 1e15},
        {"cpus": 1e308},
        {"constraints": (("hostname", "MAX_PER", "9" * 300),)},
        {"constraints": (("hostname", "LIKE", "(?:(?:(?:(?:(?:.?){40}){40}){40}){40}){40}x"),)},
        {"constraints": (("hostname", "LIKE", "(?=a)b"),)},
    ],
    ids=str,
)
def test_what_would_hang_or_end_a_cell_is_refused(more: dict[str, Any]) -> None:
    (fault,) = validate(app(**more))
    assert len(fault.message) < 200


def test_an_expression_that_would_backtrack_for_ever_is_matched_in_no_time() -> None:
    assert validate(app(constraints=(("hostname", "LIKE", "(a+)+$"),))) == []
    assert not matches("(a+)+$", "a" * 50_000 + "b")
