"""What a shell may offer where a name is to come: a kind and the words so far go in; names come out, a line each.

Imported alone, since a person waits at each TAB: no command, no client, no event loop.
"""

import json
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from kato.config import configure
from kato.model.errors import KatoError
from kato.model.ids import short_task

WITHIN = 0.15
"""Seconds that the cell may take; nothing is offered where it takes longer."""


def complete(words: Sequence[str]) -> int:
    """Prints what fits. words: the kind (one of KINDS) and then the command line so far, the last word being
    the one that is typed. Nothing where no cell answers: an error would be in the way of what is typed.
    """
    kind, *line = words
    try:
        for name in offered(kind, line[-1] if line else "", _Cell(_address(line))):
            print(name)
    except (KatoError, OSError, ValueError):
        return 1
    return 0


def offered(kind: str, word: str, cell: "_Cell") -> Iterator[str]:
    """The names that begin with `word`: whole ones (`/voting/vote`) where it begins with a slash, else the last
    part of those that alone have it; of tasks, short ones; of nodes, their ids.
    """
    apps = cell.ask("/v1/apps")["apps"]
    ids = [app["id"] for app in apps]
    ends = Counter(id.rpartition("/")[2] for id in ids)
    names = (
        ids if word.startswith("/") else [end if ends[end := id.rpartition("/")[2]] == 1 else id[1:] for id in ids]
    )
    if kind in ("projects", "any"):
        groups = sorted({id[:at] for id in ids for at, letter in enumerate(id) if letter == "/" and at})
        names += groups if word.startswith("/") else [group[1:] for group in groups]
    if kind in ("tasks", "any", "all"):
        names += [short_task(task["id"]) for app in apps for task in app["tasks"]]
    if kind == "all":
        names += [node["id"] for node in cell.ask("/v1/nodes")["nodes"]]
    return (name for name in names if name.startswith(word))


class _Cell:
    """A cell that is asked once or twice, and in no other way than HTTP/1.0."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, path: str) -> Any:
        """OSError where it does not answer in time; ValueError where it is no cell."""
        host, _, port = self._address.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), timeout=WITHIN) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {self._address}\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(1 << 20):
                answer += data
        found: Any = json.loads(answer.partition(b"\r\n\r\n")[2])
        if not isinstance(found, dict) or not found.keys() & {"apps", "nodes"}:
            raise ValueError("no cell")
        return found


def _address(line: Sequence[str]) -> str:
    """Where the line says that the cell is, else the environment."""
    for at, word in enumerate(line[:-1]):
        flag, equals, value = word.partition("=")
        if flag == "--api":
            return configure(api=value if equals else line[at + 1]).api
    return configure().api
