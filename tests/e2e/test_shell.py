"""`kato exec` as a person uses it: beside real tasks, by pipes and on a terminal."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from machine import Machine, running

pytestmark = pytest.mark.xdist_group("up")

COMPOSE = """
name: room
services:
  one:
    command: exec sleep 1000
    environment: {TOKEN: abc}
    x-kato: {runtime: process}
"""
PATIENCE = 60.0


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Machine]:
    with running(COMPOSE) as machine:
        yield machine


class Terminal:
    """A `kato` on a terminal of its own."""

    def __init__(self, machine: Machine, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(33, 99)
        self.said = b""
        self.process = subprocess.Popen(
            ["kato", *words],
            env={**machine.env, "TERM": "vt100"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def hears(self, word: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while word.encode() not in self.said:
            assert select.select([self.ours], [], [], deadline - time.monotonic())[0], self.said
            self.said += os.read(self.ours, 65536)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


def test_a_shell_on_a_terminal(running: Machine) -> None:
    """Its size, Ctrl-C and exit code are the command's; afterwards the terminal is as it was."""
    with Terminal(running, "exec", "-it", "one", "--", "sh") as terminal:
        terminal.type("echo $TERM-$TOKEN-$((40+2)); stty size\n")
        terminal.hears("vt100-abc-42\r\n33 99\r\n")
        terminal.resize(50, 132)
        terminal.type("until test $(stty size | cut -c-2) = 50; do sleep 0.02; done; echo now-$((1+1))\n")
        terminal.hears("now-2\r\n")
        terminal.type(
            "sh -c 'trap \"echo caught-\\$((1+2)); exit\" INT; echo set-$((2+2)); while :; do sleep 0.05; done'\n"
        )
        terminal.hears("set-4\r\n")
        terminal.type("\x03")
        terminal.hears("caught-3\r\n")
        terminal.type("exit 7\n")
        assert terminal.process.wait(PATIENCE) == 7
        assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_the_command_ends_with_its_terminal(running: Machine) -> None:
    with Terminal(running, "exec", "-it", "one", "--", "sh", "-c", "echo pid=$$; exec sleep 1000") as terminal:
        terminal.hears("\r\n")
        pid = int(terminal.said.partition(b"pid=")[2].split()[0])
        os.kill(pid, 0)
        terminal.process.kill()
        running.until(lambda: not _alive(pid))


def test_pipes_and_exit_codes(running: Machine) -> None:
    def run(*words: str, input: bytes | None = b"") -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            ["kato", "exec", *words], env=running.env, input=input, capture_output=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    assert run("one", "--", "sh", "-c", "echo $TOKEN; echo err >&2; exit 5") == (5, b"abc\n", b"err\n")
    assert run("one", "sh", "-c", "kill -9 $$") == (137, b"", b"")
    data = os.urandom(300_000)
    assert run("-i", "one", "cat", input=data) == (0, data, b"")
    assert run("one", "cat", input=data) == (0, b"", b""), "without -i there is no input"
    code, out, err = run("one", "--", "/no/such/program")
    assert (code, out) == (127, b"") and b"kato: There is no program /no/such/program in task room_one." in err
    code, out, err = run("one", "--", "/etc")
    assert (code, out) == (126, b"") and b"kato: /etc may not be executed in task room_one." in err
    code, _, err = run("noe", "--", "true")
    assert code == 1 and b"Did you mean 'one'?" in err
    code, _, err = run("-it", "one", "sh")
    assert code == 2 and b"-t needs a terminal" in err
    with (running.root / "compose.yaml").open("rb") as file:
        words = ["kato", "exec", "-i", "one", "cat"]
        assert subprocess.check_output(words, env=running.env, stdin=file).decode() == COMPOSE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
