"""What HAProxy is given, compared with files that a person has read; KATO_GOLDEN=write writes them anew."""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from kato.drivers.balancer.process import binary
from kato.drivers.balancer.render import Rendered, Site, lay_out, render
from kato.model.frontend import Door, Frontends, Server, Service

GOLDEN = Path(__file__).parent / "haproxy"
SITE = Site(address="127.0.0.1", ingress="127.0.0.1:8181")


def servers(app: str, count: int, drain: int = 0) -> tuple[Server, ...]:
    return tuple(
        Server(f"{app}.instance-{n}._app.{n}", "127.0.0.1", 31000 + n, "drain" if n <= drain else "ready")
        for n in range(1, count + 1)
    )


VIEWS = {
    "empty": Frontends(),
    "voting": Frontends(
        3,
        (
            Service(
                "/voting/vote", 0, 10000, ("vote.localhost", "Vote.Example"), "/", servers("voting_vote", 3, 1)
            ),
            Service("/voting/result", 0, 10001, ("results.localhost",), "/", servers("result", 1)),
            Service("/voting/api", 1, 10002, ("vote.localhost",), "/api/", ()),
            Service("/voting/redis", 0, 6379, servers=(Server("voting_redis.1", "fd00::7", 6379),)),
        ),
    ),
    "doors": Frontends(
        4,
        (
            Service("/voting/redis", 0, 6379, servers=servers("voting_redis", 1)),
            Service("/voting/vote", 0, 0, ("vote.localhost",), "/", servers("voting_vote", 1)),
        ),
    ),
}


DOORS = {"doors": (Door("172.18.0.1", "br-0af2"), Door("172.19.0.1", "br-17c0"))}


def rendered(name: str) -> Rendered:
    layout = lay_out(VIEWS[name], SITE, {}, DOORS.get(name, ()))
    assert layout.problems == ()
    return render(layout, SITE)


@pytest.mark.parametrize("name", VIEWS)
def test_renders_as_read(name: str) -> None:
    found = rendered(name)
    for ending, text in (("cfg", found.config), ("map", found.routes)):
        golden = GOLDEN / f"{name}.{ending}"
        if os.environ.get("KATO_GOLDEN") == "write":
            golden.write_text(text, encoding="ascii")
        assert text == golden.read_text(encoding="ascii")


@pytest.mark.parametrize("name", VIEWS)
def test_haproxy_takes_it_without_a_warning(name: str, tmp_path: Path) -> None:
    found = rendered(name)
    (tmp_path / "haproxy.cfg").write_text(found.config)
    (tmp_path / "routes.map").write_text(found.routes)
    # -dW: a warning is an error.
    done = subprocess.run(
        [binary(), "-c", "-dW", "-f", "haproxy.cfg"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_what_needs_a_reload_changes_the_digest() -> None:
    service = Service("/web", 0, 10000, ("web.localhost",), "/", servers("web", 2))

    def digest(*services: Service, taken: dict[int, str] | None = None, site: Site = SITE) -> str:
        return render(lay_out(Frontends(1, services), site, taken or {}), site).digest

    other = msgspec.structs.replace
    same = [service, other(service, servers=()), other(service, servers=servers("web", 5, 2))]
    assert len({digest(each) for each in same}) == 1
    changed = [
        digest(service),
        digest(),
        digest(other(service, port=10001)),
        digest(other(service, hosts=("www.localhost",))),
        digest(other(service, hosts=())),
        digest(other(service, path="/x")),
        digest(other(service, app="/web2")),
        digest(service, taken={10000: "is in use"}),
        digest(service, taken={8181: "is in use"}),
        digest(service, site=other(SITE, connections=500)),
    ]
    assert len(set(changed)) == len(changed)


def test_a_port_that_cannot_be_had_at_a_door_is_served_everywhere_else() -> None:
    layout = lay_out(VIEWS["doors"], SITE, {}, DOORS["doors"], {(6379, "br-17c0"): "is in use by another program"})
    assert [door.interface for door, port in layout.doors] == ["br-0af2"]
    (problem,) = layout.problems
    assert "not reached by containers on br-17c0: at 172.19.0.1 it is in use" in problem
    assert layout.services[0].port == 6379


@pytest.mark.parametrize("door", [Door("172.18.0.1", "br 0"), Door("172.18.0.1\n", "br0"), Door("", "br0")])
def test_no_door_writes_a_line_of_configuration(door: Door) -> None:
    assert lay_out(VIEWS["doors"], SITE, {}, (door,)).doors == ()
