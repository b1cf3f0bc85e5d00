"""A local store that is damaged, foreign, newer or out of room: refused or said clearly, and never made worse."""

import asyncio
import itertools
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from kato.founding import found_cell
from kato.model.errors import NotFound, StoreFull, StoreRefused, StoreUnavailable
from kato.store import Committed, Delete, KeyValue, Put, keys
from kato.store.backup import read
from kato.store.cellfile import _translate
from kato.store.keys import FORMAT
from kato.store.local import LocalStore
from machine import Machine
from runtimes import alive

SEED = 7
ITEMS = 300
SMALL = 2**16
"""Bytes of a ballast."""

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[LocalStore]:
    store = await LocalStore.open(str(path), SMALL)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with content, closed."""
    path = tmp_path / "data" / "cell.sqlite"
    chance = random.Random(SEED)
    async with opened(path) as store:
        for n in range(ITEMS):
            await store.txn([], [Put(f"k/{n}", chance.randbytes(chance.randrange(1500)))])
        await store.txn([], [Delete("k/1", prefix=True)])
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which says who tried last."""
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.suffix != ".lock"}


async def refused(path: Path, words: str) -> None:
    """Opening is refused with these words and the file's name, and leaves every byte as it was."""
    before = files(path.parent)
    with pytest.raises(StoreRefused, match=words) as error:
        await LocalStore.open(str(path), SMALL)
    assert path.name in str(error.value)
    assert files(path.parent) == before


def cut(size: Callable[[int], int]) -> Callable[[bytes], bytes]:
    return lambda content: content[: size(len(content))]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\0",
        lambda _: b"apps:\n  - web\n" * 1000,
        lambda content: b"\0" * len(content),
        cut(lambda size: size // 2),
        cut(lambda size: size - 4096),
        cut(lambda size: size - 100),
        cut(lambda _: 4096),
        cut(lambda _: 100),
        cut(lambda _: 50),
    ],
)
async def test_a_file_that_is_no_whole_store_is_refused_and_left_alone(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(damage(path.read_bytes()))
    await refused(path, r"is damaged: .*It was left as it is\. Put a backup in its place, or move it away")


async def test_every_flipped_byte_is_refused_or_harmless(path: Path) -> None:
    async with opened(path) as store:
        whole = (await store.range("")).items
    content = path.read_bytes()
    chance = random.Random(SEED)
    refusals = 0
    for _ in range(100):
        where, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        copy = path.parent.parent / f"copy-{where}-{bit}" / "cell.sqlite"
        copy.parent.mkdir()
        copy.write_bytes(content[:where] + bytes([content[where] ^ bit]) + content[where + 1 :])
        before = files(copy.parent)
        try:
            async with opened(copy) as store:
                assert (await store.range("")).items == whole, f"byte {where}, bit {bit}"
        except StoreRefused:
            refusals += 1
            assert files(copy.parent) == before, f"byte {where}, bit {bit}"
    assert refusals > 30


async def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    await refused(path, rf"has format {FORMAT + 1}, .*formats up to {FORMAT}\..*Run the newer Káto")


async def test_a_store_of_an_older_format_is_raised_and_what_it_was_can_be_put_back(tmp_path: Path) -> None:
    path = tmp_path / "cell.sqlite"
    async with opened(path) as store:
        cell = keys.Cell(id="c1", format=FORMAT - 1)
        await store.txn([], [Put(keys.CELL, keys.encode(cell)), Put("dreams/1", b"{}")])
        whole = (await store.range("")).items
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT - 1}")
    async with opened(path) as store:
        assert (await store.range("")).items == whole
        assert (await found_cell(store, lambda: "c2")) == keys.Cell(id="c1", format=FORMAT)
    former = path.with_name(f"cell.sqlite.format-{FORMAT - 1}.backup")
    kept = read(former.read_bytes(), former.name)
    assert (kept.standing.items, kept.head.store) == (whole, FORMAT - 1)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    ours = path.with_name(f"cell.sqlite.format-{FORMAT}.backup")
    former.rename(ours)
    await refused(path, f"put back what stood before the upgrade, with no cell running: kato restore {ours}")


async def test_a_store_that_became_newer_in_its_journal_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {FORMAT + 1}")
        killed = path.parent.parent / "killed"
        killed.mkdir()
        for name in (path.name, path.name + "-wal"):
            shutil.copy(path.parent / name, killed / name)
    await refused(killed / path.name, f"has format {FORMAT + 1}")


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    other = path.with_name("other.sqlite")
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    await refused(other, "database of another program")


async def test_a_journal_without_its_store_is_refused(path: Path) -> None:
    path.rename(path.with_name("cell.sqlite-wal"))
    await refused(path, "is missing, but its journal cell.sqlite-wal is there")


async def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreRefused, match=r"cell\.sqlite"):
        await LocalStore.open(str(path), SMALL)


async def test_a_refused_store_can_be_opened_once_it_is_mended(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:5000])
    await refused(path, "damaged")
    path.write_bytes(content)
    async with opened(path) as store:
        assert await store.get("k/0")


async def test_what_it_makes_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "data" / "cell.sqlite"
    async with opened(path) as store:
        await store.txn([], [Put("a", b"")])
        names = ["ballast", *(f"ballast.{n}" for n in range(1, 17))]
        assert {each.name: oct(each.stat().st_mode & 0o777) for each in path.parent.iterdir()} == dict.fromkeys(
            (*names, "cell.sqlite", "cell.sqlite-wal", "cell.sqlite.lock"), "0o600"
        )
    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"


async def test_a_store_that_is_taken_away_while_it_is_open_says_so(path: Path) -> None:
    async with opened(path) as store:
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(StoreRefused, match="moved or removed"):
            await store.txn([], [Put("a", b"")])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "is full; nothing was written"),
        (sqlite3.SQLITE_IOERR_FSYNC, "whether it stands is not known"),
        (sqlite3.SQLITE_IOERR_WRITE, "whether it stands is not known"),
    ],
)
def test_a_write_that_failed_is_not_said_to_be_undone_where_nobody_knows(code: int, words: str) -> None:
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorcode = code
    with pytest.raises(StoreUnavailable, match=words):
        _translate(Path("/data/cell.sqlite"), failure)


@contextmanager
def little_room(folder: Path, mount: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    """A folder with room for 1 MiB: what the store then says, and what makes room.

    A small disk, or files that may not grow; the latter, too, where this user may not mount.
    """
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    disk = ["mount", "-t", "tmpfs", "-o", "size=2m", "kato-test", str(folder)]
    mounted = mount and subprocess.run(disk, capture_output=True, check=False).returncode == 0
    filler = folder / "filler"
    if mounted:
        filler.write_bytes(bytes(2**20))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        if mounted:
            yield r"is full; nothing was written\. Make room", filler.unlink
        else:
            yield "did not take a write", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


async def fill(store: LocalStore, words: str) -> dict[str, bytes]:
    """Writes until the disk takes nothing more, however small; what was acknowledged."""
    chance = random.Random(SEED)
    written: dict[str, bytes] = {}
    for size in (10_000, 1):
        with pytest.raises(StoreUnavailable, match=words):
            for n in range(1000):
                value = chance.randbytes(size)
                await store.txn([], [Put(f"k/{size}/{n}", value)])
                written[f"k/{size}/{n}"] = value
    return written


@pytest.mark.parametrize("mount", [True, False], ids=["disk", "limit"])
async def test_a_full_disk_is_said_and_work_goes_on_when_there_is_room(tmp_path: Path, mount: bool) -> None:
    with little_room(tmp_path / "disk", mount) as (words, make_room):
        path = tmp_path / "disk" / "cell.sqlite"
        async with opened(path) as store:
            lease = await store.lease(60)
            await store.txn([], [Put("leased", b"", lease.id)])
            written = await fill(store, words)
            assert written
            big = [store.txn([], [Put(f"big/{n}", bytes(20_000))]) for n in range(5)]
            assert all(isinstance(each, StoreUnavailable) for each in await gather(big))
            seen = await store.range("")
            assert values(seen.items) == {**written, "leased": b""}, "what can be read is what was acknowledged"
            make_room()
            answers = [store.txn([], [Put(f"big/{n}", bytes(20_000))]) for n in range(5)]
            revisions = [each.revision for each in await gather(answers) if isinstance(each, Committed)]
            assert revisions == [seen.revision + n for n in range(1, 6)], "no revision is skipped or used twice"
            written |= {f"big/{n}": bytes(20_000) for n in range(5)}
            await lease.revoke()
        async with opened(path) as store:
            assert values((await store.range("")).items) == written


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", f"size=8m{options}", "kato-test", str(folder)]
    subprocess.run(small, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can mount a small disk: run the tests as root.")
async def test_a_disk_that_takes_no_more_files_is_said_to_and_a_killed_cell_s_store_opens_on_it(
    path: Path,
) -> None:
    with small_disk(path.parent.parent / "disk", ",nr_inodes=20") as disk:
        async with opened(path) as store:
            await store.txn([], [Put("newest", b"")])
            for end in ("", "-wal", ".lock"):  # as kill -9 leaves it, with its journal
                shutil.copy(path.with_name(path.name + end), disk)
        fill_with_files(disk)
        async with opened(disk / path.name) as store:
            assert (await store.get("newest")) is not None
            await store.txn([], [Put("later", b"")])
        (disk / path.name).unlink()
        fill_with_files(disk)
        with pytest.raises(StoreFull, match=r"as many files as it can; nothing was written\. So the cell"):
            await LocalStore.open(str(disk / path.name), SMALL)


def fill_with_files(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        for n in itertools.count():
            (disk / f"filler{n}").touch()


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can mount a small disk: run the tests as root.")
async def test_a_start_on_a_disk_that_fills_meanwhile_is_given_room_until_none_is_left(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "") as disk:
        async with opened(disk / "cell.sqlite") as store:
            await store.txn([], [Put("former", b"")])
        async with opened(disk / "cell.sqlite") as store:
            fill_with_bytes(disk)
            await store.txn([], [Put("first", b"")])
        async with opened(disk / "cell.sqlite") as store:
            for spare in disk.glob("ballast*"):
                spare.unlink()
            fill_with_bytes(disk)
            with pytest.raises(StoreFull, match=r"So the cell cannot start: .* Make room, and start it again"):
                await store.txn([], [Put("second", b"")])
            assert await store.get("first") is not None


def fill_with_bytes(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), (disk / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


async def test_a_lease_that_ends_while_the_disk_is_full_takes_its_keys_later(tmp_path: Path) -> None:
    with little_room(tmp_path / "disk", mount=False) as (words, make_room):
        async with opened(tmp_path / "disk" / "cell.sqlite") as store:
            lease = await store.lease(60)
            await store.txn([], [Put("leased", b"", lease.id)])
            await fill(store, words)
            revision = (await store.range("")).revision
            with pytest.raises(StoreUnavailable, match=words):
                await lease.revoke()
            with pytest.raises(NotFound):
                await lease.keep_alive()
            make_room()
            assert [event.now for event in (await anext(store.watch("leased", revision))).items] == [None]


async def gather(writes: Iterable[Awaitable[Committed]]) -> list[Committed | BaseException]:
    return await asyncio.gather(*writes, return_exceptions=True)


def values(items: Iterable[KeyValue]) -> dict[str, bytes]:
    return {item.key: item.value for item in items}


async def test_a_goal_of_a_task_that_this_kato_does_not_know_is_refused_by_name(machine: Machine) -> None:
    """It was written by a newer one that forgot to raise the format: nothing is guessed, and nothing ended."""
    file = machine.root / "app.json"
    file.write_text(json.dumps({"id": "/calm", "cmd": "exec sleep 1000"}))
    machine.kato("up", str(file), "-d")
    (task,) = machine.tasks("/calm")
    pid = machine.pid(task["id"])
    os.kill(machine.get("/v1/cell")["pid"], signal.SIGKILL)
    machine.until(lambda: machine.get("/ping") is None)
    key = keys.task(task["slaveId"], task["id"])
    async with opened(machine.data / "cell.sqlite") as store:
        item = await store.get(key)
        assert item is not None
        await store.txn([], [Put(key, item.value.replace(b'"goal":"run"', b'"goal":"dream"'))])
    said = machine.kato("up", str(file), "-d", code=1)
    assert (
        f"What the store holds at {key} cannot be read: Invalid enum value 'dream' - at `$.goal`. Run the" in said
    )
    assert "Traceback" not in said and alive(pid)
    async with opened(machine.data / "cell.sqlite") as store:
        await store.txn([], [Put(key, item.value)])
    machine.kato("up", str(file), "-d")
    assert [each["id"] for each in machine.tasks("/calm")] == [task["id"]] and alive(pid)
