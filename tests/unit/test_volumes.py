"""Named volumes in a folder: what is removed goes, also behind a removal that was cut short."""

from pathlib import Path

import pytest

from kato.agent.volumes import remove, sizes
from kato.model.errors import NotFound


def test_a_removal_that_was_cut_short_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".going.data").mkdir()
    (tmp_path / ".going.data/file").write_text("left by a cell that was killed")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("of the app that came again")
    assert [name for name, _ in sizes(tmp_path)] == ["data"]
    remove(tmp_path, "data")
    assert [*tmp_path.iterdir()] == []


def test_a_volume_with_the_longest_name_goes(tmp_path: Path) -> None:
    (tmp_path / ("v" * 255)).mkdir()
    remove(tmp_path, "v" * 255)
    assert [*tmp_path.iterdir()] == []
    with pytest.raises(NotFound):
        remove(tmp_path, "v" * 255)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../db", "/etc", "v" * 256, "v\0", "\udcff", "\ud800", ".going.1"]
)
def test_a_name_that_no_volume_can_have_is_told_as_no_volume(name: str, tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "db").mkdir()
    with pytest.raises(NotFound, match="There is no volume"):
        remove(tmp_path / "volumes", name)
    assert [each.name for each in tmp_path.iterdir()] in (["volumes", "db"], ["db", "volumes"])
