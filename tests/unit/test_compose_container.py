"""Services with an image become containers; what the engine is to be asked for comes from Compose's own keys."""

import pytest
from test_compose import compose, faults, service

from kato.drivers.runtime.docker.payload import known_parameters
from kato.language.service_container import _FLAGS, _LISTS, _PAIRS, _WORDS
from kato.model.app import External, Network, Parameter


def container(lines: str, *, top: str = ""):  # type: ignore[no-untyped-def]
    """The app of one service `web` of the project shop, with an image and these further lines."""
    body = "\n".join(f"    {line}" for line in lines.strip("\n").splitlines())
    return compose(f"name: shop\nservices:\n  web:\n    image: shop/web:1\n{body}\n{top}").apps[0]


def parameters(lines: str) -> set[tuple[str, str]]:
    docker = container(lines).container.docker
    return {(each.key, each.value) for each in docker.parameters} - {("network-alias", "web")}


def test_the_shape_chooses_the_runtime() -> None:
    assert container("").runtime == "docker"
    assert container("command: x\nx-kato: {runtime: process}").runtime == "process"
    assert container("x-kato: {runtime: oci}").runtime == "oci"


def test_without_a_daemon_it_has_the_same_networks() -> None:
    for mode in ("", "network_mode: host\n", "network_mode: bridge\n"):
        lines = f"{mode}ports: ['8080:80']\n"
        bare, by_engine = container(f"{lines}x-kato: {{runtime: oci}}"), container(lines)
        assert bare.container.type == "MESOS" and bare.networks == by_engine.networks
        assert bare.container.port_mappings == by_engine.container.port_mappings
        assert bare.port_definitions == by_engine.port_definitions


def test_runtimes_have_networks_of_their_own() -> None:
    """A container of one does not find one of another by its name."""
    assert not container("").own_networks & container("x-kato: {runtime: oci}").own_networks


def test_ports_are_the_containers_own_and_the_balancers() -> None:
    app = container("ports: ['8080:80', '443']\nexpose: [9000]")
    found = [(each.container_port, each.service_port) for each in app.container.port_mappings]
    assert found == [(80, 8080), (443, 0), (9000, 0)]
    assert app.port_definitions is None


def test_services_of_a_project_share_a_network_with_their_names() -> None:
    app = container("")
    assert app.networks == (Network(mode="container", name="default"),)
    assert Parameter(key="network-alias", value="web") in app.container.docker.parameters


def test_networks_of_the_project() -> None:
    app = container("networks: [front, back]", top="networks: {front: , back: {name: shared, external: true}}\n")
    assert [network.name for network in app.networks] == ["shop_front", "shared"]


@pytest.mark.parametrize(("mode", "expected"), [("host", "host"), ("bridge", "container/bridge")])
def test_network_modes(mode: str, expected: str) -> None:
    app = container(f"network_mode: {mode}\nports: ['8080:80']")
    assert [network.mode for network in app.networks] == [expected]
    assert (app.container.port_mappings is None) == (mode == "host")


def test_a_command_is_words() -> None:
    assert container("command: serve --name 'a b' $$HOME").args == ("serve", "--name", "a b", "$HOME")
    assert container("command: [serve, x]").args == ("serve", "x")
    assert parameters("entrypoint: /bin/run -v") == {("entrypoint", "/bin/run -v")}


def test_volumes_are_where_the_file_says() -> None:
    app = container(
        "volumes: ['data:/var/lib/data', './conf:/etc/conf:ro', 'data:/var/lib']", top="volumes: {data: }\n"
    )
    found = [(each.container_path, each.host_path, each.mode) for each in app.container.volumes]
    assert found == [
        ("/var/lib/data", None, "RW"),
        ("/etc/conf", "/srv/shop/conf", "RO"),
        ("/var/lib", None, "RW"),
    ]
    assert app.container.volumes[0].external == External(name="shop_data", provider="kato")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("cap_add: [NET_ADMIN]", {("cap-add", "NET_ADMIN")}),
        ("hostname: here", {("hostname", "here")}),
        ("init: true\nread_only: true", {("init", "true"), ("read-only", "true")}),
        ("privileged: false", set()),
        ("tmpfs: /run", {("tmpfs", "/run")}),
        ("shm_size: 64m", {("shm-size", "64m")}),
        ("extra_hosts: ['a:10.0.0.1']", {("add-host", "a:10.0.0.1")}),
        ("extra_hosts: {a: 10.0.0.1}", {("add-host", "a:10.0.0.1")}),
        ("sysctls: {net.core.somaxconn: 1024}", {("sysctl", "net.core.somaxconn=1024")}),
        (
            "ulimits: {nproc: 65535, nofile: {soft: 1, hard: 2}}",
            {("ulimit", "nproc=65535"), ("ulimit", "nofile=1:2")},
        ),
        ("working_dir: /srv", {("workdir", "/srv")}),
        ("stop_signal: SIGQUIT", {("stop-signal", "SIGQUIT")}),
    ],
)
def test_what_marathon_has_no_field_for_is_a_flag_of_docker_run(
    lines: str, expected: set[tuple[str, str]]
) -> None:
    assert parameters(lines) == expected


def test_pull_policy() -> None:
    assert container("pull_policy: always").container.docker.force_pull_image
    assert not container("pull_policy: missing").container.docker.force_pull_image
    assert Parameter(key="pull", value="never") in container("pull_policy: never").container.docker.parameters


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("networks: [front]", "no network 'front' is named under the top-level `networks`"),
        ("network_mode: none", "'none' is not taken; use host or bridge"),
        ("network_mode: host\n    networks: [default]", "cannot stand beside network_mode"),
        ("pull_policy: daily", "'daily' is not taken; use missing, always, never or build"),
        ("mac_address: x", "several tasks cannot share one"),
        (
            "networks: {default: {ipv4_address: 10.0.0.1}}",
            "networks.default.ipv4_address: is not taken: a service's",
        ),
        ("links: [other:alias]", "links: other is found by that name, not as 'alias'"),
        ("x-kato: {runtime: oci}\n    pids_limit: 5", "pids_limit: is not taken by the oci runtime"),
        ("volumes: [{type: tmpfs, target: x}]", "volumes[0]: needs a target, an absolute path"),
        (
            "volumes: [data]",
            "volumes[0]: 'data' is no place of a volume; write an absolute path, or SOURCE:TARGET",
        ),
        ("volumes: [./x:/d, /d]", "volumes[1]: two volumes have the target 'd'; keep one"),
        ("volumes: [/d/../e]", "volumes[0]: the target '/d/../e' must be a path without '..'"),
        (
            "volumes: [{type: volume, target: /d, read_only: true}]",
            "volumes[0]: is new with each task and nobody may write to it; leave out read_only, or name it",
        ),
        ("mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}", "mem_limit: says another number than"),
        ("env_file: [{path: x, format: yaml}]", "env_file[0].format: 'yaml' is not taken; leave it out"),
        ("label_file: gone", "label_file: there is no file gone"),
        ("secrets: [a]", "nothing 'a' is named under the top-level `secrets`; add it there"),
        ('command: "it\'s"', "cannot be split into words"),
    ],
)
def test_what_a_container_cannot_be_is_refused(lines: str, fault: str) -> None:
    assert any(fault in each for each in faults(f"services:\n  web:\n    image: x\n    {lines}\n"))


def test_it_is_found_by_each_name_that_it_has_in_compose() -> None:
    networks = "networks: {default: {aliases: [www, web], priority: 1}, back: {priority: 9}}"
    lines = f"container_name: my-web\n    {networks}"
    manifest = compose(f"services:\n  web:\n    image: x\n    {lines}\nnetworks: {{back: }}\n")
    assert "container_name: is ignored: tasks have names of their own" in manifest.warnings[0]
    app = manifest.apps[0]
    assert [each.name for each in app.networks] == ["shop_back", "default"], "the higher priority first"
    assert app.container and app.container.docker
    names = [each.value for each in app.container.docker.parameters if each.key == "network-alias"]
    assert names == ["web", "my-web", "www"]


@pytest.mark.parametrize(
    ("lines", "flag"),
    [
        ("healthcheck: {disable: true}", ("no-healthcheck", "true")),
        ("healthcheck: {test: [NONE]}", ("no-healthcheck", "true")),
        ("volumes: [{type: tmpfs, target: /x, tmpfs: {size: 1m, mode: 1777}}]",
         ("tmpfs", "/x:size=1048576,mode=1777")),
        ("volumes: [{type: tmpfs, target: /x}]", ("tmpfs", "/x")),
        ("volumes: [/code/node_modules]", ("volume", "/code/node_modules")),
        ("volumes: [./src:/code, {type: volume, target: /code/lib}]", ("volume", "/code/lib")),
        ("stdin_open: true", ("interactive", "true")),
        ("pids_limit: 5", ("pids-limit", "5")),
        ("cpuset: 0-1", ("cpuset-cpus", "0-1")),
        ("storage_opt: {size: 1g}", ("storage-opt", "size=1g")),
    ],
)  # fmt: skip
def test_more_of_compose_s_keys_are_flags_too(lines: str, flag: tuple[str, str]) -> None:
    assert flag in parameters(lines)


def test_every_flag_is_one_that_the_driver_takes() -> None:
    flags = {
        *_LISTS.values(),
        *_WORDS.values(),
        *_FLAGS.values(),
        *(flag for flag, _ in _PAIRS.values()),
        "volume",
    }
    assert flags <= set(known_parameters())


def test_the_old_words_for_resources_mean_the_same() -> None:
    old = service("cpus: 0.5\nmem_limit: 64m\nmem_reservation: 32m")
    limits, reservations = "limits: {cpus: 0.5, memory: 64m}", "reservations: {memory: 32m}"
    assert old == service(f"deploy: {{resources: {{{limits}, {reservations}}}}}")
    assert service("mem_limit: 0").mem == service("").mem


def test_a_label_file_says_less_than_the_labels() -> None:
    files = {"/srv/shop/l": "A=1\nB=2"}
    assert service("label_file: [l]\nlabels: {B: 3}", files=files).labels["A"] == "1"
    assert service("label_file: l\nlabels: {B: 3}", files=files).labels["B"] == "3"


def test_a_raw_env_file_is_taken_as_it_stands() -> None:
    files = {"/srv/shop/e": "# no\n  A='x' # $B ${\n\nB\nC\n"}
    lines = "env_file: [{path: e, format: raw}]"
    assert service(lines, files=files, environ={"B": "b"}).env == {"A": "'x' # $B ${", "B": "b"}


def test_links_are_dependencies() -> None:
    manifest = compose("services: {web: {image: x, links: [db, 'db:db']}, db: {image: x}}")
    assert manifest.apps[0].dependencies == ("/shop/db",)


def test_what_was_made_elsewhere_has_its_own_name() -> None:
    top = "volumes: {a: {external: true}, b: {external: {name: old}}, c: {external: true, name: new}}\n"
    lines = "services: {web: {image: x, volumes: ['a:/a', 'b:/b', 'c:/c'], networks: [n]}}\n"
    app = compose(lines + top + "networks: {n: {external: true}}").apps[0]
    assert app.container
    assert [each.external and each.external.name for each in app.container.volumes] == ["a", "old", "new"]
    assert app.networks[0].name == "n"


def test_the_volumes_that_are_a_project_s_own_are_known() -> None:
    top = "name: shop\nvolumes: {a: , b: {name: kept}, c: {external: true}, d: }\n"
    lines = "services: {web: {image: x, volumes: ['a:/a', 'c:/c']}, db: {image: x, volumes: ['b:/b']}}\n"
    assert compose(lines + top).volumes == {"shop_a", "kept", "shop_d"}
