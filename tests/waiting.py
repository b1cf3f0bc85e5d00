"""What must come to be flows in; how long it took flows out, or a failure that tells what stands instead."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], seconds: float, told: Callable[[], str], pause: float) -> float:
    """Waits until something of another process holds. told: what a failure shows; pause: between two looks."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s\n{told()}"
        time.sleep(pause)  # a poll of another process, with a deadline
    return time.monotonic() - began
