"""A `kato` on a terminal of its own, for tests: keys go in; what it wrote stays."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from machine import Machine

PATIENCE = 60.0


class Terminal:
    """A `kato` on a terminal of its own."""

    def __init__(
        self, machine: Machine, *words: str, rows: int = 33, columns: int = 99, kind: str = "vt100"
    ) -> None:
        self.ours, theirs = pty.openpty()
        self.resize(rows, columns)
        self.said = b""
        self.before = termios.tcgetattr(theirs)
        # What runs the tests may have exported the size of another terminal.
        own = {name: value for name, value in machine.env.items() if name not in ("LINES", "COLUMNS")}
        self.process = subprocess.Popen(
            ["kato", *words],
            env={**own, "TERM": kind},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
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

    def leaves(self) -> int:
        """Its exit code, once it has ended and all that it wrote was read."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None or select.select([self.ours], [], [], 0)[0]:
            assert time.monotonic() < deadline, self.said
            if select.select([self.ours], [], [], 0.05)[0]:
                self.said += os.read(self.ours, 65536)
        return self.process.returncode

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)
