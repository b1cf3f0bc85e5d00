"""Asks the kernel for a port before HAProxy does: an address and a port go in, why it cannot be had comes out."""

import errno
import os
import socket
from pathlib import Path


def why_not(host: str, port: int, interface: str = "") -> str | None:
    """None if `host`:`port` can be listened on, else the rest of a sentence that begins with the port's name.
    interface: by which alone it is to be reached, where there is one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        # As HAProxy binds, but without SO_REUSEPORT, which would share a port with whoever has set it too.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if interface:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            trial.bind((host.strip("[]"), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"is in use by {owner(port) or 'another program'}: stop that, or choose another port"
            if error.errno == errno.EACCES:
                return "is below 1024, which needs root: run the cell as root, or choose a higher port"
            return f"cannot be had: {error.strerror}"
    return None


def there(interface: str) -> bool:
    """Whether this machine has an interface."""
    try:
        return bool(socket.if_nametoindex(interface))
    except OSError:
        return False


def owner(port: int) -> str | None:
    """Who listens on `port`, as words, where the kernel lets us see it."""
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, _lines(Path("/proc/net", table)))
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _holds(process, sockets):
            name = (process / "comm").read_text().strip()
            return f"another program: {name} (pid {process.name})"
    return None


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        return any(os.readlink(each) in sockets for each in (process / "fd").iterdir())
    except OSError:
        return False
