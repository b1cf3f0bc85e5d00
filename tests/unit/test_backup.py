"""Backups: one that is not whole is refused by name; putting one back, ended at any moment, leaves the former
store or the new one.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kato.agent.identity import Identity
from kato.cli.upkeep.backup import replace
from kato.model.errors import Conflict, Refused, StoreRefused
from kato.restore import restore
from kato.store import Delete, KeyValue, Put, Range, backup, cellfile, keys
from kato.store.local import LocalStore

pytestmark = pytest.mark.timeout(120)

BIG = "x" * 2000


def cell(id: str = "c1", incarnation: int = 1) -> KeyValue:
    return KeyValue(keys.CELL, keys.encode(keys.Cell(id=id, incarnation=incarnation)), 2, 2, 1)


def standing(*items: KeyValue) -> Range:
    leased = KeyValue(keys.LEADER, b'{"master":"m"}', 3, 3, 1, 7)
    return Range(9, (*(items or (cell(),)), leased, KeyValue("wish/seq", b"5", 4, 9, 5)))


def written(*items: KeyValue) -> bytes:
    return backup.written(standing(*items), "1.2.3", 1_700_000_000.0)


def test_a_backup_has_all_but_what_a_lease_holds() -> None:
    content = written()
    found = backup.read(content, "b")
    assert found.standing == Range(9, (cell(), KeyValue("wish/seq", b"5", 4, 9, 5)))
    assert (found.head.cell, found.head.version, found.head.taken) == ("c1", "1.2.3", "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda _: b"", "is no backup of a cell"),
        (lambda _: b"apps:\n- web\n", "is no backup of a cell"),
        (lambda content: content[:10], "is no backup of a cell"),
        (lambda content: content[:30], "is damaged"),
        (lambda content: content[:-1], "is cut short"),
        (lambda content: content[:-30], "is cut short"),
        (lambda content: content[: len(content) // 2], "is cut short"),
        (lambda content: content + b"x", "is cut short"),
        (lambda content: content.replace(b'"5"', b'"6"'), "its checksum is wrong"),
        (lambda content: content.replace(b'"format":1', b'"format":2'), r"Káto 1\.2\.3, which is newer"),
        (lambda content: content.replace(b'"store":1', b'"store":2'), r"Káto 1\.2\.3, which is newer"),
    ],
)
def test_what_is_no_whole_backup_is_refused_by_name(damage: Callable[[bytes], bytes], words: str) -> None:
    damaged = damage(written())
    assert damaged != written()
    with pytest.raises(StoreRefused, match=f"^/some/file .*{words}"):
        backup.read(damaged, "/some/file")


def test_every_flipped_bit_of_a_backup_is_refused() -> None:
    content = written()
    for where in range(len(content)):
        flipped = content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]
        with pytest.raises(StoreRefused):
            backup.read(flipped, "b")


def restored(folder: Path, *items: KeyValue) -> keys.Cell:
    return restore(folder, folder / "cell.sqlite", backup.read(written(*items), "b"))


def incarnation(folder: Path) -> int:
    found = cellfile.read(folder / "cell.sqlite")
    assert found is not None
    (item,) = (each for each in found.items if each.key == keys.CELL)
    assert item.modified == found.revision
    return int(keys.decode(keys.CELL, item.value).incarnation)


async def test_whatever_is_put_back_is_in_a_higher_incarnation_than_was_known_there(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert restored(folder, cell(incarnation=4)).incarnation == incarnation(folder) == 5
    assert restored(folder).incarnation == 6
    (folder / "agent.json").write_text('{"cell":"c1","age":[20,1,1]}')
    assert restored(folder).incarnation == 21
    (folder / "cell.sqlite").write_bytes(b"damaged")
    assert restored(folder).incarnation == incarnation(folder) == 21
    assert {each.name for each in folder.iterdir()} == {
        *("agent.json", "cell.sqlite", "cell.sqlite.lock", "node.json", "node.lock")
    }
    assert oct((folder / "cell.sqlite").stat().st_mode & 0o777) == "0o600"
    store = await LocalStore.open(str(folder / "cell.sqlite"), 4096)
    assert (await store.txn([], [Put("wish/seq", b"6")])).revision == 11
    await store.close()


def test_what_is_another_s_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    restored(folder, cell("other"))
    before = (folder / "cell.sqlite").read_bytes()
    with pytest.raises(Conflict, match=r"of another cell \(other\) than the backup's \(c1\)\. Choose an empty"):
        restored(folder)
    identity = Identity.claim(folder)
    with pytest.raises(Conflict, match="Another cell lives in"):
        restored(folder, cell("other"))
    identity.close()
    assert (folder / "cell.sqlite").read_bytes() == before
    (folder / "cell.sqlite").write_bytes(before[:5000])
    with pytest.raises(Conflict, match=r"Nobody can tell whose store .* Move it away first"):
        restored(folder, cell("other"))
    (full := tmp_path / "full").mkdir()
    (full / "letters.txt").write_text("mine")
    with pytest.raises(Refused, match=r"letters\.txt and no cell"):
        restored(full)
    assert [each.name for each in full.iterdir()] == ["letters.txt"]


def test_what_a_cell_could_not_read_is_refused_before_the_folder_is_touched(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="nodes/n1 cannot be read"):
        restored(tmp_path / "data", cell(), KeyValue("nodes/n1", b"1", 5, 5, 1))
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can have a folder of somebody else's: run as root.")
def test_the_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    (folder := tmp_path / "data").mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(Refused, match="the folder of nobody, whose cell could not open"):
        restored(folder)
    assert not list(folder.iterdir())


def killed_at(moment: int, act: Callable[[], object]) -> bool:
    """Whether a process that is killed (-9) as it is about to make its nth call that Python can tell of was."""
    if (child := os.fork()) == 0:
        left = moment

        def count(_event: str, _words: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


async def with_journal(folder: Path) -> None:
    """A store as kill -9 of its cell leaves it: what stands there is in its journal alone."""
    live = folder.parent / "live"
    restored(live, cell(incarnation=2))
    shutil.copytree(live, folder)
    store = await LocalStore.open(str(live / "cell.sqlite"), 4096)
    for n in range(20):
        await store.txn([], [Put(f"deployments/{n}", BIG.encode())])
    await store.txn([], [Delete("deployments/", prefix=True), Put("wish/seq", b"77")])
    for end in ("", "-wal"):
        shutil.copy(live / f"cell.sqlite{end}", folder)
    await store.close()
    (live / "node.json").unlink()  # the copy is to be the only cell of its node


async def test_a_restore_that_is_killed_at_any_moment_leaves_the_former_store_or_the_new_one(
    tmp_path: Path,
) -> None:
    await with_journal(tmp_path / "data")
    assert (tmp_path / "data" / "cell.sqlite-wal").stat().st_size > 20 * len(BIG)
    taken, moment, seen = backup.read(written(), "b"), 0, []
    while True:
        moment += 1
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(tmp_path / "data", folder)
        killed = killed_at(moment, lambda: restore(folder, folder / "cell.sqlite", taken))  # noqa: B023
        planned = cellfile.read(folder / "cell.sqlite")
        store = await LocalStore.open(str(folder / "cell.sqlite"), 4096)
        found = await store.range("")
        await store.close()
        assert planned and planned.items == found.items
        seen.append(values(found))
        assert not list(folder.glob("*.restored"))
        shutil.rmtree(folder)
        if not killed:
            break
    old, new = seen[0], seen[-1]
    assert (old["wish/seq"], new["wish/seq"]) == (b"77", b"5") and b'"incarnation":4' not in old[keys.CELL]
    first = seen.index(new)
    assert 5 < first < moment - 2 and seen == [old] * first + [new] * (moment - first)


def values(found: Range) -> dict[str, bytes]:
    return {item.key: item.value for item in found.items}


def test_a_backup_that_is_killed_at_any_moment_leaves_the_former_file_or_the_new_one(tmp_path: Path) -> None:
    file, seen = tmp_path / "b", list[bool]()
    while True:
        file.write_bytes(b"former")
        killed = killed_at(len(seen) + 1, lambda: replace(file, b"new" * 100_000))
        seen.append(file.read_bytes() == b"new" * 100_000 or file.read_bytes() == b"former")
        if not killed:
            break
    assert all(seen) and len(seen) > 4 and file.read_bytes() == b"new" * 100_000
    assert oct(file.stat().st_mode & 0o777) == "0o600"
