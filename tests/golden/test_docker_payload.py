"""What the engine is asked for, held against files that a person has read; KATO_GOLDEN=write writes them anew."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builders import app
from kato.drivers.runtime import Launch
from kato.drivers.runtime.docker.payload import Site, body
from kato.model.app import App, AppVolume, Container, Docker, External, Network, Parameter, PortMapping

GOLDEN = Path(__file__).parent / "docker"
SITE = Site(
    node="n1",
    boot="b00t",
    address="127.0.0.1",
    sandbox="/data/docker/web.1",
    networks={"default": "kato-n1-shop", "back": "back"},
    volumes={"/var/lib/data": "kato-n1-shop_data"},
)


def contained(*, docker: Docker, **more: Any) -> App:
    parts = {name: more.pop(name) for name in ("volumes", "port_mappings") if name in more}
    given: dict[str, Any] = {"id": "/shop/web", "cmd": None, "container": Container(docker=docker, **parts)}
    return app(**(given | more))


APPS = {
    "least": contained(docker=Docker(image="web:1"), networks=(Network(mode="container/bridge"),)),
    "line": contained(docker=Docker(image="web:1"), cmd="exec serve $PORT0", user="1000:1000", ports=1),
    "shop": contained(
        docker=Docker(
            image="web@sha256:00",
            parameters=(
                Parameter(key="network-alias", value="my_web"),
                Parameter(key="entrypoint", value="/bin/run -v"),
                Parameter(key="ulimit", value="nofile=1024:4096"),
                Parameter(key="shm-size", value="64m"),
                Parameter(key="cap-add", value="NET_ADMIN"),
                Parameter(key="device", value="/dev/fuse"),
                Parameter(key="init", value="true"),
            ),
        ),
        args=("serve", "a b"),
        networks=(Network(mode="container", name="default"), Network(mode="container", name="back")),
        port_mappings=(
            PortMapping(container_port=80, service_port=8080),
            PortMapping(container_port=53, protocol="udp,tcp"),
        ),
        volumes=(
            AppVolume(container_path="/var/lib/data", external=External(name="shop_data", provider="kato")),
            AppVolume(container_path="/etc/conf", host_path="/srv/conf", mode="RO"),
        ),
        resource_limits={"cpus": 0.5, "mem": 64.0},
        labels={"team": "red"},
        tty=True,
    ),
    "privileged": contained(docker=Docker(image="web:1", privileged=True)),
}


@pytest.mark.parametrize("label", ["kato.node", "kato.task", "kato.app", "kato.boot"])
def test_no_label_that_an_app_asks_for_hides_whose_a_container_is(label: str) -> None:
    """Else the cell would not find it again, and could neither end nor remove it."""
    asked = Docker(image="web:1", parameters=(Parameter(key="label", value=f"{label}=else"),))
    plain, other = (contained(docker=each, networks=()) for each in (Docker(image="web:1"), asked))
    found = [body(Launch(task="web.1", app=each, env={}), SITE)["Labels"] for each in (plain, other)]
    assert found[0] == found[1] and label in found[0]


@pytest.mark.parametrize("name", APPS)
def test_the_engine_is_asked_for(name: str) -> None:
    launch = Launch(task="web.1", app=APPS[name], env={"ONE": "1", "TWO": "a=b"}, ports=(31000, 31001))
    asked = json.dumps(body(launch, SITE), indent=2, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("KATO_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(asked)
    assert asked == file.read_text()


def test_whom_a_container_asks_for_names_is_its_app_s_choice_then_the_cell() -> None:
    site = msgspec.structs.replace(SITE, servers=("172.18.0.1", "192.0.2.53"))
    own = Docker(image="web:1", parameters=(Parameter(key="dns", value="192.0.2.1"),))
    shared, bridged = (Network(mode="container", name="default"),), (Network(mode="container/bridge"),)
    given: list[tuple[Docker, tuple[Network, ...], Any]] = [
        (Docker(image="web:1"), shared, ["172.18.0.1", "192.0.2.53"]),
        (own, shared, ["192.0.2.1"]),
        (Docker(image="web:1"), bridged, None),
        (Docker(image="web:1"), (Network(mode="host"),), None),
    ]
    for docker, networks, servers in given:
        launch = Launch(task="web.1", app=contained(docker=docker, networks=networks), env={})
        assert body(launch, site)["HostConfig"].get("Dns") == servers
