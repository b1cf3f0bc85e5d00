"""A cell's folder goes in; whether a cell lives in it comes out. Whose it is: agent/identity.py."""

from pathlib import Path

LOCK = "node.lock"
"""What a cell holds in its folder for as long as it runs."""


def held(folder: Path) -> bool:
    """Whether a process holds the lock of a cell's folder, by proc_locks(5): a trial would be in its way."""
    try:
        lock = (folder / LOCK).stat()
        locks = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return False
    # By inode alone, since some file systems give stat(2) another device number than the kernel's own.
    return any(word.endswith(f":{lock.st_ino}") for line in locks for word in line.split())
