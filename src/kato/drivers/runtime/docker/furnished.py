"""A task's folder before its container is made: fetched files and secrets flow in; the sandbox that the container
mounts, and the files of the secrets beside it are there. It blocks: call it in a thread.
"""

import os
from pathlib import Path

from kato.drivers.runtime import Launch
from kato.drivers.runtime.folders.sandbox import delete, hand
from kato.drivers.runtime.folders.secret_files import clear, write
from kato.model.errors import DriverError

SANDBOX = "sandbox"
"""In the folder of a task."""


def furnish(folder: Path, files: Path | None, launch: Launch) -> None:
    """Makes all of a task's folder. DriverError where its secrets cannot be written, OSError for the rest."""
    _sandbox(folder / SANDBOX, files, launch.app.user)
    _renew(folder, launch)


def _sandbox(sandbox: Path, files: Path | None, user: str | None) -> None:
    """Whoever the image runs as may write into it. Files are that user's where the app gives a number; else they
    are open to all in the container, for names are the image's.
    """
    if files is not None:
        if sandbox.exists():
            delete(sandbox)
        sandbox.parent.mkdir(parents=True, exist_ok=True)
        files.rename(sandbox)
        hand(sandbox, *_numbers(user))
    sandbox.mkdir(parents=True, exist_ok=True)
    sandbox.chmod(0o777)


def _numbers(user: str | None) -> tuple[int | None, int | None]:
    uid, _, gid = (user or "").partition(":")
    if os.geteuid() != 0 or not uid.isdecimal() or not (gid or "0").isdecimal():
        return None, None
    return int(uid), int(gid or 0)


def _renew(folder: Path, launch: Launch) -> None:
    """Its secrets as files; an attempt that was cut off may have left some."""
    clear(folder)
    try:
        write(folder, launch)
    except OSError as error:
        raise DriverError(f"the files of its secrets cannot be written: {error}.") from error
