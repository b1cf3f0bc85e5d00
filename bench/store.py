"""Writes go into a cell's store, from one writer and from fifty; durable writes a second come out.

python -m bench.store
"""

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

from bench.figures import SHORT, say
from kato.store import Put
from kato.store.local import LocalStore

SECONDS = 1.0 if SHORT else 3.0
ROUNDS = 1 if SHORT else 3
VALUE = b"x" * 300


async def ours(path: Path, writers: int) -> float:
    """Transactions of one write, each answered once it is durable, a second."""
    store = await LocalStore.open(str(path))
    end = time.perf_counter() + SECONDS
    done = 0

    async def write(writer: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await store.txn([], [Put(f"status/n{writer}/t{done % 1000}", VALUE)])
            done += 1

    began = time.perf_counter()
    try:
        await asyncio.gather(*(write(n) for n in range(writers)))
        return done / (time.perf_counter() - began)
    finally:
        await store.close()


def plain(path: Path) -> float:
    """One writer to SQLite itself, with a log ahead of writes and a sync for each transaction."""
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE pairs (key TEXT PRIMARY KEY, value BLOB)")
    began = time.perf_counter()
    done = 0
    while time.perf_counter() < began + SECONDS:
        file.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (f"t{done % 1000}", VALUE))
        done += 1
    rate = done / (time.perf_counter() - began)
    file.close()
    return rate


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kato-bench-") as folder:
        runs: dict[str, list[float]] = {"one": [], "fifty": [], "sqlite": []}
        for n in range(ROUNDS):
            runs["one"].append(asyncio.run(ours(Path(folder) / f"one-{n}", 1)))
            runs["fifty"].append(asyncio.run(ours(Path(folder) / f"fifty-{n}", 50)))
            runs["sqlite"].append(plain(Path(folder) / f"plain-{n}"))
    say("store_one_writer", "writes/s", runs["one"])
    say("store_one_writer", "writes/s", runs["sqlite"], by=f"SQLite {sqlite3.sqlite_version} itself")
    say("store_fifty_writers", "writes/s", runs["fifty"])


if __name__ == "__main__":
    main()
