"""Where a cell may listen and live, and where its tasks find programs."""

import os
import sys
from pathlib import Path

import pytest

from kato.config import Config, apart, configure, search_path
from kato.model.errors import InvalidInput


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "LocalHost", "[::1]"])
def test_loopback_is_taken(host: str) -> None:
    for scheme, https in (("", False), ("http://", False), ("https://", True)):
        found = configure(api=f"{scheme}{host}:80", environ={})
        assert found.api == f"{host}:80" and found.https is https
    assert configure(ingress=f"{host}:80", environ={}).ingress == f"{host}:80"


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "[::]", "192.0.2.1", "[::ffff:127.0.0.1]", "kato.example", "localhost.example", "127.1"],
)
def test_beyond_loopback_the_api_speaks_tls(host: str) -> None:
    for given in (f"{host}:80", f"https://{host}:80/"):
        found = configure(api=given, environ={})
        assert found.https and found.api == f"{host}:80" and found.listens == f"https://{host}:80"
    with pytest.raises(InvalidInput, match="everybody on the way could read the token"):
        configure(api=f"http://{host}:80", environ={})


@pytest.mark.parametrize("host", ["", "evil@localhost", "::1", "[::1].evil", "127.0.0.1 ", "[127.0.0.1]", "a/b"])
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="takes host:port or a URL"):
        configure(api=f"{host}:80", environ={})
    with pytest.raises(InvalidInput, match="takes host:port or a URL"):
        configure(api="ftp://127.0.0.1:80", environ={})


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.evil.example", "localhost.evil.example", "127.evil", "127.1", "[::1].evil", "::1"),
        *("0.0.0.0", "[::]", "128.0.0.1", "", "evil@localhost", "[::ffff:127.0.0.1]", "127.0.0.1 ", "[127.0.0.1]"),
    ],
)
def test_what_only_begins_like_loopback_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="not loopback"):
        configure(ingress=f"{host}:80", environ={})


@pytest.mark.parametrize("ingress", ["127.0.0.1:8180", "localhost:8180"])
def test_the_api_and_the_ingress_are_two(ingress: str) -> None:
    with pytest.raises(InvalidInput, match=r"cannot both listen on 127\.0\.0\.1:8180.*--ingress"):
        apart(Config(data=Path("/x"), api="127.0.0.1:8180", ingress=ingress))
    apart(Config(data=Path("/x"), api="127.0.0.1:8180", ingress="127.0.0.2:8180"))
    apart(Config(data=Path("/x")))


def test_the_name_server_is_a_third_and_only_where_it_is_asked_for() -> None:
    assert configure(environ={}).dns is None and configure(environ={"KATO_DNS": ""}).dns is None
    assert configure(environ={"KATO_DNS": "127.0.0.1:53"}).dns == "127.0.0.1:53"
    found = configure(dns="[::1]:5353", environ={"KATO_DNS": "127.0.0.1:53"})
    assert found.dns == "[::1]:5353" and found.resolvers is None
    assert found.own_ports == {5353: "DNS", 8181: "ingress", 8180: "API"}
    assert configure(dns_forward=True, environ={}).resolvers == Path("/etc/resolv.conf")
    assert configure(environ={"KATO_DNS_FORWARD": "1"}).resolvers == Path("/etc/resolv.conf")
    with pytest.raises(InvalidInput, match=r"--dns \(or KATO_DNS\) is '10\.0\.0\.1:53', which is not loopback"):
        configure(dns="10.0.0.1:53", environ={})
    with pytest.raises(InvalidInput, match=r"The API and the name server cannot both.*--api .*--dns"):
        apart(Config(data=Path("/x"), dns="localhost:8180"))


def test_tasks_find_the_interpreter_of_the_cell_last() -> None:
    assert search_path({"PATH": "/usr/bin"}, "/venv/bin/python") == "/usr/bin:/venv/bin"
    assert search_path({"PATH": "/venv/bin:/usr/bin"}, "/venv/bin/python") == "/venv/bin:/usr/bin"
    assert search_path({}, "/venv/bin/python") == f"{os.defpath}:/venv/bin"
    found = configure(environ={"PATH": "/usr/bin"}).environ["PATH"].split(":")
    assert found == ["/usr/bin", str(Path(sys.executable).parent)]


def test_a_home_may_be_written_short() -> None:
    assert configure(data="~/cell", environ={"HOME": "/home/me"}).data == Path("/home/me/cell")
    assert configure(data="x~/cell", environ={"HOME": "/home/me"}).data == Path("x~/cell").absolute()
