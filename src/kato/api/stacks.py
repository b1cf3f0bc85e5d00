"""What the cell does right now flows out: where each of its threads and coroutines stands, without values."""

import asyncio
import io
import sys
import threading
import traceback


def stacks() -> str:
    """Every thread, and every coroutine of this loop with where it waits."""
    out = io.StringIO()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        print(f"Thread {names.get(ident, ident)}:", file=out)
        traceback.print_stack(frame, file=out)
    for task in sorted(asyncio.all_tasks(), key=lambda each: each.get_name()):
        print(file=out)
        task.print_stack(file=out)
    return out.getvalue()
