"""What is left of a task whose keeper was killed: its sandbox and cgroup members go in, nothing alive comes out.

Every process of a task carries its own sandbox in its environment (`MESOS_SANDBOX`), and so do those that it
started, unless they cleared it; where cgroups are permitted, these tell besides. Where they are not, a daemon that
cleared its environment is not known any more once its keeper was killed by SIGKILL, and goes on.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 5.0
"""Seconds until a process that does not die is given up (it hangs in the kernel)."""


def marked(pid: int, sandbox: str) -> bool:
    """Whether a process carries the sandbox in its environment. False for one that is gone or another user's."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return os.fsencode(f"MESOS_SANDBOX={sandbox}") in environment.split(b"\0")


def carriers(sandbox: str) -> set[int]:
    """The pids of all processes that carry the sandbox in their environment, but ours."""
    pids = {int(name) for name in os.listdir("/proc") if name.isdecimal()} - {os.getpid()}
    return {pid for pid in pids if marked(pid, sandbox)}


def keepers(record: str) -> set[int]:
    """The pids of a record's keepers: each says on its command line which it keeps."""
    found = set()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if words[1:3] == [b"keep", os.fsencode(record)]:
                found.add(pid)
    return found


def end_all(sandbox: str, members: Callable[[], set[int]]) -> set[int]:
    """SIGKILL to all that carry the sandbox or are `members`, until none is left; who does not die. Blocks.

    Who was killed is held until the kernel says that it is over: it loses its environment before it lets go of its
    ports and files.
    """
    deadline = time.monotonic() + PATIENCE
    dying: dict[int, int] = {}
    try:
        while time.monotonic() < deadline:
            found = (carriers(sandbox) | members()) - dying.keys()
            killed = {pid: handle for pid in found if (handle := _kill(pid, sandbox, members)) is not None}
            dying |= killed
            for pid in [pid for pid, handle in dying.items() if _over(handle)]:
                os.close(dying.pop(pid))
            if not killed and not dying:
                return set()
            time.sleep(0.005)
        return set(dying)
    finally:
        for handle in dying.values():
            os.close(handle)


def _kill(pid: int, sandbox: str, members: Callable[[], set[int]]) -> int | None:
    """Kills it if it still belongs, asked again once the handle holds the pid; its handle, None where it does not
    or is over already.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if (marked(pid, sandbox) or pid in members()) and not _over(handle):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        return handle
    os.close(handle)
    return None


def _over(handle: int) -> bool:
    """Whether the process of a handle has ended, with all that it held (pidfd_open(2))."""
    poll = select.poll()  # select(2) bears no descriptor above 1023
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))
