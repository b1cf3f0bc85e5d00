"""marathon-lb's labels: what the ingress could not serve is a fault, not silence."""

import pytest

from builders import app
from kato.api.wish.clashes import clashes
from kato.model.app import PortDefinition
from kato.model.validate import validate
from kato.store.mirror import Mirror


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("HAPROXY_0_VHOST", each)
            for each in ("a b", "a.localhost,b c", "http://a", "a:80", "-a", "*", "a\nb", "ä b")
        ),
        *(("HAPROXY_12_PATH", each) for each in ("api", "", "/a b", "/a\n", "/a?b", "-i /a")),
    ],
)
def test_what_is_no_host_or_path_is_a_fault(name: str, value: str) -> None:
    assert [fault.path for fault in validate(app(ports=1, labels={name: value}))] == [f"/labels/{name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("HAPROXY_0_VHOST", each) for each in ("", "a.localhost, B.localhost", "käto.example", "my_host", "a,")),
        *(("HAPROXY_0_PATH", each) for each in ("/", "/api", "/a/b-c/%20")),
        *(("HAPROXY_VHOST", "a b"), ("HAPROXY_0_MODE", "a b"), ("VHOST", "a b")),
    ],
)
def test_what_the_ingress_can_serve_and_labels_of_ones_own_are_none(name: str, value: str) -> None:
    assert validate(app(ports=1, labels={name: value})) == []


def test_two_new_apps_cannot_have_one_host_though_their_ports_are_still_to_be_given() -> None:
    port = PortDefinition(port=0)
    same = {"HAPROXY_0_VHOST": "same.localhost"}
    both = {id: app(id, port_definitions=(port,), labels=same) for id in ("/a", "/b")}
    (fault,) = clashes(Mirror().world(), both, {})
    assert (fault.path, "of /b belongs to /a" in fault.message) == ("/labels/HAPROXY_0_VHOST", True)
