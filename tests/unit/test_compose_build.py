"""A service's `build` becomes what `docker build` is asked for; what it does not know everywhere is refused."""

from pathlib import Path

import pytest
from test_compose import compose, faults

from kato.drivers.runtime.docker.build import environment, words
from kato.language import Manifest
from kato.language.service_build import UNBUILT
from kato.model.app import Parameter
from kato.model.build import Build

IID = Path("/tmp/id")


def manifest(lines: str) -> Manifest:
    body = "\n".join(f"    {line}" for line in lines.strip("\n").splitlines())
    return compose(f"name: shop\nservices:\n  web:\n{body}\n")


def build(lines: str) -> Build:
    return manifest(lines).builds["/shop/web"]


def asked(lines: str) -> list[str]:
    head = ["docker", "build", "--force-rm", "--iidfile=/tmp/id", "--label=kato.built=/shop"]
    found = words(build(lines), IID)
    assert found[: len(head)] == head
    return found[len(head) :]


def test_a_folder_is_enough() -> None:
    assert asked("build: ./web") == ["--", "/srv/shop/web"]
    assert asked("build: .") == ["--", "/srv/shop"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            "context: web\n  dockerfile: prod.Dockerfile",
            ["--file=/srv/shop/web/prod.Dockerfile", "--", "/srv/shop/web"],
        ),
        ("context: .\n  dockerfile: /etc/Dockerfile", ["--file=/etc/Dockerfile", "--", "/srv/shop"]),
        ("dockerfile_inline: FROM a", ["--file=-", "--", "/srv/shop"]),
        ("context: https://git.example/a.git#main:web", ["--", "https://git.example/a.git#main:web"]),
        (
            "context: git@git.example:a.git\n  dockerfile: b/Dockerfile",
            ["--file=b/Dockerfile", "--", "git@git.example:a.git"],
        ),
    ],
)
def test_what_is_built(keys: str, expected: list[str]) -> None:
    assert asked(f"build:\n  {keys}") == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("args: {A: 1, B: }", ["--build-arg=A=1"]),
        ("args: [A=1, 'C=']", ["--build-arg=A=1", "--build-arg=C="]),
        ("target: final", ["--target=final"]),
        ("labels: {of: us}", ["--label=of=us"]),
        ("network: host", ["--network=host"]),
        ("no_cache: true", ["--no-cache=true"]),
        ("no_cache: false", []),
        ("pull: true", ["--pull=true"]),
        ("tags: ['a:1', 'b:2']", ["--tag=a:1", "--tag=b:2"]),
        ("platforms: [linux/amd64]", ["--platform=linux/amd64"]),
        ("cache_from: ['a:1']", ["--cache-from=a:1"]),
        ("extra_hosts: {a: 10.0.0.1}", ["--add-host=a:10.0.0.1"]),
        ("extra_hosts: ['a:10.0.0.1']", ["--add-host=a:10.0.0.1"]),
        ("shm_size: 64m", ["--shm-size=64m"]),
    ],
)
def test_keys_are_flags_of_docker_build(key: str, expected: list[str]) -> None:
    assert asked(f"build:\n  context: .\n  {key}") == [*expected, "--", "/srv/shop"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("build: {}", "services.web.build: has no context"),
        (
            "build: {context: ., platforms: [linux/amd64, linux/arm64]}",
            "services.web.build.platforms: an image is",
        ),
        ("build: {context: ., dockerfile: a, dockerfile_inline: b}", "cannot stand beside dockerfile_inline"),
        ("build: {context: ., secrets: [a]}", "services.web.build.secrets: is not taken: the engine builds with"),
        ("build: {context: ., ssh: [default]}", "services.web.build.ssh: is not taken"),
        ("build: {context: ., argz: {}}", "'argz' is not a key that is taken here. Did you mean 'args'?"),
        ("image: a\n    pull_policy: build", "pull_policy: is build, and there is nothing to build; add `build`"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_line(lines: str, fault: str) -> None:
    found = faults(f"services:\n  web:\n    {lines}\n")
    assert any(fault in each and each[0].isdigit() for each in found), found


def test_an_image_beside_it_is_its_name() -> None:
    assert asked("image: shop/web:1\nbuild: .") == ["--tag=shop/web:1", "--", "/srv/shop"]
    assert asked("image: shop/web:1\nbuild: .\npull_policy: build")[0] == "--tag=shop/web:1"


@pytest.mark.parametrize("policy", ["always", "missing", "never"])
def test_an_image_that_is_to_be_pulled_is_not_built(policy: str) -> None:
    found = manifest(f"image: shop/web:1\nbuild: .\npull_policy: {policy}")
    assert (found.builds, found.apps[0].image) == ({}, "shop/web:1")
    assert f"services.web.build: is ignored: pull_policy is {policy}" in found.warnings[0]


def test_a_process_is_not_built_and_its_network_is_the_host_s() -> None:
    """One file may be run as processes and as containers."""
    found = manifest("build: .\nnetwork_mode: host\ncommand: x\nx-kato: {runtime: process}")
    assert (found.builds, found.warnings) == ({}, ())
    lines = "command: x\n    network_mode: bridge\n    x-kato: {runtime: process}"
    assert any("network_mode: is a container's" in each for each in faults(f"services:\n  web:\n    {lines}\n"))


def test_the_app_is_never_pulled_and_has_the_name_once_it_is_there() -> None:
    found = manifest("build: .\npull_policy: always")
    (app,) = found.apps
    assert app.image == UNBUILT and app.container is not None and app.container.docker is not None
    assert Parameter(key="pull", value="never") in app.container.docker.parameters
    assert not app.container.docker.force_pull_image
    assert found.named({"/shop/web": "localhost/kato/shop:1"}).apps[0].image == "localhost/kato/shop:1"


def test_it_is_built_by_the_engine_of_the_cell() -> None:
    given = {"PATH": "/bin", "DOCKER_CONTEXT": "other", "DOCKER_HOST": "unix:///other.sock"}
    found = environment(given, "unix:///ours.sock")
    assert found["DOCKER_HOST"] == "unix:///ours.sock" and "DOCKER_CONTEXT" not in found
