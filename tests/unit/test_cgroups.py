"""A cell's cgroup that another process removes meanwhile, in a folder that stands for a hierarchy."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from kato.drivers.runtime.resources.cgroups import Hierarchy, _settle

TIMES = 4000
"""Of 200 times, in one it goes at the worst moment."""
REMOVE = """
import os, random, sys
cell, parent = sys.argv[1], int(sys.argv[2])
print("begun", flush=True)
while os.getppid() == parent:
    for _ in range(random.randrange(2000)):
        pass
    try:
        os.rmdir(cell)
    except OSError:
        pass
"""


def test_a_cgroup_that_goes_while_a_cell_settles_in_it_leaves_no_descriptor_open(tmp_path: Path) -> None:
    words = [sys.executable, "-c", REMOVE, str(tmp_path / "kato" / "cell"), str(os.getpid())]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"begun\n"
        before = os.listdir("/proc/self/fd")
        try:
            for _ in range(TIMES):
                with suppress(OSError):  # it may go away as often as it is made
                    os.close(_settle(Hierarchy(1, tmp_path), "memory", "cell")[1])
        finally:
            other.kill()
        assert os.listdir("/proc/self/fd") == before
