"""Facts about this machine, on this machine; and who the node is."""

import os
import socket
import stat
from pathlib import Path

import pytest

from fakes import FakeRuntime
from kato.agent import facts
from kato.agent.facts import Facts, listening
from kato.agent.identity import Identity
from kato.config import Config
from kato.model.errors import Conflict, Refused


def test_facts_of_this_machine(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.notes = ("no memory limit: no cgroup",)
    identity = Identity.claim(tmp_path / "data")
    config = Config(data=tmp_path / "data", region="eu", attributes={"disk": "ssd"}, price=0.5)
    node = Facts(config, identity, {"process": runtime})()
    identity.close()

    meminfo = Path("/proc/meminfo").read_text().splitlines()[0].split()
    assert node.resources.mem == int(meminfo[1]) // 1024
    assert node.resources.cpus == len(os.sched_getaffinity(0))
    assert node.resources.disk > 0
    assert node.hostname == socket.gethostname()
    assert node.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (node.runtimes, node.powers, node.notes) == (("process",), ("exec",), runtime.notes)
    assert (node.region, node.attributes, node.price) == ("eu", {"disk": "ssd"}, 0.5)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_taken_while_something_listens_on_it(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert listening([(port, port)]) == ()
        listener.listen()
        assert listening([(port, port)]) == (port,)
        with socket.create_connection((address, port)):
            assert listening([(port, port)]) == (port,)
        assert listening([(port + 1, port + 1)]) == ()
    assert listening([(port, port)]) == ()


def test_the_kernels_table_is_read_to_the_last_listener(tmp_path: Path) -> None:
    row = "   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 1\n"
    states = [(80, "0A"), (81, "0A"), (82, "01")]
    table = tmp_path / "tcp"
    table.write_text("  sl  local_address\n" + "".join(row.format(port=p, state=s) for p, s in states))

    assert list(facts._listeners(table)) == [80, 81]
    assert list(facts._listeners(tmp_path / "none")) == []


def test_a_node_keeps_its_id(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path / "data", "machine-1")
    first.close()
    again = Identity.claim(tmp_path / "data", "machine-1")
    again.close()
    other = Identity.claim(tmp_path / "other", "machine-1")
    other.close()

    assert first.id == again.id != other.id
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE((tmp_path / "data" / "node.json").stat().st_mode) == 0o600


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(Refused, match=r"holds letter.txt and no cell. Choose an empty or a new folder"):
        Identity.claim(tmp_path, "machine-1")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]


def test_a_copied_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    Identity.claim(tmp_path, "machine-1").close()

    with pytest.raises(Refused, match=r"of another machine: the folder was copied.*Remove that file"):
        Identity.claim(tmp_path, "machine-2")
    Identity.claim(tmp_path, "machine-1").close()


def test_a_folder_holds_one_cell(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path, "machine-1")

    with pytest.raises(Conflict, match="Another cell lives in"):
        Identity.claim(tmp_path, "machine-1")
    first.close()
    Identity.claim(tmp_path, "machine-1").close()


def test_a_broken_identity_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"id": 3}')

    with pytest.raises(Refused, match="cannot be understood"):
        Identity.claim(tmp_path, "machine-1")
    assert (tmp_path / "node.json").read_text() == '{"id": 3}'
