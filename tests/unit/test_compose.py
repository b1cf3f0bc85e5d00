"""Compose files become the Apps that they mean; what cannot be kept is refused by name, with its line."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kato.language import Manifest, read
from kato.model.app import App, UpgradeStrategy
from kato.model.errors import InvalidApp, InvalidInput

GOLDEN = Path(__file__).parents[1] / "golden" / "compose"


def compose(
    text: str, *, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> Manifest:
    """The manifest of a Compose file in the folder /srv/shop."""
    found = files or {}
    return read(text, path="/srv/shop/compose.yaml", environ=environ or {}, files=found.get)


def service(lines: str, **more: Mapping[str, str]) -> App:
    """The app of one service `web` with a command and these further lines."""
    body = "\n".join(f"    {line}" for line in lines.strip("\n").splitlines())
    return compose(f"services:\n  web:\n    command: [serve]\n{body}\nvolumes: {{data: }}\n", **more).apps[0]


def faults(text: str) -> list[str]:
    """Every fault of a file, as `line: message`."""
    with pytest.raises(InvalidApp) as caught:
        compose(text)
    return [f"{fault.path.split(':')[1]}: {fault.message}" for fault in caught.value.faults]


def service_faults(lines: str) -> list[str]:
    """The faults of a service as `service` writes it, without `services.web.`; its own lines begin at 4."""
    body = "\n".join(f"    {line}" for line in lines.strip("\n").splitlines())
    found = faults(f"services:\n  web:\n    command: [serve]\n{body}\nvolumes: {{data: }}\n")
    return [fault.replace("services.web.", "") for fault in found]


def test_golden_shop() -> None:
    folder = GOLDEN / "shop"

    def files(path: str) -> str | None:
        file = folder / Path(path).relative_to("/srv/shop")
        return file.read_text() if file.is_file() else None

    environ = {"INHERITED": "yes", "HOME": "/home/me"}
    text = (folder / "compose.yaml").read_text()
    manifest = read(text, path="/srv/shop/compose.yaml", environ=environ, files=files)
    expected = json.loads((folder / "expected.json").read_text())
    assert {"body": manifest.body(), "warnings": list(manifest.warnings)} == expected
    assert manifest.group == "/shop" and manifest.plan_body == {"group": manifest.body()}


def test_the_manifest_of_a_compose_file_is_read_back_from_its_body_unchanged() -> None:
    from kato.language.marathon import read_group

    manifest = compose((GOLDEN / "shop" / "compose.yaml").read_text(), files={"/srv/shop/common.env": ""})
    tree = read_group(manifest.body(), base="/shop", strict=True)
    assert (tree.id, tree.apps, tree.groups) == (manifest.group, manifest.apps, manifest.groups)


@pytest.mark.parametrize(
    ("lines", "cmd", "args"),
    [
        ("command: serve --port $$PORT", "serve --port $PORT", None),
        ("command: [serve, --port, $$PORT]", None, ("serve", "--port", "$PORT")),
        ("entrypoint: [python]\ncommand: [web.py, 80]", None, ("python", "web.py", "80")),
        ("entrypoint: python -u\ncommand: web.py", "python -u web.py", None),
        ("entrypoint: [python, a b]\ncommand: web.py $$PORT", "python 'a b' web.py $PORT", None),
        ("entrypoint: run\ncommand: [it's]", """run 'it'"'"'s'""", None),
        ("entrypoint: []\ncommand: web", "web", None),
    ],
)
def test_command(lines: str, cmd: str | None, args: tuple[str, ...] | None) -> None:
    body = "\n".join(f"    {line}" for line in lines.splitlines())
    app = compose(f"services:\n  web:\n{body}\n").apps[0]
    assert (app.cmd, app.args) == (cmd, args)


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        ('ports: ["80"]', [(0, "tcp")]),
        ("ports: [80]", [(0, "tcp")]),
        ('ports: ["8080:80"]', [(8080, "tcp")]),
        ('ports: ["127.0.0.1:8080:80"]', [(8080, "tcp")]),
        ('ports: ["127.0.0.1::80"]', [(0, "tcp")]),
        ('ports: ["0.0.0.0:8080:80", "[::1]:8081:81/tcp"]', [(8080, "tcp"), (8081, "tcp")]),
        ('ports: ["53:53/udp", "53:53"]', [(53, "udp"), (53, "tcp")]),
        ('ports: ["3000-3002:4000-4002"]', [(3000, "tcp"), (3001, "tcp"), (3002, "tcp")]),
        ('ports: ["4000-4001"]', [(0, "tcp"), (0, "tcp")]),
        ('ports: ["8080:80"]\nexpose: ["80", "90"]', [(8080, "tcp"), (0, "tcp")]),
        ('ports: ["8080:80", "8081:80"]', [(8080, "tcp"), (8081, "tcp")]),
        ("ports: [{target: 80, published: 8080, mode: ingress}]", [(8080, "tcp")]),
        ("expose: [80]", [(0, "tcp")]),
        ("", []),
    ],
)
def test_ports(lines: str, ports: list[tuple[int, str]]) -> None:
    assert [(port.service, port.protocol) for port in service(lines).ports] == ports


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('ports: ["10.0.0.1:80:80"]', "4: ports[0]: the address '10.0.0.1' cannot be kept: "),
        ('ports: ["8000-8010:80"]', "4: ports[0]: 8000-8010 and 80 have not the same length; "),
        ('ports: ["1-200:1-200"]', "4: ports[0]: the range 1-200 has more than 100 ports; "),
        ('ports: ["80:70000"]', "4: ports[0]: '70000' is no port; "),
        ('ports: ["80:80/sctp"]', "4: ports[0]: 'sctp' is no protocol; "),
        ('ports: ["80:80", "80:81"]', "4: ports[1]: port 80 is published twice; "),
        ("ports: [web]", '4: ports[0]: must be like "8080:80"'),
        ("ports: 80", "4: ports: must be a list (- item)"),
        ("ports: [{published: 80}]", "4: ports[0]: a port needs a target"),
        ("ports: [{target: 80, mode: host}]", "4: ports[0].mode: 'host' cannot be kept: "),
        (
            "ports: [{target: 80, publishd: 8}]",
            "4: ports[0].publishd: 'publishd' is not a key that is taken here. Did",
        ),
        ("portz: [80]", "4: portz: 'portz' is not a key that is taken here. Did you mean 'ports'?"),
        ("networks: [back]", "4: networks: is a container's, and a process on the host cannot have it; "),
        ("privileged: true", "4: privileged: is a container's"),
        ("cpu_shares: 5", "4: cpu_shares: is not taken: use deploy.resources"),
        ("profiles: [de/bug]", "4: profiles: 'de/bug' is no name of a profile"),
        ("restart: never", "4: restart: 'never' is not taken; use \"no\", on-failure, on-failure:3, always or "),
        ("restart: always:3", "4: restart: 'always:3' is not taken; "),
        (
            "restart: always\ndepends_on: {web: {condition: service_completed_successfully}}",
            "4: restart: starts it again whenever it ends, but others await its end ",
        ),
        (
            "deploy: {mode: replicated-job, restart_policy: {condition: any}}",
            "4: deploy.restart_policy: starts it again whenever it ends, but its mode is replicated-job; ",
        ),
        ("deploy: {mode: global}", "4: deploy.mode: 'global' is not taken; "),
        (
            "deploy: {restart_policy: {max_attempts: 3}}",
            "4: deploy.restart_policy.max_attempts: goes only with condition: on-failure",
        ),
        (
            "deploy: {restart_policy: {condition: sometimes}}",
            "4: deploy.restart_policy.condition: 'sometimes' is not taken; use any, on-failure or none",
        ),
        ("scale: two", "4: scale: must be a number; 'two' is not"),
        ("scale: 1.5", "4: scale: must be a whole number"),
        ("scale: 2\ndeploy: {replicas: 3}", "5: deploy.replicas: says 3, but scale says 2; keep one"),
        ("deploy: {mode: global}", "4: deploy.mode: 'global' is not taken; "),
        ("deploy: {update_config: {delay: 10s}}", "4: deploy.update_config.delay: cannot be kept: "),
        (
            "deploy: {update_config: {failure_action: rollback}}",
            "4: deploy.update_config.failure_action: 'rollback'",
        ),
        ("deploy: {update_config: {monitor: 5s}}", "4: deploy.update_config.monitor: is not taken: "),
        ("deploy: {update_config: {order: random}}", "4: deploy.update_config.order: 'random' is not taken; "),
        (
            "deploy: {placement: {constraints: [node.role==manager]}}",
            "4: deploy.placement.constraints[0]: must be ",
        ),
        ("deploy: {placement: {preferences: []}}", "4: deploy.placement.preferences: is not taken; "),
        (
            "deploy: {resources: {limits: {pids: 3}}}",
            "4: deploy.resources.limits.pids: is not taken; use pids_limit",
        ),
        (
            "deploy: {resources: {limits: {memory: lots}}}",
            "4: deploy.resources.limits.memory: must be a size such as",
        ),
        (
            "deploy: {resources: {limits: {cpus: 1}, reservations: {cpus: 2}}}",
            "4: deploy.resources: the limit of cpus is less than what is reserved",
        ),
        ("depends_on: [webb]", "4: depends_on: there is no service 'webb'. Did you mean 'web'?"),
        (
            "depends_on: {web: {condition: service_done}}",
            "4: depends_on.web.condition: 'service_done' is not taken; use service_started, service_healthy or ",
        ),
        ("healthcheck: {test: [ping]}", "4: healthcheck.test: must be a shell line, "),
        ("healthcheck: {interval: 3s}", "4: healthcheck.test: is missing; "),
        ("healthcheck: {test: x, interval: 3 s}", "4: healthcheck.interval: must be a duration such as 1m30s"),
        ("volumes: [/data]", "4: volumes[0]: needs a name to keep its data, as data:TARGET, "),
        (
            "volumes: [daat:/data]",
            "4: volumes[0]: no volume 'daat' is named under the top-level `volumes`; add it ",
        ),
        ("volumes: [data:/../etc]", "4: volumes[0]: the target '/../etc' must be a path without '..'"),
        ("volumes: [data:/d:zz]", "4: volumes[0]: the option 'zz' is not taken; use ro or rw"),
        ("volumes: [data:/d, ./x:/d]", "4: volumes[1]: two volumes have the target 'd'; keep one"),
        ("volumes: [data:/d, ./x:/./d]", "4: volumes[1]: two volumes have the target './d'; keep one"),
        ("volumes: [data:/.]", "4: volumes[0]: the target '/.' must be a path without '..'"),
        (
            "volumes: [./src:/app, data:/app/cache]",
            "4: volumes[1]: the targets 'app/cache' and 'app' lie one within the other; volumes are links in the ",
        ),
        ("volumes: [data:/app/cache, ./src:/app]", "4: volumes[1]: the targets 'app' and 'app/cache' lie one "),
        ("volumes: [{type: tmpfs, target: /d}]", "4: volumes[0].type: 'tmpfs' is not taken; use volume or bind"),
        ("env_file: nowhere.env", "4: env_file: there is no file nowhere.env "),
        ("environment: [=x]", "4: environment: '' is no name for a variable"),
        (
            "x-kato: {runtime: rocket}",
            "4: x-kato.runtime: 'rocket' is no runtime of Káto; use process, docker",
        ),
        ("x-kato: {hots: a}", "4: x-kato.hots: 'hots' is not a key that is taken here. Did you mean 'host'?"),
        ("x-kato: {host: Vote.localhost}", "4: x-kato.host: 'Vote.localhost' is no host name; "),
        ("x-kato: {host: a.localhost}", "4: x-kato.host: the service has no port to serve; "),
        ("x-kato: {path: /x}", "4: x-kato.path: needs a host; "),
        ("x-kato: {constraints: [hostname]}", "4: x-kato.constraints[0]: must be like [hostname, UNIQUE]"),
        (
            "x-kato: {constraints: [[hostname, UNIQE]]}",
            "2: services.web: /constraints(0): 'UNIQE' is no operator; ",
        ),
        ("x-kato: {health: {http: /}}", "4: x-kato.health.port: there is no port 0; the service has none"),
        ("x-kato: {health: {interval: 1s}}", "4: x-kato.health: needs one of `http: /path` and `tcp: true`"),
        ("command2: ${", "4: command2: a '${' is not closed; "),
    ],
)
def test_refused(line: str, message: str) -> None:
    found = service_faults(line)
    assert any(fault.startswith(message) for fault in found), found


def test_every_fault_is_found_in_one_go_in_the_order_of_the_file() -> None:
    found = faults("servces: {}\nservices:\n  a:\n    portz: []\n  b:\n    build: {}\nsecrets: {n: }\n")
    assert [fault.split(":")[0] for fault in found] == ["1", "3", "4", "6", "7"]


def test_an_image_of_a_process_is_ignored_with_a_warning() -> None:
    manifest = compose("services:\n  db:\n    image: x\n    command: serve\n    x-kato: {runtime: process}\n")
    assert manifest.apps[0].runtime == "process"
    assert manifest.warnings == (
        "/srv/shop/compose.yaml:3:5: services.db.image: is ignored: x-kato.runtime is process, so the command "
        "runs on the host",
    )


@pytest.mark.parametrize(
    ("lines", "value", "argv"),
    [
        ("healthcheck: {test: curl -f x}", "curl -f x", None),
        ("healthcheck: {test: [CMD, curl, -f]}", None, ("curl", "-f")),
        ("healthcheck: {test: [CMD-SHELL, curl -f]}", "curl -f", None),
    ],
)
def test_healthcheck_has_composes_defaults(lines: str, value: str | None, argv: tuple[str, ...] | None) -> None:
    [check] = service(lines).health_checks
    assert check.protocol == "COMMAND" and check.command is not None
    assert (check.command.value, check.command.argv) == (value, argv)
    assert (check.interval_seconds, check.timeout_seconds, check.max_consecutive_failures) == (30, 30, 3)
    assert (check.grace_period_seconds, check.delay_seconds) == (30, 1)


@pytest.mark.parametrize("lines", ["healthcheck: {test: [NONE]}", "healthcheck: {disable: true}", "healthcheck: "])
def test_no_healthcheck(lines: str) -> None:
    assert service(lines).health_checks == ()


def test_kato_health_takes_the_place_of_healthcheck() -> None:
    app = service("expose: [1, 2]\nhealthcheck: {test: x}\nx-kato: {health: {tcp: true, port: 1}}")
    assert [(check.protocol, check.port_index) for check in app.health_checks] == [("TCP", 1)]


@pytest.mark.parametrize(
    ("resources", "cpus", "mem", "limits"),
    [
        ("", 0.1, 0, None),
        ("limits: {cpus: 0.5, memory: 512m}", 0.5, 512, None),
        ("reservations: {cpus: 0.5, memory: 1.5gb}", 0.5, 1536, {"mem": "unlimited"}),
        (
            "reservations: {cpus: 0.5, memory: 64M}, limits: {cpus: 2, memory: 128M}",
            0.5,
            64,
            {"cpus": 2, "mem": 128},
        ),
        ("limits: {memory: 1048576}", 0.1, 1, None),
    ],
)
def test_resources(resources: str, cpus: float, mem: float, limits: dict[str, float | str] | None) -> None:
    app = service(f"deploy: {{resources: {{{resources}}}}}")
    assert (app.cpus, app.mem, app.resource_limits) == (cpus, mem, limits)


@given(instances=st.integers(1, 5000), parallelism=st.integers(0, 6000), start_first=st.booleans())
@example(instances=5000, parallelism=226, start_first=True)
def test_an_upgrade_keeps_exactly_its_parallelism_by_marathons_rounding(
    instances: int, parallelism: int, start_first: bool
) -> None:
    order = "start-first" if start_first else "stop-first"
    app = service(
        f"deploy: {{replicas: {instances}, update_config: {{parallelism: {parallelism}, order: {order}}}}}"
    )
    together = min(parallelism or instances, instances)
    kept = math.ceil(instances * app.upgrade_strategy.minimum_health_capacity)
    most = math.trunc(instances * (1 + app.upgrade_strategy.maximum_over_capacity))
    assert (kept, most) == (
        (instances, instances + together) if start_first else (instances - together, instances)
    )


def test_an_app_with_a_named_volume_is_upgraded_carefully() -> None:
    strategy = service("volumes: [data:/data]").upgrade_strategy
    assert (strategy.minimum_health_capacity, strategy.maximum_over_capacity) == (0.5, 0)


def test_a_named_volume_is_not_used_by_two_versions_at_once() -> None:
    [fault] = service_faults("volumes: [data:/data]\ndeploy: {update_config: {order: start-first}}")
    assert "two tasks must not use a volume at once; use stop-first" in fault


@pytest.mark.parametrize("volume", ["data:/data:ro", "{type: volume, source: data, target: /a, read_only: true}"])
def test_a_named_volume_that_is_only_read_is_used_by_two_versions_at_once(volume: str) -> None:
    assert service(f"volumes: [{volume}]").upgrade_strategy == UpgradeStrategy()
    order = "deploy: {update_config: {order: start-first}}"
    strategy = service(f"volumes: [{volume}]\n{order}").upgrade_strategy
    assert (strategy.minimum_health_capacity, strategy.maximum_over_capacity) == (1, 1)


@pytest.mark.parametrize(
    ("source", "host"),
    [("./a", "/srv/shop/a"), ("../a", "/srv/a"), ("/a/../b", "/b"), ("~/a", "/home/me/a"), (".", "/srv/shop")],
)
def test_host_paths(source: str, host: str) -> None:
    app = service(f"volumes: ['{source}:/x']", environ={"HOME": "/home/me"})
    assert app.container is not None and app.container.type == "MESOS"
    assert app.container.volumes[0].host_path == host


@pytest.mark.parametrize(
    ("text", "environ", "group"),
    [
        ("name: My_Shop", {}, "/my-shop"),
        ("name: a", {"COMPOSE_PROJECT_NAME": "b"}, "/b"),
        ("x-a: 1", {}, "/shop"),
        ("name: ${N:-n}", {}, "/n"),
    ],
)
def test_project_name(text: str, environ: Mapping[str, str], group: str) -> None:
    manifest = compose(f"{text}\nservices: {{web: {{command: x}}}}", environ=environ)
    assert (manifest.group, manifest.apps[0].id) == (group, f"{group}/web")


def test_services_that_become_one_id_are_refused() -> None:
    assert faults("services:\n  a_b: {command: x}\n  a-b: {command: x}\n") == [
        "3: services.a-b: another service is called /shop/a-b too; rename one"
    ]


def test_services_that_want_the_same_port_or_host_are_refused() -> None:
    found = faults(
        "services:\n"
        "  a: {command: x, ports: ['80:1'], x-kato: {host: a.localhost, path: /api}}\n"
        "  b: {command: x, ports: ['80:1'], x-kato: {host: a.localhost, path: /api/}}\n"
    )
    assert found == [
        "3: services.b.ports: port 80 is published by a too",
        "3: services.b.x-kato.host: a.localhost/api/ is served by a too",
    ]


def test_a_circle_of_services_is_refused() -> None:
    [fault] = faults(
        "services:\n  a: {command: x, depends_on: [b]}\n  b: {command: x, depends_on: [c]}\n"
        "  c: {command: x, depends_on: [a]}\n"
    )
    assert fault == "2: services.a.depends_on: services wait in a circle: a → b → c → a"


def test_environment_wins_over_dot_env_and_over_env_files() -> None:
    app = service(
        "env_file: [one.env, two.env]\nenvironment: {A: a, E: '$X', G: , H: }",
        environ={"X": "shell", "G": "given"},
        files={
            "/srv/shop/.env": "X=file\nY=file",
            "/srv/shop/one.env": "A=1\nB=1\nH=1",
            "/srv/shop/two.env": "B=$X-$Y",
        },
    )
    assert app.env == {"A": "a", "B": "shell-file", "E": "shell", "G": "given"}


def test_a_fault_in_an_env_file_says_where() -> None:
    with pytest.raises(InvalidApp) as caught:
        service("env_file: bad.env", files={"/srv/shop/bad.env": "A=1\nB C\n"})
    assert "bad.env:2: 'B C' is no variable" in str(caught.value)


def test_a_variable_that_is_not_set_is_a_warning_and_blank() -> None:
    manifest = compose("services:\n  web:\n    command: serve $$P ${NOWHERE}\n")
    assert manifest.apps[0].cmd == "serve $P "
    assert manifest.warnings == (
        "/srv/shop/compose.yaml:3:5: services.web.command: NOWHERE is not set; it is left blank",
    )


def test_a_required_variable_is_a_fault() -> None:
    [fault] = faults("services:\n  web:\n    command: ${CMD:?say what to run}\n")
    assert fault.startswith("3: services.web.command: the variable CMD is not set: say what to run.")


def test_without_an_absolute_folder_it_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not an absolute path"):
        read("services: {a: {command: x}}", path="compose.yaml", environ={}, files=lambda _path: None)
    manifest = read(
        "services: {a: {command: x}}", path="c.yaml", folder="/srv/x", environ={}, files=lambda _path: None
    )
    assert manifest.apps[0].labels == {"KATO_WORKDIR": "/srv/x"}


@pytest.mark.parametrize("text", ["", "# nothing", "3", "a: 1", "service: {}", "null", "{}"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="This is no Compose or Marathon file"):
        compose(text)
