"""Who this node is: a data folder and the machine's id flow in, a node id that stays the same flows out, with a
lock on the folder, so that one cell and one only lives in it.
"""

import fcntl
import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

import msgspec

from kato.model.errors import Conflict, Refused

_NOT_NAME = re.compile(r"[^a-z0-9-]+")


class _Record(msgspec.Struct, frozen=True):
    """`node.json`."""

    id: str
    machine: str


class Identity:
    """A node's id, the machine's, and the boot's. Holds the lock of the folder until it is closed."""

    def __init__(self, *, id: str, machine: str, boot: str, lock: int) -> None:
        self.id = id
        self.machine = machine
        self.boot = boot
        self._lock = lock

    @classmethod
    def claim(cls, folder: Path, machine: str | None = None) -> "Identity":
        """Locks `folder` (made where it is missing, closed to others) and reads, or makes, `node.json` in it.

        machine: the machine's id, the kernel's where None. Raises Conflict where another cell lives in the folder,
        Refused where the folder is not a cell's, was copied from another machine, or has a `node.json` that cannot
        be understood.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close(folder)
        lock = _lock(folder)
        try:
            machine = machine or machine_id()
            return cls(id=_identify(folder / "node.json", machine), machine=machine, boot=boot_id(), lock=lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Lets go of the folder."""
        os.close(self._lock)


def machine_id() -> str:
    """The id of this machine's installation (machine-id(5)); a hash of the host name where it has none."""
    try:
        known = Path("/etc/machine-id").read_text("ascii").strip()
    except OSError:
        known = ""
    if known and known != "uninitialized":
        return known
    return hashlib.sha256(f"kato {socket.gethostname()}".encode()).hexdigest()[:32]


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _close(folder: Path) -> None:
    """Closes the folder to others. Root's tasks may run as somebody else, who must reach a sandbox in it."""
    names = {entry.name for entry in folder.iterdir()}
    if "node.json" not in names and names - {"cell.log", "node.lock"}:
        raise Refused(
            f"{folder} holds {min(names)} and no cell. Choose an empty or a new folder with --data or KATO_DATA."
        )
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _lock(folder: Path) -> int:
    lock = os.open(folder / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Conflict(
            f"Another cell lives in {folder}. Stop it first, or choose another folder with --data or KATO_DATA."
        ) from error
    return lock


def _identify(path: Path, machine: str) -> str:
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Record)
    except FileNotFoundError:
        return _name(path, machine)
    except msgspec.MsgspecError as error:
        raise Refused(f"{path} cannot be understood ({error}). Remove it to make this a new node.") from error
    if known.machine != machine:
        raise Refused(
            f"{path} names node {known.id} of another machine: the folder was copied, and two machines must not "
            "be one node. Remove that file to make this a new node, or choose another folder (--data, KATO_DATA)."
        )
    return known.id


def _name(path: Path, machine: str) -> str:
    """A new id: the host's name, for people, and chance, so that no two nodes share it."""
    host = _NOT_NAME.sub("-", socket.gethostname().partition(".")[0].lower()).strip("-") or "node"
    id = f"{host}-{secrets.token_hex(3)}"
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(_Record(id, machine)))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return id
