"""Room kept for a full disk: what cannot be given is not told as given, so that no start asks for it for ever."""

from pathlib import Path

from kato.store.ballast import FILE, Ballast

MORE_THAN_ANY_DISK = 1 << 60


def test_what_cannot_be_given_back_is_not_told_as_given(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()  # which no truncate(2) or unlink(2) takes, as a full btrfs may refuse them
    assert Ballast(tmp_path, MORE_THAN_ANY_DISK).held
    assert not Ballast(tmp_path, MORE_THAN_ANY_DISK).give()


def test_it_is_given_until_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(bytes(3 << 20))
    ballast = Ballast(tmp_path, MORE_THAN_ANY_DISK)
    left = []
    while ballast.give():
        left.append(ballast.held)
    assert left == [3 << 19, 3 << 18, 0]
