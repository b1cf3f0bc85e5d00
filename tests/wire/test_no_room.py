"""What the API answers while the disk that its cell lives on is full."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cells import Start

from builders import app
from kato.model.deployment import Record
from kato.store import Put, keys
from kato.store.local import LocalStore

FAR_TOO_MUCH = 1 << 60
"""Bytes of a ballast that no disk has room for, so that every disk is full."""
STANDING = app("/standing", instances=3)


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """A store on a full disk, with one app in it. It is closed after the cell that `start` starts over it."""
    store = await LocalStore.open(str(tmp_path / "cell.sqlite"), FAR_TOO_MUCH)
    record = Record(app=STANDING.id, version=STANDING.version)
    pieces = {keys.version(STANDING.id, STANDING.version): STANDING, keys.app(STANDING.id): record}
    await store.txn([], [Put(key, keys.encode(value)) for key, value in pieces.items()])
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/apps", {"id": "/new", "cmd": "sleep 1000"}),
        ("PUT", "/v2/apps/new", {"cmd": "sleep 1000"}),
        ("PUT", "/v2/apps/standing", {"instances": 4}),
        ("PUT", "/v2/apps/standing", {"env": {"KEY": "value"}}),
        ("PUT", "/v2/groups", {"id": "/", "apps": [{"id": "/new", "cmd": "sleep 1000"}]}),
        ("POST", "/v2/apps/standing/restart", None),
    ],
)
async def test_what_grows_is_refused_with_507_and_changes_nothing(
    full: LocalStore, start: Start, method: str, path: str, body: object
) -> None:
    cell = await start(store=full, leads=False)
    before = (await full.range("")).items
    answer = await cell.call(method, path, body)
    assert answer.status == 507
    assert answer.json == {
        "message": "The disk that the cell lives on is full, so nothing more is started and nothing was changed. "
        "Remove apps or scale them down, or delete files there; then ask again."
    }
    assert (await full.range("")).items == before


@pytest.mark.parametrize(
    ("method", "body", "left"),
    [("PUT", {"instances": 1}, 1), ("DELETE", None, None)],
    ids=["smaller", "gone"],
)
async def test_what_makes_room_is_done(
    full: LocalStore, start: Start, method: str, body: object, left: int | None
) -> None:
    cell = await start(store=full, leads=False)
    assert (await cell.call(method, "/v2/apps/standing", body)).status == 200
    standing = cell.mirror.world().apps.get("/standing")
    assert (standing and standing.instances) == left
