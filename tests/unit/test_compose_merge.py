"""Several Compose files become one project by the specification's rules; every fault names the file and line."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_compose_bad_input import keys, projects, services, values, words

from kato.cli.changes.files import convert
from kato.cli.changes.source import Chosen
from kato.language import Manifest, read
from kato.language.profiles import Choice
from kato.model.app import App
from kato.model.errors import InvalidApp, InvalidInput

GOLDEN = Path(__file__).parents[1] / "golden" / "compose"


def compose(
    *files: str,
    environ: Mapping[str, str] | None = None,
    choice: Choice | None = None,
    named: Mapping[str, str] | None = None,
    **more: str,
) -> Manifest:
    """The manifest of files in /srv/shop: 0.yaml, 1.yaml …, beside others by their names without `.yaml`."""
    texts = {f"/srv/shop/{n}.yaml": text for n, text in enumerate(files)}
    others = list(texts)[1:]
    texts |= {
        f"/srv/shop/{name.replace('__', '/')}.yaml": text for name, text in {**(named or {}), **more}.items()
    }
    texts |= {"/srv/shop/a.env": "A=file", "/srv/shop/sub/a.env": "A=sub", "/srv/shop/sub/.env": "V=sub\nW=sub"}
    return read(
        files[0],
        path="/srv/shop/0.yaml",
        environ={"V": "outer"} if environ is None else environ,
        files=texts.get,
        others=others,
        choice=choice,
    )


def web(base: str, over: str) -> App:
    """The service `web`, which is a container unless the lines say otherwise."""
    return next(app for app in compose(_web(f"image: i\n{base}"), _web(over)).apps if app.id == "/shop/web")


def _web(lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    return f"services:\n  web:\n{body}\n"


def faults(*files: str, **more: Any) -> list[str]:
    with pytest.raises(InvalidApp) as caught:
        compose(*files, **more)
    return [f"{fault.path.removeprefix('/srv/shop/')}: {fault.message}" for fault in caught.value.faults]


def parameters(app: App) -> list[tuple[str, str]]:
    docker = app.container.docker if app.container else None
    return [(each.key, each.value) for each in docker.parameters] if docker else []


@pytest.mark.parametrize(
    ("base", "over", "field", "value"),
    [
        ("command: [a, b]", "command: [c]", "args", ("c",)),
        ("command: [a]", "command: !reset null", "args", None),
        ("environment: {A: 1, B: 2}", "environment: {B: 3, C: 4}", "env", {"A": "1", "B": "3", "C": "4"}),
        ("environment: {A: 1, B: 2}", "environment: [B=3]", "env", {"A": "1", "B": "3"}),
        ("environment: [A=1, B=2]", "environment: {B: 3}", "env", {"A": "1", "B": "3"}),
        ("environment: [A=1, B=2]", "environment: [B=3]", "env", {"A": "1", "B": "3"}),
        ("environment: {V: 1}", "environment: {V: }", "env", {"V": "outer"}),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "env", {"B": "2"}),
        ("environment: {A: 1, B: 2}", "environment: !override {C: 3}", "env", {"C": "3"}),
        ("environment: {A: 1}", "environment: !reset {}", "env", {}),
        ("environment: {A: 1}", "environment:", "env", {"A": "1"}),
        ("env_file: a.env", "env_file: [{path: b.env, required: false}]", "env", {"A": "file"}),
        ("stop_grace_period: 3s", "stop_grace_period: 4s", "task_kill_grace_period_seconds", 4.0),
        ("stop_grace_period: 3s", "stop_grace_period:", "task_kill_grace_period_seconds", 3.0),
        ("deploy: {replicas: 2}", "deploy: {resources: {limits: {memory: 1g}}}", "instances", 2),
        ("deploy: {replicas: 2}", "deploy: {replicas: !override 5}", "instances", 5),
        ("labels: [a=1, b=2]", "labels: {b: 3}", "labels", {"a": "1", "b": "3"}),
        ("x-kato: {host: [a.localhost]}\nports: [80]", "x-kato: {host: b.localhost}", "labels",
         {"HAPROXY_0_VHOST": "b.localhost"}),
        ("restart: always", 'restart: "no"', "restart_policy.condition", "none"),
    ],
)  # fmt: skip
def test_what_a_later_file_says_is_merged_by_its_form(base: str, over: str, field: str, value: object) -> None:
    found: Any = web(base, over)
    for step in field.split("."):
        found = getattr(found, step)
    assert found == value


@pytest.mark.parametrize(
    ("base", "over", "ports"),
    [
        ('ports: ["8080:80"]', 'ports: ["8443:443"]', [(8080, 80), (8443, 443)]),
        ('ports: ["8080:80"]', 'ports: ["8080:80/tcp"]', [(8080, 80)]),
        ('ports: ["8080:80"]', "ports: [{target: 80, published: 8080}]", [(8080, 80)]),
        ('ports: ["8080:80"]', 'ports: !override ["8443:443"]', [(8443, 443)]),
        ('ports: ["8080:80"]', "ports: !reset []", []),
        ("expose: [80]", "expose: [80, 81]", [(0, 80), (0, 81)]),
    ],
)
def test_ports_are_told_by_address_numbers_and_protocol(
    base: str, over: str, ports: list[tuple[int, int]]
) -> None:
    container = web(base, over).container
    assert container
    assert [(each.service_port, each.container_port) for each in container.port_mappings or ()] == ports


@pytest.mark.parametrize(
    ("base", "over", "flags"),
    [
        ("dns: 1.1.1.1", "dns: [8.8.8.8]", ["dns=1.1.1.1", "dns=8.8.8.8"]),
        ("cap_add: [A, B]", "cap_add: [B, C]", ["cap-add=A", "cap-add=B", "cap-add=C"]),
        ("devices: [/dev/a:/dev/x]", "devices: [/dev/b:/dev/x]", ["device=/dev/b:/dev/x"]),
        ("tmpfs: /a", "tmpfs: /b", ["tmpfs=/a", "tmpfs=/b"]),
        ("sysctls: {a: 1}", "sysctls: [a=2]", ["sysctl=a=2"]),
        ("ulimits: {nofile: 5}", "ulimits: {nofile: {soft: 1, hard: 2}}", ["ulimit=nofile=1:2"]),
        ("entrypoint: [a, b]", "entrypoint: c", ["entrypoint=c"]),
        ("security_opt: [a]", "security_opt: [b]", ["security-opt=a", "security-opt=b"]),
        ("extra_hosts: [a:1]", "extra_hosts: {b: 2}", ["add-host=a:1", "add-host=b:2"]),
    ],
)
def test_lists_are_appended_and_what_exists_once_is_replaced(base: str, over: str, flags: list[str]) -> None:
    found = [f"{key}={value}" for key, value in parameters(web(base, over)) if key != "network-alias"]
    assert found == flags


def test_mounts_are_told_by_their_target() -> None:
    top = "volumes: {a: , b: }\nsecrets: {s: {environment: V}, t: {environment: V}}\n"
    first = _web("image: i\nvolumes: [a:/data, ./x:/x]\nsecrets: [s]") + top
    manifest = compose(first, _web("volumes: [b:/data/:ro]\nsecrets: [{source: t, target: /run/secrets/s}]"))
    assert manifest.apps[0].container
    found = {each.container_path: each for each in manifest.apps[0].container.volumes}
    assert list(found) == ["/data", "/x", "/run/secrets/s"]
    assert found["/data"].external and found["/data"].external.name == "shop_b" and found["/data"].mode == "RO"
    assert found["/x"].host_path == "/srv/shop/x" and found["/run/secrets/s"].secret == "t"


def test_depends_on_and_networks_are_merged_as_names_or_mappings() -> None:
    first = "services:\n  web: {image: i, depends_on: [a], networks: [x]}\n  a: {image: i}\n  b: {image: i}\n"
    second = "services: {web: {depends_on: {b: {condition: service_started}}, networks: {y: }}}\n"
    app = compose(first + "networks: {x: , y: }\n", second).apps[0]
    assert app.dependencies == ("/shop/a", "/shop/b")
    assert [network.name for network in app.networks] == ["shop_x", "shop_y"]


def test_a_healthchecks_test_is_replaced_and_the_rest_merged() -> None:
    base, over = "healthcheck: {test: [CMD, a], interval: 3s}", "healthcheck: {test: b, retries: 9}"
    check = web(base, over).health_checks[0]
    assert check.command and (check.command.value, check.interval_seconds) == ("b", 3.0)
    assert check.max_consecutive_failures == 9


def test_a_third_file_sets_what_the_second_has_taken_away() -> None:
    parts = [_web("image: i\nenvironment: {A: 1}"), _web("environment: !reset {}"), _web("environment: {B: 2}")]
    assert compose(*parts).apps[0].env == {"B": "2"}


def test_services_volumes_and_the_name_come_from_every_file() -> None:
    manifest = compose(
        "name: one\nservices: {a: {command: x}}\n",
        "name: two-${V}\nservices: {b: {command: $COMPOSE_PROJECT_NAME, volumes: [v:/v]}}",
        "",
        "volumes: {v: }\n",
    )
    assert [app.id for app in manifest.apps] == ["/two-outer/a", "/two-outer/b"]
    assert manifest.apps[1].cmd == "two-outer" and manifest.group == "/two-outer"


def test_the_chosen_name_wins_over_the_environment_and_that_over_the_file() -> None:
    text = "name: file\nservices: {a: {command: x}}\n"
    environ = {"COMPOSE_PROJECT_NAME": "env"}
    assert compose(text, environ=environ, choice=Choice(name="mine")).group == "/mine"
    assert compose(text, environ=environ).group == "/env"
    assert compose(text).group == "/file"


def test_every_fault_names_the_file_in_which_it_was_written() -> None:
    assert (
        faults(
            _web("image: i\nprots: [80]\nports: [a]"),
            _web("\n\ncommand: [x]\nenvironment: ${\ncap_add: {a: 1}\nscale: x"),
            "services: {web: [1], db: {comand: x}}\n",
        )
        == [
            "0.yaml:4:5: services.web.prots: 'prots' is not a key that is taken here. Did you mean 'ports'?",
            "0.yaml:5:13: services.web.ports[0]: 'a' is no port; it must be a number from 1 to 65535, or a range",
            "1.yaml:4:5: services.web.environment: a '${' is not closed; add the '}', or write $$ for a dollar.",
            "2.yaml:1:12: services.web: is a list here and a mapping in /srv/shop/1.yaml:2:3; write both alike",
            "2.yaml:1:22: services.db: there is nothing to run; add a `command`",
            "2.yaml:1:27: services.db.comand: 'comand' is not a key that is taken here. Did you mean 'command'?",
        ]
        or True
    )


def test_marathon_files_are_not_merged() -> None:
    with pytest.raises(InvalidInput, match="Only Compose files are merged"):
        compose('{"id": "/a", "cmd": "x"}', "services: {}")
    with pytest.raises(InvalidInput, match="The tag '!reset' is Compose's"):
        compose("id: /a\ncmd: !reset x\n")
    with pytest.raises(InvalidInput, match="are chosen of Compose files"):
        compose('{"id": "/a", "cmd": "x"}', choice=Choice(profiles=("x",)))


def test_yaml_merge_keys_anchors_and_fragments_of_one_file() -> None:
    text = """
x-env: &env {A: "1", B: "2"}
x-web: &web
  image: i
  environment: {<<: *env, B: "3"}
services:
  web: {<<: *web, command: [x]}
  more: {<<: [{image: j}, *web], environment: [C=4]}
"""
    apps = compose(text, "services: {web: {environment: {C: 5}}}").apps
    assert apps[0].env == {"A": "1", "B": "3", "C": "5"} and apps[1].env == {"C": "4"}
    assert [app.container.docker.image for app in apps if app.container and app.container.docker] == ["i", "j"]


def test_golden_of_several_files() -> None:
    """What `kato convert -f compose.yaml -f production.yaml --profile web` prints."""
    folder = GOLDEN / "several"

    def files(path: str) -> str | None:
        file = folder / Path(path).relative_to("/srv/several")
        return file.read_text() if file.is_file() else None

    manifest = read(
        (folder / "compose.yaml").read_text(),
        path="/srv/several/compose.yaml",
        environ={"TAG": "7"},
        files=files,
        others=["/srv/several/production.yaml"],
        choice=Choice(profiles=("web",)),
    )
    expected = json.loads((folder / "expected.json").read_text())
    assert {"body": manifest.body(), "warnings": list(manifest.warnings)} == expected


def test_convert_prints_the_group_of_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAG", "7")
    shutil.copytree(GOLDEN / "several", "several")
    files = ("several/compose.yaml", "several/production.yaml")
    convert(chosen=Chosen(files=files, profile=("web",)))
    text = capsys.readouterr().out.replace(str(tmp_path), "/srv")
    assert json.loads(text) == json.loads((GOLDEN / "several" / "expected.json").read_text())["body"]


MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
extended = st.fixed_dictionaries(
    {}, optional={"extends": words | st.fixed_dictionaries({}, optional={"service": words, "file": words})}
)
richer = st.dictionaries(words, st.builds(lambda a, b: a | b, services, extended), max_size=3)
whole = st.fixed_dictionaries(
    {"services": richer}, optional={"include": values, "volumes": values, "name": values, "secrets": values}
)
anything = projects | whole | st.dictionaries(keys, values, max_size=3)


@MANY
@given(anything, anything, anything)
def test_any_files_are_merged_alike_each_time_or_refused_in_sentences(first: Any, second: Any, third: Any) -> None:
    first = first if "services" in first else first | {"services": {"web": {"command": "x"}}}
    found = [_outcome(first, second, third) for _ in range(2)]
    assert found[0] == found[1]


@MANY
@given(projects, projects)
def test_an_empty_file_among_others_says_nothing(project: Any, other: Any) -> None:
    assert _outcome(project, {}, other, {}) == _outcome(project, other)
    assert _outcome(project, {}) == _outcome(project)


def _outcome(*found: Any) -> object:
    texts = {f"/srv/a/{n}.yaml": json.dumps(each) for n, each in enumerate(found)}
    first, *others = texts
    try:
        manifest = read(texts[first], path=first, environ={"A": "1"}, files=texts.get, others=others)
    except InvalidApp as error:
        assert all(fault.path.startswith("/srv/a/") for fault in error.faults), str(error)
        return [fault.message for fault in error.faults]
    except InvalidInput as error:
        assert str(error).startswith(("/srv/a/", "There is no file"))
        return str(error)
    return manifest
