"""Revisions flow in and are on the disk when `write` returns; a whole ledger flows out when the file is opened.

The file is looked over through a reader that changes nothing before it is opened for writing, so that a file which
is refused stays as it was.
"""

import errno
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NoReturn, Self

import msgspec

from kato.model.errors import StoreFull, StoreRefused, StoreUnavailable
from kato.store import Event, Events, KeyValue, Range, backup
from kato.store.keys import CELL, FORMAT
from kato.store.ledger import Ledger

APPLICATION = 0x4B61746F
"""SQLite's mark of whose file it is: `Kato`."""
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
PRAGMA journal_mode = WAL;
CREATE TABLE store (revision INTEGER NOT NULL);
CREATE TABLE items (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL,
    version INTEGER NOT NULL, lease INTEGER NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE history (revision INTEGER PRIMARY KEY, changes BLOB NOT NULL, checksum INTEGER NOT NULL);
INSERT INTO store VALUES (1);
"""
_LEAST = 512
"""Bytes of SQLite's smallest page; it takes a shorter file for a new one."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_REMEDY = "It was left as it is. Put a backup in its place, or move it away to begin with an empty cell."

_Row = tuple[str, bytes, int, int, int, int]
_HISTORY = msgspec.msgpack.Decoder(list[tuple[str, _Row | None]])


class CellFile:
    """The open file. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # Exclusive: no reader or writer besides this process, and no shared-memory file.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA journal_size_limit = {16 * 2**20}")

    @classmethod
    def open(cls, path: Path) -> tuple[Self, Ledger]:
        """The file, made where it does not exist, and what stands in it. Whoever opens it owns it, by a lock.

        Raises StoreRefused, and leaves the file as it is, where it is damaged, foreign or newer, and StoreFull.
        """
        try:
            finish(path)
            if not path.exists():
                _create(path)
            ledger = _look_over(path, owned=True)
            with ExitStack() as undo:
                file = undo.enter_context(closing(cls(path)))
                file._raise_format(ledger)
                undo.pop_all()
            return file, ledger
        except sqlite3.Error as error:
            _translate(path, error)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(path) from error
            raise StoreRefused(f"The store {path} cannot be opened: {error.strerror}. {_REMEDY}") from error

    def _raise_format(self, ledger: Ledger) -> None:
        """Marks the file as of this Káto's format; a backup of what it was is beside it before, for the older."""
        former = self._db.execute("PRAGMA user_version").fetchone()[0]
        if former == FORMAT:
            return
        standing = ledger.range("")
        if any(item.key == CELL for item in standing.items):
            backup.keep(former_of(self._path, former), standing, former)
        self._db.execute(f"PRAGMA user_version = {FORMAT}")

    def write(self, revisions: Sequence[Events], compacted: int) -> None:
        """Writes revisions in one transaction, and drops history up to `compacted`.

        Raises StoreUnavailable where the disk is full or fails, and the next write may work. After a failed sync
        nobody knows what the disk holds: if the process ends before the next write, the revisions may stand.
        """
        self._still_there()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._replace(revisions)
            self._db.execute("DELETE FROM history WHERE revision <= ?", (compacted,))
            self._db.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                _translate(self._path, error)
            raise

    def close(self) -> None:
        """Lets go; what a full disk keeps from being tidied is tidied at the next opening."""
        with suppress(sqlite3.Error):
            self._db.close()

    def _replace(self, revisions: Sequence[Events]) -> None:
        first, last = revisions[0].revision, revisions[-1].revision
        if self._db.execute("UPDATE store SET revision = ? WHERE revision = ?", (last, first - 1)).rowcount != 1:
            raise StoreRefused(
                f"The store {self._path} is not at revision {first - 1}: something else wrote to it."
            )
        final = {event.key: event.now for events in revisions for event in events.items}
        self._db.executemany("DELETE FROM items WHERE key = ?", [(key,) for key, now in final.items() if not now])
        rows = [_row(now) for now in final.values() if now]
        self._db.executemany(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", [(*row, _checksum(row)) for row in rows]
        )
        self._db.executemany("INSERT INTO history VALUES (?, ?, ?)", map(_history_row, revisions))

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite may have done so itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _still_there(self) -> None:
        try:
            found = self._path.stat().st_ino
        except FileNotFoundError:
            found = -1
        if found != self._inode:
            raise StoreRefused(
                f"The store {self._path} was moved or removed while it was in use. Start the cell anew."
            )


def _create(path: Path) -> None:
    """Makes an empty store whole before it has its name, so that a half-made one is never found."""
    journal = path.with_name(path.name + "-wal")
    if journal.exists():
        raise StoreRefused(
            f"The store {path} is missing, but its journal {journal.name} is there. Put the store back beside it, "
            "or move the journal away to begin with an empty cell."
        )
    _make(new := path.with_name(path.name + ".new"))
    new.rename(path)
    _sync(path.parent)


def _make(new: Path, standing: Range | None = None) -> None:
    """A store with what stands in it, in one file without a journal; durable when it returns."""
    for leftover in (new, *(new.with_name(new.name + end) for end in ("-wal", "-shm", "-journal"))):
        leftover.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.executescript(_SCHEMA)
        if standing:
            rows = [_row(item) for item in standing.items]
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE store SET revision = ?", (standing.revision,))
            db.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", [(*row, _checksum(row)) for row in rows]
            )
            db.execute("COMMIT")
    _sync(new)


def put_back(path: Path, standing: Range) -> None:
    """Replaces the file of a cell that does not run, whole: whatever cuts it short leaves one or the other.

    Whoever calls it owns the file, by its lock. Raises StoreFull, StoreUnavailable and OSError, and
    leaves it as it was.
    """
    new = path.with_name(path.name + ".new")
    try:
        _make(new, standing)
    except sqlite3.Error as error:
        new.unlink(missing_ok=True)
        _translate(path, error)
    new.rename(_whole(path))
    _sync(path.parent)
    finish(path)


def finish(path: Path) -> None:
    """Puts a store that stands whole beside the file in its place; also for one who was ended before.

    The journal of the former goes first: it would be read into the new one.
    """
    if not (whole := _whole(path)).exists():
        return
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    _sync(path.parent)
    whole.rename(path)
    _sync(path.parent)


def _whole(path: Path) -> Path:
    return path.with_name(path.name + ".restored")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Range | None:
    """What stands in the file of a cell that does not run, None where there is no file; nothing is changed.

    Raises StoreRefused as for `open`.
    """
    try:
        path = whole if (whole := _whole(path)).exists() else path
        path.stat()  # `exists` would hide why it cannot be told
        return _look_over(path, owned=False).range("")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except sqlite3.Error as error:
        _translate(path, error)
    except OSError as error:
        raise StoreRefused(
            f"The store {path} cannot be read: {error.strerror}. Ask as the user whose cell it is, or name "
            "another folder."
        ) from error


def _look_over(path: Path, *, owned: bool) -> Ledger:
    """What stands in the file, read in full, with every checksum; changes neither the file nor its journal.

    owned: nobody else has it open, and so no index is made beside it, which a full disk would not take.
    """
    journal, index = path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")
    alone = not journal.exists() or journal.stat().st_size == 0
    had_index = index.exists()
    # Immutable keeps SQLite from making files beside it; with a journal it has to read that, too.
    way = "immutable=1" if alone else "mode=ro&vfs=unix-none" if owned else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{way}"
    try:
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            if owned:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")  # the index of the journal stays in memory
            if path.stat().st_size < _LEAST or (alone and path.stat().st_size < _size(db)):
                raise _damaged(path, "it is cut short")
            _check_marks(path, db)
            return _load(path, db)
    finally:
        if not had_index:
            index.unlink(missing_ok=True)


def _load(path: Path, db: sqlite3.Connection) -> Ledger:
    verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise _damaged(path, verdict)
    try:
        [(revision,)] = db.execute("SELECT revision FROM store").fetchall()
        history = list(_history(path, db))
        first = revision - len(history) + 1
        if [events.revision for events in history] != list(range(first, revision + 1)):
            raise _damaged(path, "revisions are missing")
        return Ledger(revision, _items(path, db), history)
    except (ValueError, TypeError, msgspec.MsgspecError) as error:
        raise _damaged(path, str(error)) from error


def _size(db: sqlite3.Connection) -> int:
    """How many bytes the file should have, by its own header."""
    pages: int = db.execute("PRAGMA page_count").fetchone()[0]
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return pages * size


def former_of(path: Path, format: int) -> Path:
    """Where the backup is that was made of a store before its format was raised from this one."""
    return path.with_name(f"{path.name}.format-{format}.backup")


def _check_marks(path: Path, db: sqlite3.Connection) -> None:
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION:
        raise StoreRefused(f"{path} is a database of another program, not a store of Káto. {_REMEDY}")
    format = db.execute("PRAGMA user_version").fetchone()[0]
    if format > FORMAT:
        before = former_of(path, FORMAT)
        restore = f"kato restore {before}" if before.exists() else "kato restore FILE"
        raise StoreRefused(
            f"The store {path} has format {format}, and this Káto knows formats up to {FORMAT}. It was left as it "
            "is. Run the newer Káto that wrote it, or put back what stood before the upgrade, with no cell "
            f"running: {restore}"
        )


def _items(path: Path, db: sqlite3.Connection) -> Iterator[KeyValue]:
    for *row, checksum in db.execute("SELECT * FROM items ORDER BY key"):
        key, value, created, modified, version, lease = row
        if checksum != _checksum((key, value, created, modified, version, lease)):
            raise _damaged(path, f"the checksum of {key} is wrong")
        yield KeyValue(key, value, created, modified, version, lease)


def _history(path: Path, db: sqlite3.Connection) -> Iterator[Events]:
    last: dict[str, KeyValue | None] = {}
    for revision, changes, checksum in db.execute("SELECT * FROM history ORDER BY revision"):
        if checksum != zlib.crc32(changes):
            raise _damaged(path, f"the checksum of revision {revision} is wrong")
        events = []
        for key, row in _HISTORY.decode(changes):
            now = KeyValue(*row) if row else None
            events.append(Event(key, now, last.get(key)))
            last[key] = now
        yield Events(revision, tuple(events))


def _history_row(events: Events) -> tuple[int, bytes, int]:
    changes = msgspec.msgpack.encode(
        [(event.key, _row(event.now) if event.now else None) for event in events.items]
    )
    return events.revision, changes, zlib.crc32(changes)


def _row(item: KeyValue) -> _Row:
    return (item.key, item.value, item.created, item.modified, item.version, item.lease)


def _checksum(row: _Row) -> int:
    key, value, *numbers = row
    return zlib.crc32(value, zlib.crc32(f"{key}\0{numbers}".encode()))


def no_room(path: Path, *, starting: bool = False) -> StoreFull:
    """The error of a disk that takes no more bytes, or no more files. starting: whether a cell ends by it."""
    full = "holds as many files as it can" if _no_more_files(path) else "is full"
    remedy = "Make room: the cell goes on by itself."
    if starting:
        remedy = (
            "So the cell cannot start: what it keeps for such a day went to whatever fills the disk. Its tasks go "
            f"on. Make room, and start it again; this shows what is large: du -ax {path.parent} | sort -n | tail"
        )
    return StoreFull(f"The disk that holds {path} {full}; nothing was written. {remedy}")


def _no_more_files(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_files > 0 and disk.f_favail == 0  # some disks count none


def _damaged(path: Path, why: str) -> StoreRefused:
    return StoreRefused(f"The store {path} is damaged: {why}. {_REMEDY}")


def _translate(path: Path, error: sqlite3.Error) -> NoReturn:
    """SQLite's error as one of the port's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_CANTOPEN and _no_more_files(path)):
        raise no_room(path) from error
    if code in (0, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        raise _damaged(path, str(error)) from error
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY):
        raise StoreRefused(
            f"The store {path} cannot be opened for writing: {error}. See who owns it and its folder, and whether "
            "another program has it open."
        ) from error
    raise StoreUnavailable(
        f"The disk that holds {path} did not take a write ({error}), and whether it stands is not known. The cell "
        "goes on by itself when the disk does; see the kernel's log."
    ) from error
