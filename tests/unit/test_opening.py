"""What stands in a store that no cell has open, by the same URLs as an open one."""

from pathlib import Path

import pytest

from kato.model.errors import InvalidInput, StoreRefused
from kato.store import Put
from kato.store.opening import open_store, read_store


async def test_a_store_is_read_by_the_url_that_opens_it(tmp_path: Path) -> None:
    url = f"local:{tmp_path / 'cell.sqlite'}"
    store = await open_store(url)
    await store.txn([], [Put("apps/a", b"1")])
    stands = await store.range("")
    await store.close()
    assert await read_store(url) == stands


async def test_where_no_store_is_none_is_read_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for address in (tmp_path / "no" / "cell.sqlite", tmp_path / "file" / "cell.sqlite"):
        assert await read_store(f"local:{address}") is None
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert await read_store("memory:") is None


async def test_a_store_that_cannot_be_looked_for_is_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="cannot be read: File name too long"):
        await read_store(f"local:{tmp_path / ('x' * 300)}")


@pytest.mark.parametrize("url", ["", "local:", "memory:name", "/var/lib/kato"])
async def test_another_url_is_refused_with_what_there_is(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"memory:.*local:PATH"):
        await read_store(url)
