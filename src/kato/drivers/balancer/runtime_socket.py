"""HAProxy's master socket: commands for the master or one of its workers go in, text and tables come out.

Workers are spoken to by pid through the master, since a worker's own socket passes to the next one at a reload.
"""

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from kato.drivers.balancer.render import endpoint, word
from kato.model.errors import DriverError
from kato.model.frontend import Server

SOCKET = "master.sock"
MASTER = f"unix@{SOCKET},mode,600"
"""How HAProxy, which stands in its folder, is told of it: a long folder fits into no socket's address."""
ANSWER = 5.0
"""Seconds that HAProxy has to answer."""
LINE = 8000
"""Bytes of commands in one line; HAProxy's buffer has 16 KiB."""

Row = Mapping[str, str]


class Silent(DriverError):
    """HAProxy had `seconds` to answer and did not."""

    def __init__(self, said: str, seconds: float) -> None:
        super().__init__(said)
        self.seconds = seconds


class Processes(msgspec.Struct, frozen=True):
    """The master and its workers by pid, the newest worker first."""

    master: int
    workers: tuple[int, ...]


class Seen(msgspec.Struct, frozen=True):
    """A server as a worker has it. state: ready, drain or maint."""

    endpoint: str
    state: str


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself. digest: of its configuration; stopping: a newer one has taken over."""

    pid: int
    digest: str
    stopping: bool
    frontends: tuple[str, ...]
    servers: Mapping[str, Mapping[str, Seen]]

    @property
    def leftovers(self) -> bool:
        """Whether a server is out of service but could not be removed yet, for sessions that it still has."""
        return any(server.state == "maint" for have in self.servers.values() for server in have.values())


class RuntimeSocket:
    """The master socket in `folder`. A balancer that is not there is a ConnectionError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ask(self, command: str, timeout: float = ANSWER) -> str:
        """The answer to one line of commands. Silent where none comes within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_unix_connection(sock=self._connected())
                try:
                    writer.write(command.encode() + b"\n")
                    writer.write_eof()
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except TimeoutError:
            raise Silent(
                f"HAProxy did not answer {command[:40]!r} within {timeout:g} s ({self._folder / SOCKET}).", timeout
            ) from None

    def _connected(self) -> socket.socket:
        # By way of the folder's descriptor, since a socket's path is cut at 107 bytes and a folder's is not.
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            connection.close()
            raise
        try:
            connection.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        except FileNotFoundError:
            connection.close()
            raise ConnectionRefusedError(f"there is no {self._folder / SOCKET}") from None
        except OSError:
            connection.close()
            raise
        finally:
            os.close(folder)
        connection.setblocking(False)
        return connection

    async def ask_worker(self, pid: int, commands: Iterable[str], timeout: float = ANSWER) -> str:
        """The answers of one worker to commands, in as few lines as hold them."""
        return "".join([await self.ask(f"@!{pid};{line}", timeout) for line in lines(commands)])

    async def processes(self) -> Processes:
        """Who lives."""
        rows = [line.split() for line in (await self.ask("show proc")).splitlines()]
        found = [(int(row[0]), row[1]) for row in rows if len(row) > 2 and row[0].isdecimal()]
        masters = [pid for pid, kind in found if kind == "master"]
        if not masters:
            raise ConnectionResetError("HAProxy's master names no process")
        return Processes(masters[0], tuple(pid for pid, kind in found if kind == "worker"))

    async def worker(self, pid: int) -> Worker:
        """What one worker says of itself."""
        text = await self.ask_worker(pid, ["show info", "show servers state", "show stat -1 1 -1"])
        facts = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        return Worker(
            pid=pid,
            digest=facts.get("description", ""),
            stopping=facts.get("Stopping") == "1",
            frontends=tuple(row["pxname"] for row in tables(text) if row.get("svname") == "FRONTEND"),
            servers=servers(text),
        )


def lines(commands: Iterable[str]) -> Iterator[str]:
    """Commands joined with `;` into lines that HAProxy takes."""
    line = ""
    for command in commands:
        if line and len(line) + len(command) >= LINE:
            yield line
            line = ""
        line = f"{line};{command}" if line else command
    if line:
        yield line


def tables(text: str) -> Iterator[Row]:
    """The rows of all tables in an answer. A table opens with `# ` and its columns, by commas or by spaces."""
    columns: list[str] = []
    comma: str | None = None
    for line in text.splitlines():
        if line.startswith("# "):
            comma = "," if "," in line else None
            columns = line[2:].split(comma)
        elif columns and len(cells := line.split(comma)) == len(columns):
            yield dict(zip(columns, cells, strict=True))


def servers(text: str) -> dict[str, dict[str, Seen]]:
    """Backend → server → what it is, from `show servers state`."""
    found: dict[str, dict[str, Seen]] = {}
    for row in tables(text):
        if "srv_admin_state" in row:
            admin = int(row["srv_admin_state"])
            # Bits of srv_admin_state (management guide): 0x01 maintenance by command, 0x08 drain by command.
            state = "maint" if admin & 0x01 else "drain" if admin & 0x08 else "ready"
            where = endpoint(Server(row["srv_name"], row["srv_addr"], int(row["srv_port"])))
            found.setdefault(row["be_name"], {})[row["srv_name"]] = Seen(where, state)
    return found


def changes(
    seen: Mapping[str, Mapping[str, Seen]], wanted: Mapping[str, tuple[Server, ...]]
) -> dict[str, list[str]]:
    """Backend → the commands that make its servers the wanted ones; backends where they are, are left out."""
    found: dict[str, list[str]] = {}
    for backend in sorted(seen.keys() | wanted.keys()):
        have = seen.get(backend, {})
        want = {word(each.task): each for each in wanted.get(backend, ())}
        commands = found.setdefault(backend, [])
        for name, server in want.items():
            commands.extend(_become(f"{backend}/{name}", have.get(name), server))
        for name in sorted(have.keys() - want.keys()):
            if have[name].state != "maint":
                commands.append(f"set server {backend}/{name} state maint")
            commands.append(f"del server {backend}/{name}")
    return {backend: commands for backend, commands in found.items() if commands}


def _become(name: str, have: Seen | None, want: Server) -> Iterator[str]:
    if have is None:
        if want.state == "ready":
            yield f"add server {name} {endpoint(want)}"
            yield f"enable server {name}"
        return
    if have.endpoint != endpoint(want):
        yield f"set server {name} addr {want.address} port {want.port}"
    if have.state != want.state:
        yield f"set server {name} state {want.state}"
