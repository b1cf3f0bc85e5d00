"""What is left of removed tasks, for whichever driver: a task's folder goes in and stays for a day, so that its
output can still be read and its sandbox looked at; what becomes too much is deleted.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import structlog

from kato.drivers.runtime.folders.sandbox import delete

log = structlog.get_logger()

SECONDS = 24 * 3600
"""How long a removed task's folder is kept."""
PER_APP = 20
"""How many removed tasks of one app are kept."""
SPARE = 64 << 20
"""Bytes free, or nothing of removed tasks is kept."""


class RemovedTasks:
    """The removed tasks of a driver, in `.kept` of its folder. Called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".kept"
        self._tidying = threading.Lock()
        self._stuck: set[str] = set()

    def of(self, task: str) -> Path:
        """Where a task's folder is, if it is kept."""
        return self.folder / task

    def all(self) -> list[Path]:
        """The folders of all that are kept."""
        return list(self.folder.iterdir())

    def take(self, folder: Path) -> None:
        """Moves the folder of a task, which is called as the task is, to the others, and deletes the surplus."""
        os.utime(folder)
        kept = self.of(folder.name)
        with self._tidying:  # one thread at a time deletes what is kept
            if kept.exists():  # the id was used before, which only a restored store does
                delete(kept)
            folder.rename(kept)
            now, disk = time.time(), shutil.disk_usage(self.folder)
            ages = [
                (entry.name, now - entry.stat(follow_symlinks=False).st_mtime) for entry in os.scandir(self.folder)
            ]
            for task in surplus(ages, full=disk.free < max(disk.total // 10, SPARE)):
                self._delete(task)

    def _delete(self, task: str) -> None:
        """What cannot be deleted is said once, stays, and is tried again; it keeps none of the others."""
        try:
            delete(self.of(task))
        except OSError as error:
            if task not in self._stuck:
                self._stuck.add(task)
                log.warning(
                    "what is kept of a removed task cannot be deleted", folder=self.of(task), why=str(error)
                )


def surplus(kept: Iterable[tuple[str, float]], *, full: bool) -> list[str]:
    """Which removed tasks to delete, of (task id, age in seconds): all where the disk is `full`, otherwise those
    older than a day and all but the youngest 20 of each app."""
    count: dict[str, int] = {}
    over = []
    for task, age in sorted(kept, key=lambda entry: entry[1]):
        app = task.partition(".instance-")[0]
        count[app] = count.get(app, 0) + 1
        if full or age > SECONDS or count[app] > PER_APP:
            over.append(task)
    return over
