"""The file that says whom a machine asks: taken and given back, and never where somebody else has written it."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kato.config import RESOLVERS, configure
from kato.drivers.dns import machine
from kato.drivers.dns.forward import nameservers
from kato.drivers.dns.machine import kept
from kato.model.errors import Conflict, InvalidInput

SERVERS = "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver ::1\n"
FORMER = f"search corp.example\noptions edns0 rotate ndots:2\n{SERVERS}"
OURS = "127.0.0.55"
CELL = Path("/var/lib/kato")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resolv.conf"
    path.write_text(FORMER)
    path.chmod(0o640)
    return path


def test_the_machine_asks_the_cell_first_and_its_former_servers_where_that_does_not_answer(file: Path) -> None:
    assert machine.take(file, CELL, OURS) is None
    text = file.read_text()
    assert nameservers(text) == [OURS, "192.0.2.1", "192.0.2.2"], "libc asks three at most"
    assert "search corp.example\n" in text and "options edns0 ndots:2\n" in text
    assert str(kept(file)) in text and machine.mark(file) == machine.Mark(CELL, intact=True)
    assert file.stat().st_mode & 0o777 == 0o644
    assert machine.give_back(file, CELL) is None
    assert file.read_text() == FORMER and file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(file.parent) == ["resolv.conf"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "stub.conf").write_text(FORMER)
    path = tmp_path / "resolv.conf"
    path.symlink_to("stub.conf")
    machine.take(path, CELL, OURS)
    assert not path.is_symlink() and os.readlink(kept(path)) == "stub.conf"
    machine.give_back(path, CELL)
    assert os.readlink(path) == "stub.conf" and (tmp_path / "stub.conf").exists() is there
    assert not os.path.lexists(kept(path))


def test_where_there_was_none_there_is_none_again(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    machine.take(path, CELL, OURS)
    assert nameservers(path.read_text()) == [OURS]
    machine.give_back(path, CELL)
    assert os.listdir(tmp_path) == []


def test_after_a_crash_it_is_taken_again_or_given_back_and_what_was_kept_is_the_same(file: Path) -> None:
    machine.take(file, CELL, OURS)
    machine.take(file, CELL, OURS)
    assert kept(file).read_text() == FORMER
    machine.take(file, Path("/another"), "127.0.0.56")  # the former cell is dead, and another one lives
    assert nameservers(file.read_text())[0] == "127.0.0.56" and kept(file).read_text() == FORMER
    assert machine.give_back(file, CELL) is None and machine.mark(file) is not None, "it is the other one's"
    machine.give_back(file, Path("/another"))
    assert file.read_text() == FORMER


def test_who_is_killed_between_keeping_and_writing_loses_nothing(file: Path) -> None:
    kept(file).write_text("nameserver 192.0.2.9  # kept, and then killed long ago\n")
    machine.take(file, CELL, OURS)
    assert kept(file).read_text() == FORMER, "what stands there is the newest"
    machine.give_back(file, CELL)
    assert file.read_text() == FORMER


def test_two_cells_at_once_keep_what_stood_there(file: Path) -> None:
    """Each sees that no cell has written there; what is kept is what was there all the same."""
    cells = [Path(f"/cell/{n}") for n in range(4)]
    for _ in range(30):
        gate = threading.Barrier(len(cells))

        def take(cell: Path, gate: threading.Barrier = gate) -> None:
            gate.wait(60)
            machine.take(file, cell, OURS)

        with ThreadPoolExecutor(len(cells)) as together:
            assert [*together.map(take, cells)] == [None] * len(cells)
        assert kept(file).read_text() == FORMER
        for cell in cells:
            assert machine.give_back(file, cell) is None
        assert file.read_text() == FORMER and os.listdir(file.parent) == ["resolv.conf"]


@pytest.mark.parametrize("former", [b"nameserver 192.0.2.1\r\n", b"# caf\xe9\nnameserver 192.0.2.1\n"])
def test_what_is_given_back_is_what_was_there_to_the_byte(file: Path, former: bytes) -> None:
    file.write_bytes(former)
    machine.take(file, CELL, OURS)
    assert nameservers(file.read_text()) == [OURS, "192.0.2.1"]
    machine.give_back(file, CELL)
    assert file.read_bytes() == former


@pytest.mark.parametrize("edit", ["options timeout:1\n", ""])
def test_what_somebody_has_changed_meanwhile_is_left_and_said(file: Path, edit: str) -> None:
    machine.take(file, CELL, OURS)
    changed = file.read_text() + edit if edit else "nameserver 192.0.2.77\n"
    file.write_text(changed)
    said = machine.give_back(file, CELL)
    assert file.read_text() == changed and kept(file).read_text() == FORMER
    if edit:
        assert said is not None and f"mv {kept(file)} {file}" in said
        assert machine.take(file, CELL, OURS) == said and file.read_text() == changed
    else:
        assert machine.lost(file, CELL) is not None


def test_another_cell_that_runs_is_named(file: Path) -> None:
    machine.take(file, CELL, OURS)
    assert machine.lost(file, CELL) is None
    machine.check(file, CELL, lives=lambda _: True)
    machine.check(file, Path("/b"), lives=lambda _: False)
    with pytest.raises(Conflict, match=r"asks the cell in /var/lib/kato for names already.*--data /var/lib/kato"):
        machine.check(file, Path("/b"), lives=lambda _: True)


def test_one_flag_says_where_and_whom_else(tmp_path: Path) -> None:
    for found in (configure(dns_own=True, environ={}), configure(environ={"KATO_DNS_OWN": "1"})):
        assert (found.dns, found.owns_names) == ("127.0.0.55:53", True)
        assert found.resolvers == RESOLVERS
    assert configure(dns_own=True, dns="127.0.0.1:53", environ={}).dns == "127.0.0.1:53"
    with pytest.raises(InvalidInput, match="asks port 53 alone"):
        configure(dns_own=True, environ={"KATO_DNS": "127.0.0.1:5353"})
