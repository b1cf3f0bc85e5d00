"""marathon-lb's labels: what the ingress could not serve is a fault, not silence."""

import pytest

from builders import app
from kato.model.validate import validate


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
