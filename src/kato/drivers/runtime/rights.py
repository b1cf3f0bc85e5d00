"""What would give a container its whole machine: a capability, or a place on the host, goes in; whether it is held
back flows out. A cell that was started with KATO_PRIVILEGED=1 holds back nothing.

Whoever wrote a file or an image is trusted less than whoever started the cell: what they ask for beyond what
Docker gives by itself is theirs only where the cell's owner has said so.
"""

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from kato.model.app import App
from kato.model.errors import DriverError

CAPABILITIES = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
)
"""Those that Docker gives every container."""
CLOSED = (
    "/etc/gshadow",
    "/etc/shadow",
    "/proc",
    "/root/.ssh",
    "/run/containerd",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/incus",
    "/run/libvirt",
    "/run/podman",
    "/run/snapd.socket",
    "/run/systemd/private",
    "/run/user",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/incus",
    "/var/lib/lxd",
    "/var/snap/lxd",
)
"""Places that no container gets, to read neither: who talks to an engine's socket, or systemd's, is root there,
and at those of a user's own (/run/user) is that user."""
KEPT = (
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix",
    "/run/systemd",
    "/run/udev",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/cloud",
    "/var/lib/dpkg",
    "/var/spool/at",
    "/var/spool/cron",
)
"""Places that no container writes to: what is there is run as root, or says what is."""
LINKS = 40
"""Links on the way to a place, as many as the kernel follows (path_resolution(7))."""
SOCKETS = ("containerd.sock", "docker.sock", "podman.sock")
_FIRST = r"(ssh|bash|profile|login|zsh|zlogin|zprofile|config/(autostart|fish|systemd))[^/]*(/.*)?"
_HOME = re.compile(rf"(/var)?/(home|(home/[^/]+|root|roothome)(/\.(config|{_FIRST}))?)")
"""A home, and what in it says who may log in, and what is run then."""


def usual(capability: str) -> bool:
    """Whether Docker gives it every container: `NET_RAW`, `cap_net_raw`."""
    return capability.upper().removeprefix("CAP_") in CAPABILITIES


def held(what: str) -> DriverError:
    """The refusal of what a container wants."""
    return DriverError(
        f"It wants {what}, and could do anything to this machine. Leave that out, or start the cell with "
        "KATO_PRIVILEGED=1."
    )


def hold_volumes(app: App, own: Iterable[Path]) -> None:
    """DriverError for a volume of the host that gives it away."""
    for volume in app.container.volumes if app.container else ():
        if volume.host_path is not None:
            hold_place(volume.host_path, read_only=volume.mode == "RO", own=own)


def hold_place(place: str, *, read_only: bool, own: Iterable[Path] = ()) -> None:
    """DriverError for a place of the host that gives it away; links on the way are followed. own: places of the
    cell's, which no container gets. Blocks.
    """
    try:
        real = Path(_plain(os.path.realpath(place)))
        by_proc = _is_by_proc(place)
    except OSError as error:  # a link below /proc
        raise held(f"{place} of the host") from error
    if by_proc:
        raise held(f"{place} of the host, which is by /proc another place for each who asks")
    if real.name in SOCKETS or _meets(real, map(Path, CLOSED)) or _meets(real, own):
        raise held(f"{place} of the host" + (f", which is {real}" if str(real) != place else ""))
    if not read_only and (_is_of_devices(real) or _HOME.fullmatch(str(real)) or _meets(real, map(Path, KEPT))):
        raise DriverError(
            f"It wants to write to {place} of the host, and could do anything to this machine. Bind it read-only "
            "(ro), take another folder, or start the cell with KATO_PRIVILEGED=1."
        )


def _is_by_proc(place: str) -> bool:
    """Whether the way to it, or a link on it, is by /proc: what is looked at here would not be what is mounted."""
    at, way, links = "/", place.split("/")[::-1], 0
    while way and at != "/proc":
        part = way.pop()
        following = os.path.dirname(at) if part == ".." else os.path.normpath(os.path.join(at, part))
        if not os.path.islink(following):
            at = following
            continue
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place)
        link = os.readlink(following)
        at, way = "/" if link.startswith("/") else at, way + link.split("/")[::-1]
    return at == "/proc"


def _is_of_devices(real: Path) -> bool:
    """Whether it is all devices, or a disk: whoever may write there can let any user of the machine at them."""
    return str(real) == "/dev" or real.is_block_device()


def _meets(real: Path, places: Iterable[Path]) -> bool:
    """Whether it is one of these, lies in one, or has one in it."""
    others = [Path(os.path.realpath(each)) for each in places]
    return any(real.is_relative_to(other) or other.is_relative_to(real) for other in others)


def _plain(path: str) -> str:
    """/run under its one name, where it has two and neither is a link."""
    return path.removeprefix("/var") if path == "/var/run" or path.startswith("/var/run/") else path
