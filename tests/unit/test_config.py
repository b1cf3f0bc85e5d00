"""Where a cell may listen and live, and where its tasks find programs."""

import os
import sys
from pathlib import Path

import pytest

from kato.config import Config, apart, configure, search_path
from kato.model.errors import InvalidInput


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "LocalHost", "[::1]"])
def test_loopback_is_taken(host: str) -> None:
    assert configure(api=f"{host}:80", environ={}).api == f"{host}:80"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.evil.example", "localhost.evil.example", "127.evil", "127.1", "[::1].evil", "::1"),
        *("0.0.0.0", "[::]", "128.0.0.1", "", "evil@localhost", "[::ffff:127.0.0.1]", "127.0.0.1 ", "[127.0.0.1]"),
    ],
)
def test_what_only_begins_like_loopback_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match="not loopback"):
        configure(api=f"{host}:80", environ={})


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
