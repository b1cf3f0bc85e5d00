"""What is left of a task is over when that is said: also what it held."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from kato.drivers.runtime.leftovers import end_all

HOLDS_MUCH = """
import socket, sys, time
much = b"x" * (256 << 20)
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(1000)
"""


def test_a_port_is_free_once_it_is_said_to_be_over(tmp_path: Path) -> None:
    """A process that goes gives back its memory, and its environment with it, before its ports."""
    env = {**os.environ, "MESOS_SANDBOX": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", HOLDS_MUCH], env=env, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        port = int(left.stdout.readline())
        assert end_all(str(tmp_path), set) == set()
        socket.create_server(("127.0.0.1", port)).close()
        assert left.wait(0) == -9
