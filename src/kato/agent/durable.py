"""A small file that must survive a crash and a full disk: its whole content flows in, and stands on the disk, or
what stood there before does.
"""

import os
from contextlib import suppress
from pathlib import Path


def write(path: Path, content: bytes) -> None:
    """Replaces a file whole, closed to others; durable when it returns. One writer of a path at a time.

    Raises OSError where the disk does not take it. The file is then as it was, except where the folder alone could
    not be synced: then it holds the new content, and a crash may still bring back the old.
    """
    fresh = path.with_suffix(".new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)  # buffered, and so whole or an error: the kernel may take a part only
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    _sync(path.parent)


def remove(path: Path) -> None:
    """Removes a file, if it is there; durable when it returns. OSError."""
    path.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
