"""kill -9 of the process that owns a local store, at any moment, loses no write that it acknowledged."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kato.model.errors import StoreRefused
from kato.store import Compare, Put, Store
from kato.store.local import LocalStore

ROUNDS = 15
WRITERS = 8
SEED = 20260117
SMALL = 2**16
"""Bytes of a ballast."""

pytestmark = pytest.mark.timeout(300)


async def count(store: Store, writer: int, lease: int) -> None:
    """Raises two keys together for ever, and prints each number that was acknowledged."""
    found = await store.get(f"left/{writer}")
    number = int(found.value) if found else 0
    modified = found.modified if found else 0
    while True:
        number += 1
        value = str(number).encode()
        answer = await store.txn(
            [Compare(f"left/{writer}", "modified", "=", modified)],
            [
                Put(f"left/{writer}", value),
                Put(f"leased/{writer}", b"", lease),
                Put(f"right/{writer}", value + b" " * random.randrange(5000)),
            ],
        )
        assert answer.done
        modified = answer.revision
        print(writer, number, answer.revision, flush=True)


async def main(path: str) -> None:
    store = await LocalStore.open(path, SMALL)
    lease = await store.lease(60)
    await asyncio.gather(*(count(store, writer, lease.id) for writer in range(WRITERS)))


@asynccontextmanager
async def cell(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that counts in the store at `path`; killed at the end if not before."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(path), stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def acknowledged(child: asyncio.subprocess.Process, patience: int) -> list[tuple[int, int, int]]:
    """Kills the child after `patience` lines; every (writer, number, revision) that it printed whole."""
    assert child.stdout
    lines = [await child.stdout.readline() for _ in range(patience)]
    child.kill()
    lines += (await child.stdout.read()).splitlines(keepends=True)
    assert await child.wait() == -signal.SIGKILL, b"".join(lines)
    whole = [line.split() for line in lines if line.endswith(b"\n")]
    return [(int(writer), int(number), int(revision)) for writer, number, revision in whole]


async def test_no_acknowledged_write_is_lost_and_none_is_torn(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "cell.sqlite"
    last = dict.fromkeys(range(WRITERS), 0)
    newest = 1
    for round in range(ROUNDS):
        async with cell(path) as child:
            for writer, number, revision in await acknowledged(child, chance.randrange(1, 600)):
                last[writer], newest = number, max(newest, revision)
        store = await LocalStore.open(str(path), SMALL)
        try:
            seen = await store.range("")
            values = {item.key: item.value.rstrip() for item in seen.items}
            where = f"round {round} of seed {SEED}"
            assert seen.revision >= newest, where
            for writer in range(WRITERS):
                number = int(values.get(f"left/{writer}", b"0"))
                assert values.get(f"right/{writer}", b"0") == b"%d" % number, where
                # One write was on its way when the process died; nobody heard whether it arrived.
                assert last[writer] <= number <= last[writer] + 1, where
                last[writer] = number
            assert not [key for key in values if key.startswith("leased/")], where
            dropped = await anext(store.watch("leased/", seen.revision - 1))
            assert all(event.now is None for event in dropped.items), where
            newest = seen.revision
        finally:
            await store.close()
    assert newest > ROUNDS * WRITERS


async def test_a_store_that_is_killed_while_it_is_made_opens_afterwards(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for round in range(8):
        path = tmp_path / str(round) / "cell.sqlite"
        async with cell(path) as child:
            wait = asyncio.ensure_future(child.wait())
            while not path.parent.exists():
                await asyncio.wait({wait}, timeout=0.005)
            await asyncio.wait({wait}, timeout=chance.random() * 0.02)
            child.kill()
            assert await wait == -signal.SIGKILL
        store = await LocalStore.open(str(path), SMALL)
        try:
            assert (await store.txn([], [Put("a", b"")])).done
        finally:
            await store.close()


async def test_a_second_process_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    path = tmp_path / "cell.sqlite"
    async with cell(path) as child:
        assert child.stdout
        await child.stdout.readline()
        with pytest.raises(StoreRefused, match=rf"in use by process {child.pid}\..*a folder of its own"):
            await LocalStore.open(str(path), SMALL)
        assert await child.stdout.readline(), "the first goes on"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
