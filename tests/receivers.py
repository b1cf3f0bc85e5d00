"""Receivers of what a cell ships, that tests can hold up, kill and read: real sockets, each in a thread."""

import json
import selectors
import socket
import threading
from pathlib import Path
from typing import Any

PATIENCE = 60.0


class Listening:
    """A receiver behind a TCP port, or, with a path, behind a Unix socket. Slow: it reads nothing until told."""

    def __init__(self, path: Path | None = None, port: int = 0, *, slow: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.bind(str(path) if path else ("127.0.0.1", port))
        self._socket.listen()
        self.port = 0 if path else int(self._socket.getsockname()[1])
        self.data = bytearray()
        self._reads = threading.Event()
        self._over = threading.Event()
        if not slow:
            self._reads.set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def read(self) -> None:
        """Reads from now on."""
        self._reads.set()

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._socket, selectors.EVENT_READ)
            while not self._over.is_set():
                for key, _ in waiting.select(0.02):
                    if key.fileobj is self._socket:
                        waiting.register(self._socket.accept()[0], selectors.EVENT_READ)
                    elif self._reads.wait(0.02):
                        piece = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                        self.data += piece
                        if not piece:
                            waiting.unregister(key.fileobj)
                            key.fileobj.close()  # type: ignore[union-attr]
            for key in list(waiting.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """Ends it, with its connections."""
        self._over.set()
        self._reads.set()
        self._thread.join(PATIENCE)


def records(data: bytes) -> list[dict[str, Any]]:
    """Every whole line."""
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def texts(data: bytes, task: str | None = None) -> list[str]:
    """What tasks, or one whose id begins so, wrote to stdout."""
    return [
        record["text"]
        for record in records(data)
        if record.get("stream") == "stdout" and record["task"].startswith(task or "")
    ]
