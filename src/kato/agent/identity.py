"""Who this node is: a data folder and the machine's id flow in, a node id that stays the same flows out, with a
lock on the folder, so that one cell and one only lives in it.
"""

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Collection
from pathlib import Path

import msgspec

from kato.agent import durable, journal
from kato.folder import LOCK
from kato.model.errors import Conflict, Refused

_NOT_NAME = re.compile(r"[^a-z0-9-]+")
_MARK = re.compile(rf"node\.json|{re.escape(LOCK)}|agent\.json|cell\.sqlite.*")
"""A file that only a cell makes: the folder that holds one is a cell's."""
_PART = re.compile(r"cell\.log.*|volumes|access")
"""What else a cell keeps; a part may have been put back from a backup before there is a cell."""
_REST = re.compile(r"tasks|balancer|docker|oci|ballast.*|(shipped|doors)\.json|(node|agent|shipped|doors)\.new")
"""What no backup puts back: where nothing else says that a cell was here, it is somebody else's."""


class _Record(msgspec.Struct, frozen=True):
    """`node.json`. machine: empty where the machine had no id yet; folder: where it lies, empty in older ones."""

    id: str
    machine: str
    folder: str = ""


class Identity:
    """A node's id, the machine's (empty where it has none) and the boot's. Holds the folder's lock."""

    def __init__(self, *, id: str, machine: str, boot: str, lock: int) -> None:
        self.id = id
        self.machine = machine
        self.boot = boot
        self._lock = lock

    @classmethod
    def claim(cls, folder: Path, machine: str | None = None) -> "Identity":
        """Locks `folder` (made where it is missing, closed to others) and reads, or makes, `node.json` in it.

        machine: the machine's id, by default `machine_id`. Raises Conflict where another cell lives in the folder,
        Refused where the folder is not a cell's, was copied, or has a `node.json` that cannot
        be understood.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close(folder)
        lock = _lock(folder)
        try:
            known = _identify(folder / "node.json", machine or machine_id())
            return cls(id=known.id, machine=known.machine, boot=boot_id(), lock=lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Lets go of the folder."""
        os.close(self._lock)


def is_ours(name: str) -> bool:
    """Whether a cell makes what is so called in its folder."""
    return any(each.fullmatch(name) for each in (_MARK, _PART, _REST))


def is_cell(names: Collection[str]) -> bool:
    """Whether a folder with these in it is a cell's: one that holds `volumes` alone may be anybody's."""
    return any(map(_MARK.fullmatch, names))


def machine_id() -> str | None:
    """The id of this machine's installation (machine-id(5)); None where it has none, as some containers.

    Nothing else is taken for it: a host's name changes, and may be that of another machine, too.
    """
    try:
        known = Path("/etc/machine-id").read_text("ascii").strip()
    except OSError:
        return None
    return known if known and known != "uninitialized" else None


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _close(folder: Path) -> None:
    """Closes the folder to others. Root's tasks may run as somebody else, who must reach a sandbox in it."""
    names = {entry.name for entry in folder.iterdir()}
    foreign = {name for name in names if not _PART.fullmatch(name)}
    if foreign and not is_cell(names):
        raise Refused(
            f"{folder} holds {min(foreign)} and no cell. Choose an empty or a new folder with --data or KATO_DATA."
        )
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _lock(folder: Path) -> int:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Conflict(
            f"Another cell lives in {folder}. Stop it first, or choose another folder with --data or KATO_DATA."
        ) from error
    return lock


def _identify(path: Path, machine: str | None) -> _Record:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Record)
    except FileNotFoundError:
        return _name(path, machine)
    except msgspec.MsgspecError as error:
        raise Refused(f"{path} cannot be understood ({error}). Remove it to make this a new node.") from error
    if machine is not None and known.machine and known.machine != machine:
        raise Refused(
            f"{path} names node {known.id} of another machine: the folder was copied, and two machines must not "
            "be one node. Remove that file to make this a new node, or choose another folder (--data, KATO_DATA)."
        )
    if _lives_elsewhere(known, path):
        raise Refused(
            f"{path} names node {known.id}, whose folder is {known.folder}: it was copied, and two cells must not "
            "be one node. Remove that file to make this a new node, or run the cell in that folder (--data)."
        )
    current = _Record(known.id, known.machine or machine or "", str(path.parent.resolve()))
    if current != known:
        durable.write(path, msgspec.json.encode(current))
    return current


def _lives_elsewhere(known: _Record, path: Path) -> bool:
    """Whether the folder that was written down is there still, and is another one: one that was moved is not, and
    one that is mounted at two places is the same."""
    other = Path(known.folder, path.name)
    try:
        there = msgspec.json.decode(other.read_bytes(), type=_Record)
        return bool(known.folder) and there.id == known.id and not other.samefile(path)
    except (OSError, msgspec.MsgspecError):
        return False


def _name(path: Path, machine: str | None) -> _Record:
    """A new id: the host's name, for people, and chance, so that no two nodes share it. What an agent of another
    id has obeyed does not bind this one.
    """
    host = _NOT_NAME.sub("-", socket.gethostname().partition(".")[0].lower()).strip("-") or "node"
    known = _Record(f"{host}-{secrets.token_hex(3)}", machine or "", str(path.parent.resolve()))
    durable.remove(path.with_name(journal.FILE))
    durable.write(path, msgspec.json.encode(known))
    return known
