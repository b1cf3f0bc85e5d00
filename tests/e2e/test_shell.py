"""`kato exec` as a person uses it: beside real tasks, by pipes and on a terminal."""

import os
import subprocess
import termios
from collections.abc import Iterator

import pytest

from machine import Machine, running
from terminal import PATIENCE, Terminal

pytestmark = pytest.mark.xdist_group("up")

COMPOSE = """
name: room
services:
  one:
    command: exec sleep 1000
    environment: {TOKEN: abc}
    x-kato: {runtime: process}
"""


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Machine]:
    with running(COMPOSE) as machine:
        yield machine


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
            ["kato", "exec", *words], env=running.env, input=input, capture_output=True, timeout=240
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


@pytest.mark.parametrize(
    ("line", "code", "out"),
    [
        ("kato exec -i one -- cat <&-", 0, b""),
        ("kato exec -i one -- sh -c 'head -c 3 | wc -c; exit 3' </dev/zero", 3, b"3\n"),
        ("kato exec -i one -- sh -c 'exec 0<&-; exit 6' </dev/zero", 6, b""),
        ("kato exec one -- sh -c 'echo hi; exit 5' >&-", 5, b""),
    ],
)
def test_an_end_of_it_may_be_closed_or_without_end(running: Machine, line: str, code: int, out: bytes) -> None:
    done = subprocess.run(["bash", "-c", line], env=running.env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, b"")


def test_a_closed_input_is_no_terminal(running: Machine) -> None:
    line = "kato exec -it one sh <&-"
    done = subprocess.run(["bash", "-c", line], env=running.env, capture_output=True, timeout=60)
    assert done.returncode == 2 and b"-t needs a terminal" in done.stderr


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False
