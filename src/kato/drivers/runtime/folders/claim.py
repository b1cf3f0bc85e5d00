"""The folder of a runtime's tasks: options flow in; the folder is there and locked, so that no other cell has it.
What the kernel refuses of it flows out as DriverError.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from kato.drivers.runtime import Options
from kato.drivers.runtime.folders.removed import RemovedTasks
from kato.model.errors import DriverError


def claim(runtime: str, options: Options, mode: int) -> int:
    """Makes what is missing and takes the lock; its descriptor. mode: of the folder.
    DriverError where another cell has it.
    """
    kept = RemovedTasks(options.folder).folder
    try:
        for folder in (options.folder, kept, options.volumes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.folder.chmod(mode)
        kept.chmod(0o700)
        lock = os.open(options.folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DriverError(f"The {runtime} runtime cannot use its folders: {error}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DriverError(
            f"Another cell runs its tasks in {options.folder}. Stop it, or choose another folder (KATO_DATA)."
        ) from None
    return lock


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """The kernel's refusals (no descriptors left, a full or failing disk) as DriverError, which an agent bears."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        raise DriverError(f"{what}: {error}.") from error
