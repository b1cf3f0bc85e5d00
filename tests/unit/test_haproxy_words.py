"""HAProxy's tables and words on their own: answers as text flow in, rows and commands come out."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kato.drivers.balancer.render import Site, held_port, lay_out, word
from kato.drivers.balancer.runtime_socket import LINE, Seen, changes, lines, servers, tables
from kato.drivers.balancer.sessions import count, draining
from kato.model.frontend import Frontends, Server, Service

STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port
3 tcp.80.web 1 a 127.0.0.1 2 0 31000
3 tcp.80.web 2 b 127.0.0.1 2 8 31001

1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_port
4 http.0.web 1 a ::1 0 1 31000
No such proxy.
"""
STAT = """# pxname,svname,qcur,qmax,scur
ingress.8181,FRONTEND,,,5

# pxname,svname,qcur,qmax,scur
tcp.80.web,a,0,0,2
http.0.web,a,1,0,1

"""


def test_reads_servers_of_several_answers() -> None:
    assert servers(STATE) == {
        "tcp.80.web": {"a": Seen("127.0.0.1:31000", "ready"), "b": Seen("127.0.0.1:31001", "drain")},
        "http.0.web": {"a": Seen("[::1]:31000", "maint")},
    }


def test_counts_sessions_and_the_clients_of_a_worker_that_goes() -> None:
    assert count(STAT, old=False) == {("tcp.80.web", "a"): 2, ("http.0.web", "a"): 2}
    assert count(STAT, old=True) == {("tcp.80.web", "a"): 2, ("http.0.web", "a"): 5}


def test_a_task_drains_wherever_it_serves() -> None:
    a, b = Server("a", "127.0.0.1", 1, "drain"), Server("b", "127.0.0.1", 2)
    services = (Service("/x", 0, 80, ("x",), "/", (a, b)), Service("/x", 1, 81, servers=(a, b)))
    assert draining(services) == {"a": [("tcp.80.x", "a"), ("http.0.x", "a"), ("tcp.81.x", "a")]}


def test_what_leaves_yields_its_port_and_its_hosts_without_a_word() -> None:
    site = Site(address="127.0.0.1", ingress="127.0.0.1:8181")
    server = Server("a", "127.0.0.1", 1, "drain")
    old = Service("/a", 0, 80, ("x", "y"), "/", (server,), leaving=True)
    new = Service("/b", 0, 80, ("x",))
    layout = lay_out(Frontends(1, (old, new)), site, {})
    assert [(each.app, each.port, each.hosts) for each in layout.services] == [
        ("/a", 0, ("y",)),
        ("/b", 80, ("x",)),
    ]
    assert layout.problems == ()
    before = lay_out(Frontends(1, (msgspec.structs.replace(old, leaving=False),)), site, {})
    assert lay_out(Frontends(2, (old,)), site, {}).shape == before.shape


def test_commands_lead_from_what_is_to_what_is_wanted() -> None:
    seen = {
        "gone": {"a": Seen("127.0.0.1:1", "ready")},
        "kept": {
            "moved": Seen("127.0.0.1:1", "ready"),
            "drains": Seen("127.0.0.1:2", "ready"),
            "back": Seen("127.0.0.1:3", "maint"),
            "same": Seen("127.0.0.1:4", "ready"),
            "left": Seen("127.0.0.1:5", "maint"),
        },
    }
    wanted = {
        "kept": (
            Server("moved", "127.0.0.2", 9),
            Server("drains", "127.0.0.1", 2, "drain"),
            Server("back", "127.0.0.1", 3),
            Server("same", "127.0.0.1", 4),
            Server("new", "::1", 6),
            Server("late", "127.0.0.1", 7, "drain"),
        )
    }
    assert changes(seen, wanted) == {
        "gone": ["set server gone/a state maint", "del server gone/a"],
        "kept": [
            "set server kept/moved addr 127.0.0.2 port 9",
            "set server kept/drains state drain",
            "set server kept/back state ready",
            "add server kept/new [::1]:6",
            "enable server kept/new",
            "del server kept/left",
        ],
    }


@given(st.text(), st.text())
def test_words_are_of_the_alphabet_and_never_meet(one: str, two: str) -> None:
    assert set(word(one)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:")
    assert (word(one) == word(two)) == (one == two)


@given(st.lists(st.text("abc", min_size=1, max_size=300), max_size=200))
def test_lines_hold_every_command_and_fit(commands: list[str]) -> None:
    found = list(lines(commands))
    assert [each for line in found for each in line.split(";")] == commands
    assert all(len(line) <= LINE for line in found)


@pytest.mark.parametrize(
    ("name", "port"), [("tcp.80.web", 80), ("ingress.8181", 8181), ("MASTER", 0), ("http.0.web", 0), ("tcp.x", 0)]
)
def test_a_frontends_name_tells_its_port(name: str, port: int) -> None:
    assert held_port(name) == port


def test_a_line_of_other_width_is_no_row() -> None:
    assert list(tables("x\n\n# a,b\n1,2\nNo such proxy.\n1,2,3\n")) == [{"a": "1", "b": "2"}]
