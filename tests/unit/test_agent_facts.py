"""Facts about this machine, on this machine; and who the node is."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kato.agent import facts, identity
from kato.agent.facts import Facts, listening
from kato.agent.identity import Identity
from kato.config import Config
from kato.model.errors import Conflict, Refused


def test_facts_of_this_machine(tmp_path: Path) -> None:
    who = Identity.claim(tmp_path / "data")
    config = Config(data=tmp_path / "data", region="eu", attributes={"disk": "ssd"}, price=0.5)
    node = Facts(config, who)()
    who.close()

    meminfo = Path("/proc/meminfo").read_text().splitlines()[0].split()
    assert node.resources.mem == int(meminfo[1]) // 1024
    assert node.resources.cpus == len(os.sched_getaffinity(0))
    assert node.resources.disk > 0
    assert node.hostname == socket.gethostname()
    assert node.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
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


def test_a_folder_copied_on_its_machine_is_refused_and_one_that_was_moved_is_not(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path / "data", "machine-1")
    first.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(Refused, match=rf"node {first.id}, whose folder is {tmp_path}/data: it was copied.*Remove"):
        Identity.claim(tmp_path / "copy", "machine-1")

    (tmp_path / "link").symlink_to("data")
    Identity.claim(tmp_path / "link", "machine-1").close()
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = Identity.claim(tmp_path / "moved", "machine-1")
    moved.close()
    assert moved.id == first.id
    (tmp_path / "copy/node.json").unlink()
    new = Identity.claim(tmp_path / "copy", "machine-1")
    new.close()
    assert new.id != first.id


def test_the_remedy_for_a_copied_folder_makes_a_new_node_that_obeys_anew(tmp_path: Path) -> None:
    first = Identity.claim(tmp_path, "machine-1")
    first.close()
    for name in ("cell.sqlite", "cell.sqlite-wal", "cell.log", "agent.json", "notes of an operator"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "tasks").mkdir()
    with pytest.raises(Refused):
        Identity.claim(tmp_path, "machine-2")

    (tmp_path / "node.json").unlink()
    second = Identity.claim(tmp_path, "machine-2")
    second.close()
    assert second.id != first.id
    assert not (tmp_path / "agent.json").exists(), "what the other node obeyed does not bind this one"
    assert (tmp_path / "cell.sqlite").exists()


@pytest.mark.parametrize("part", ["volumes/", "cell.log", "cell.sqlite", "agent.json"])
def test_parts_of_a_cell_that_were_put_back_are_taken_for_one(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir() if part.endswith("/") else (tmp_path / part).touch()
    Identity.claim(tmp_path, "machine-1").close()


@pytest.mark.parametrize("part", ["volumes", "tasks", "balancer", "cell.log"])
def test_a_folder_of_something_else_that_looks_a_little_like_a_cell_is_refused(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / "letter.txt").touch()
    with pytest.raises(Refused, match=r"holds (letter\.txt|balancer) and no cell"):
        Identity.claim(tmp_path, "machine-1")


@pytest.mark.parametrize("part", ["tasks", "balancer", "docker", "oci"])
def test_a_folder_with_nothing_but_what_no_backup_puts_back_is_somebody_else_s(tmp_path: Path, part: str) -> None:
    """A cell would end, and take away, what it finds there."""
    (tmp_path / part / "mine").mkdir(parents=True)
    with pytest.raises(Refused, match=rf"holds {part} and no cell\. Choose an empty or a new folder"):
        Identity.claim(tmp_path, "machine-1")
    assert (tmp_path / part / "mine").is_dir() and len(list(tmp_path.iterdir())) == 1


def test_a_machine_without_an_id_is_not_locked_out_when_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "machine_id", lambda: None)
    first = Identity.claim(tmp_path)
    first.close()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")
    second = Identity.claim(tmp_path)
    second.close()
    assert (second.id, second.machine) == (first.id, "")

    Identity.claim(tmp_path, "machine-1").close()  # it has got one
    with pytest.raises(Refused, match="of another machine"):
        Identity.claim(tmp_path, "machine-2")
    again = Identity.claim(tmp_path)
    again.close()
    assert (again.id, again.machine) == (first.id, "machine-1")


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


def test_an_agent_is_small() -> None:
    """It runs on every node, and needs no planner, and so no numpy, to look after tasks."""
    program = (
        "import sys; import kato.agent, kato.agent.facts, kato.agent.identity, kato.agent.probe;"
        "print([name for name in ('kato.plan', 'kato.store', 'numpy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"
