"""Secrets as files: a Launch flows in; a file for each volume that is a secret's comes out, in the task's own
folder, where volumes are bound or linked to. They go with the task; what is kept of it for a day has none.

For a process they are its user's alone. In a container whoever runs there may read them, as in Docker's, since an
image often begins as root and goes on as somebody else; outside of it nobody passes the folder that they are in.
"""

import os
from pathlib import Path

from kato.drivers.runtime import Launch
from kato.drivers.runtime.folders.sandbox import Identity, delete
from kato.model.app import Access

FOLDER = "secrets"
"""In the folder of a task."""
ALONE, EVERYBODY = 0o400, 0o444


def folder_of(task: Path) -> Path:
    """Where the files are of the task in a folder."""
    return task / FOLDER


def write(task: Path, launch: Launch, who: Identity | None = None) -> None:
    """Writes them. who: whose alone they are; None for files in a container. OSError."""
    app, folder = launch.app, folder_of(task)
    for n, volume in enumerate(app.container.volumes if app.container else ()):
        if volume.secret is not None:
            folder.mkdir(mode=0o700, exist_ok=True)
            _write(folder / str(n), launch.secrets[volume.secret].value, volume.access or Access(), who)
    if who is not None and folder.exists() and os.geteuid() == 0:
        os.chown(folder, who.uid, who.gid)


def _write(file: Path, value: bytes, access: Access, who: Identity | None) -> None:
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as stream:
        stream.write(value)
        if os.geteuid() == 0:
            uid, gid = (who.uid, who.gid) if who else (access.uid or 0, access.gid or 0)
            os.fchown(stream.fileno(), uid, gid)
        mode = int(access.mode, 8) if access.mode and who is None else ALONE if who else EVERYBODY
        os.fchmod(stream.fileno(), mode)


def clear(task: Path) -> None:
    """Takes them away."""
    if folder_of(task).exists():
        delete(folder_of(task))
