"""What is left of a task is over when that is said: also what it held."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from kato.drivers.runtime import Options
from kato.drivers.runtime.keepers.leftovers import end_all
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.resources.cgroups import Limits
from runtimes import TASK, ended, ending_all, hears, launch

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


async def test_a_port_is_free_once_a_task_is_said_to_have_gone_with_its_keeper(options: Options) -> None:
    """A keeper that is killed takes the task's first process along: that is dying when the driver looks."""
    driver = await Driver.open(options, limits=Limits({}, ()))
    async with ending_all(driver):
        await driver.start(launch(args=(sys.executable, "-c", HOLDS_MUCH)))
        port = int(await hears(driver, "\n"))
        start = Record(options.folder / TASK).started()
        assert start is not None
        os.kill(start.keeper, signal.SIGKILL)
        assert "Nobody knows" in (await ended(driver)).message
        socket.create_server(("127.0.0.1", port)).close()
