"""What an agent keeps over restarts, seen through the file that the next life reads."""

import stat
from pathlib import Path

import pytest

from kato.agent.journal import Journal
from kato.model.errors import Refused


async def test_the_age_of_a_list_that_brings_a_task_is_kept(tmp_path: Path) -> None:
    await Journal(tmp_path, 1.0).accept((1, 5, 9), {"a"}, changed=True)

    assert Journal(tmp_path, 2.0).age == (1, 5, 9)
    assert stat.S_IMODE((tmp_path / "agent.json").stat().st_mode) == 0o600


async def test_a_list_of_the_same_tasks_writes_nothing_but_counts_in_this_life(tmp_path: Path) -> None:
    memory = Journal(tmp_path, 1.0)
    await memory.accept((1, 5, 9), {"a"}, changed=True)
    before = (tmp_path / "agent.json").stat().st_mtime_ns, (tmp_path / "agent.json").stat().st_ino

    await memory.accept((1, 5, 10), {"a"}, changed=False)

    assert ((tmp_path / "agent.json").stat().st_mtime_ns, (tmp_path / "agent.json").stat().st_ino) == before
    assert memory.age == (1, 5, 10)


async def test_a_new_leader_is_kept_though_it_changes_no_task(tmp_path: Path) -> None:
    memory = Journal(tmp_path, 1.0)
    await memory.accept((1, 5, 9), {"a"}, changed=True)
    await memory.accept((1, 6, 10), {"a"}, changed=False)

    assert Journal(tmp_path, 2.0).age == (1, 6, 10)


def test_sequence_numbers_rise_over_lives_though_the_clock_goes_back(tmp_path: Path) -> None:
    first = Journal(tmp_path, 2_000_000_000.0)
    numbers = [first.next_seq(), first.next_seq()]
    second = Journal(tmp_path, 1_000_000_000.0)
    third = Journal(tmp_path, 3_000_000_000.0)
    numbers += [second.next_seq(), third.next_seq()]

    assert numbers == sorted(set(numbers))


async def test_a_latch_outlives_the_agent_and_goes_with_its_task(tmp_path: Path) -> None:
    memory = Journal(tmp_path, 1.0)
    await memory.accept((1, 1, 1), {"a", "b"}, changed=True)
    await memory.latch("a")
    assert Journal(tmp_path, 2.0).was_ready("a")
    assert not Journal(tmp_path, 2.0).was_ready("b")

    await memory.accept((1, 1, 2), {"b"}, changed=True)
    assert not Journal(tmp_path, 2.0).was_ready("a")


def test_a_file_that_cannot_be_understood_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "agent.json").write_text("{")

    with pytest.raises(Refused, match=r"agent\.json cannot be understood"):
        Journal(tmp_path, 1.0)
    assert (tmp_path / "agent.json").read_text() == "{"


async def test_a_list_is_not_accepted_when_it_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    memory = Journal(folder, 1.0)
    (folder / "agent.json").unlink()
    folder.rmdir()

    with pytest.raises(OSError):
        await memory.accept((1, 1, 1), {"a"}, changed=True)
    assert memory.age == (0, 0, 0)
