"""The file that says whom this machine asks for names (resolv.conf(5)), and an address go in; the file names that
address first, and, given back, is what it was: a link stays a link.

What stood there is kept beside it. What somebody else has written meanwhile is never touched. There is always
a file. Who is killed leaves it, with the former servers behind its own, so that other names are found.
"""

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from kato.drivers.dns.forward import SERVERS, nameservers
from kato.model.errors import Conflict, DriverError

_MARK = re.compile(r"^# kato:((?:[0-9a-f]{2})+):([0-9a-f]{64})$", re.MULTILINE)
_COPIED = ("search", "domain", "options", "sortlist")


def kept(path: Path) -> Path:
    """Where what stood at `path` is kept while a cell has written it."""
    return path.with_name(f"{path.name}.before-kato")


class Mark(msgspec.Struct, frozen=True):
    """Whose cell wrote the file, and whether it is as it was written."""

    folder: Path
    intact: bool


class _Found(msgspec.Struct, frozen=True):
    """What stands at a path, read once: another cell may write there meanwhile.

    link: where it leads, None where it is a file; about: its mode, user and group.
    """

    link: str | None
    content: bytes = b""
    about: tuple[int, int, int] = (0o644, -1, -1)

    @property
    def mark(self) -> Mark | None:
        """Who wrote it, if a cell did."""
        text = self.content.decode("utf-8", "replace")
        found = _MARK.search(text)
        if found is None or self.link is not None:
            return None
        return Mark(Path(os.fsdecode(bytes.fromhex(found[1]))), _digest(text) == found[2])


def _found(path: Path) -> _Found | None:
    """None where nothing is there. OSError."""
    try:
        return _Found(os.readlink(path))
    except OSError:  # no link
        pass
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            return _Found(None, file.read(), (about.st_mode & 0o7777, about.st_uid, about.st_gid))
    except FileNotFoundError:
        return None


def mark(path: Path) -> Mark | None:
    """Who wrote the file, if a cell did."""
    try:
        found = _found(path)
    except OSError:
        return None
    return found.mark if found else None


def check(path: Path, folder: Path, lives: Callable[[Path], bool]) -> None:
    """Conflict where the machine asks another cell that runs. lives: whether a cell runs in a folder."""
    found = mark(path)
    if found is not None and found.folder != folder and lives(found.folder):
        raise Conflict(
            f"This machine asks the cell in {found.folder} for names already ({path}), and it asks one alone. "
            f"Leave --dns-own (or KATO_DNS_OWN) out, or end that cell: kato down --all --data {found.folder}"
        )


def take(path: Path, folder: Path, server: str) -> str | None:
    """Has the machine ask `server`, an address; a sentence where it does not, for somebody has changed the file
    that a cell wrote. DriverError where it may not.
    """
    try:
        found = _found(path)
        known = found.mark if found else None
        if known is not None and not known.intact:
            return _changed(path)
        if known is None:
            _keep(path, found, folder)
        try:
            _write(path, render(_text(kept(path)), folder, server, kept(path)), folder)
        except OSError:
            if known is None:
                kept(path).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DriverError(
            f"{path}, which says whom this machine asks for names, cannot be written: {error.strerror or error}. "
            f"{_who_may(path, error)}, or leave --dns-own (or KATO_DNS_OWN) out."
        ) from error
    return None


def _who_may(path: Path, error: OSError) -> str:
    if os.geteuid() != 0:
        return "It is root's: sudo kato …"
    immutable = error.errno == errno.EPERM
    return f"Somebody has made it immutable: chattr -i {path}" if immutable else "See what is there: ls -l /etc"


def give_back(path: Path, folder: Path) -> str | None:
    """Puts back what stood there before the cell in `folder` wrote it; a sentence where it is left as it is."""
    found = mark(path)
    if found is None or found.folder != folder:
        return None
    if not found.intact:
        return _changed(path)
    former = kept(path)
    try:
        if not os.path.lexists(former):
            path.unlink()
            return None
        try:
            os.replace(former, path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _overwrite(path, former.read_bytes())
            former.unlink()
    except OSError as error:
        return f"{path} still names a cell that has ended ({error.strerror or error}). As root: mv {former} {path}"
    return None


def lost(path: Path, folder: Path) -> str | None:
    """A sentence where the machine does not ask the cell in `folder`, which runs and had it do so."""
    found = mark(path)
    if found is not None and found.folder == folder:
        return None
    return f"Somebody has changed {path}, so that this machine asks the cell for no names. Start the cell anew"


def render(former: str, folder: Path, server: str, where: Path) -> str:
    """The file. former: what stood there.

    The former servers come behind: they are asked where the cell does not answer, and by containers, which cannot
    reach it. `rotate` would have them asked for the cell's names, too.
    """
    others = [each for each in nameservers(former) if each != server]
    lines = [f"nameserver {each}" for each in (server, *others)[:SERVERS]]
    for line in former.splitlines():
        words = [each for each in line.split() if each != "rotate"]
        if len(words) > 1 and words[0] in _COPIED:
            lines.append(" ".join(words))
    about = f"# The cell of Káto in {_plain(folder)} answers for names; what stood here before is in {where}.\n"
    rest = f"{about}# It is put back when the cell ends.\n" + "".join(f"{line}\n" for line in lines)
    return f"# kato:{os.fsencode(folder).hex()}:{_digest(rest)}\n{rest}"


def _changed(path: Path) -> str:
    return (
        f"{path} is left as it is: somebody has changed what a cell wrote there. To have what stood there before: "
        f"mv {kept(path)} {path}"
    )


def _digest(text: str) -> str:
    """Of all but the mark."""
    return hashlib.sha256(_MARK.sub("", text).lstrip("\n").encode()).hexdigest()


def _keep(path: Path, found: _Found | None, folder: Path) -> None:
    """What was found has a second name, and whatever was kept before has it no more."""
    if found is None:
        kept(path).unlink(missing_ok=True)
        return
    fresh = _fresh(path, folder)
    if found.link is not None:
        fresh.symlink_to(found.link)
    else:
        fresh.write_bytes(found.content)
        mode, user, group = found.about
        os.chown(fresh, user, group)
        fresh.chmod(mode)
    os.replace(fresh, kept(path))


def _write(path: Path, text: str, folder: Path) -> None:
    fresh = _fresh(path, folder)
    fresh.write_text(text, "utf-8")
    fresh.chmod(0o644)
    try:
        os.replace(fresh, path)
    except OSError as error:
        fresh.unlink()
        if error.errno != errno.EBUSY:  # it is mounted, as in containers, and can be written to all the same
            raise
        _overwrite(path, text.encode())


def _fresh(path: Path, folder: Path) -> Path:
    """A name that the cell in `folder` alone writes at, and nothing is there."""
    fresh = path.with_name(f".{path.name}.kato-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}")
    fresh.unlink(missing_ok=True)
    return fresh


def _overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _plain(folder: Path) -> str:
    return "".join(each if each.isprintable() else "?" for each in str(folder))
