"""What an agent keeps over restarts, seen through the file that the next life reads."""

import asyncio
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kato.agent import durable
from kato.agent.journal import Journal, remembered
from kato.model.errors import Refused


async def test_the_age_of_a_list_that_brings_a_task_is_kept(tmp_path: Path) -> None:
    await Journal(tmp_path, 1.0).accept("c1", (1, 5, 9), {"a"}, changed=True)

    assert Journal(tmp_path, 2.0).age == (1, 5, 9)
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o600


async def test_a_list_of_the_same_tasks_writes_nothing_but_counts_in_this_life(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    await journal.accept("c1", (1, 5, 9), {"a"}, changed=True)
    before = (tmp_path / "agent.json").stat().st_mtime_ns, (tmp_path / "agent.json").stat().st_ino

    await journal.accept("c1", (1, 5, 10), {"a"}, changed=False)

    assert ((tmp_path / "agent.json").stat().st_mtime_ns, (tmp_path / "agent.json").stat().st_ino) == before
    assert journal.age == (1, 5, 10)


async def test_a_new_leader_is_kept_though_it_changes_no_task(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    await journal.accept("c1", (1, 5, 9), {"a"}, changed=True)
    await journal.accept("c1", (1, 6, 10), {"a"}, changed=False)

    assert Journal(tmp_path, 2.0).age == (1, 6, 10)


def test_sequence_numbers_rise_over_lives_though_the_clock_goes_back(tmp_path: Path) -> None:
    first = Journal(tmp_path, 2_000_000_000.0)
    numbers = [first.next_seq(), first.next_seq()]
    second = Journal(tmp_path, 1_000_000_000.0)
    third = Journal(tmp_path, 3_000_000_000.0)
    numbers += [second.next_seq(), third.next_seq()]

    assert numbers == sorted(set(numbers))


async def test_a_latch_outlives_the_agent_and_goes_with_its_task(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    await journal.accept("c1", (1, 1, 1), {"a", "b"}, changed=True)
    await journal.latch("a")
    assert Journal(tmp_path, 2.0).was_ready("a")
    assert not Journal(tmp_path, 2.0).was_ready("b")

    await journal.accept("c1", (1, 1, 2), {"b"}, changed=True)
    assert not Journal(tmp_path, 2.0).was_ready("a")


def test_a_file_that_cannot_be_understood_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text("{")

    with pytest.raises(Refused, match=r"agent\.json cannot be understood"):
        Journal(tmp_path, 1.0)
    assert (tmp_path / "agent.json").read_text() == "{"


async def test_a_list_is_not_accepted_when_it_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    journal = Journal(folder, 1.0)
    (folder / "agent.json").unlink()
    folder.rmdir()

    with pytest.raises(OSError):
        await journal.accept("c1", (1, 1, 1), {"a"}, changed=True)
    assert journal.age == (0, 0, 0)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the kernel writes what fits, and only the next write is an error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_half_a_file_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    durable.write(tmp_path / "agent.json", b"whole")

    with room_for(20), pytest.raises(OSError, match="File too large"):
        durable.write(tmp_path / "agent.json", b"longer than there is room for")
    assert (tmp_path / "agent.json").read_bytes() == b"whole"
    assert [each.name for each in tmp_path.iterdir()] == ["agent.json"], "and nothing is left of the attempt"


async def test_what_could_not_be_written_is_not_so_and_may_be_tried_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    await journal.accept("c1", (1, 1, 1), {"a"}, changed=True)
    before = (tmp_path / "agent.json").read_bytes()

    with room_for(10):
        with pytest.raises(OSError):
            await journal.latch("a")
        with pytest.raises(OSError):
            await journal.accept("c1", (1, 1, 2), set(), changed=True)
    assert (tmp_path / "agent.json").read_bytes() == before
    assert (journal.age, journal.was_ready("a")) == ((1, 1, 1), False)

    await journal.latch("a")
    assert Journal(tmp_path, 2.0).was_ready("a")


async def test_a_write_that_nobody_waits_for_any_more_does_not_meet_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    tasks = {f"t{n}" for n in range(200)}
    for task in sorted(tasks):
        latching = asyncio.create_task(journal.latch(task))
        await asyncio.sleep(0)
        latching.cancel()
    await journal.accept("c1", (1, 1, 1), tasks, changed=True)

    assert remembered(tmp_path) == ("c1", (1, 1, 1))
    later = Journal(tmp_path, 2.0)
    assert all(later.was_ready(task) for task in tasks)


def test_a_journal_that_cannot_be_written_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with (
        room_for(10),
        pytest.raises(Refused, match=r"agent\.json cannot be written \(File too large\).*Make room"),
    ):
        Journal(tmp_path, 1.0)


async def test_another_cell_begins_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1.0)
    await journal.accept("c1", (3, 70, 90), {"a"}, changed=True)

    assert journal.outdated("c1", (3, 70, 89))
    assert not journal.outdated("c2", (1, 2, 5))
    await journal.accept("c2", (1, 2, 5), {"a"}, changed=False)
    assert remembered(tmp_path) == ("c2", (1, 2, 5)), "it is kept though no task came or went"
    assert journal.outdated("c2", (1, 2, 4))


async def test_what_is_remembered_is_read_without_a_trace(tmp_path: Path) -> None:
    assert remembered(tmp_path) is None
    assert list(tmp_path.iterdir()) == []

    await Journal(tmp_path, 1.0).accept("c1", (1, 5, 9), {"a"}, changed=True)
    before = (tmp_path / "agent.json").stat()
    assert remembered(tmp_path) == ("c1", (1, 5, 9))
    assert (tmp_path / "agent.json").stat().st_mtime_ns == before.st_mtime_ns

    (tmp_path / "agent.json").write_text("{")
    with pytest.raises(Refused, match="cannot be understood"):
        remembered(tmp_path)


async def test_a_journal_in_memory_takes_no_thread() -> None:
    """The simulation has none: its clock would not wait for one."""
    before = set(threading.enumerate())
    journal = Journal(None, 1.0)
    await journal.accept("c1", (1, 1, 1), {"a"}, changed=True)
    await journal.latch("a")

    assert (journal.cell, journal.age, journal.was_ready("a")) == ("c1", (1, 1, 1), True)
    assert set(threading.enumerate()) == before
