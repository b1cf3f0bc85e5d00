"""What a container is to be: a Launch, its image and a Site go in; the runtime's config.json comes out, as data.

Of Docker's default capabilities it has all but MKNOD: there is no rule of devices here, so none may be made.
Limits are not in it: the keeper's cgroups hold the container, and the runtime touches none.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import msgspec

from kato.drivers.runtime import Launch, rights
from kato.drivers.runtime.flags import signal_of, size, truth, ulimit
from kato.drivers.runtime.folders.sandbox import SANDBOX
from kato.drivers.runtime.keepers.keeper import KEEPER
from kato.drivers.runtime.oci.seccomp import profile
from kato.model.app import App, Parameter
from kato.model.conversation import Command
from kato.model.errors import DriverError

Body = dict[str, Any]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for in an image that does not say (Docker's)."""
CAPABILITIES = tuple(name for name in rights.CAPABILITIES if name != "MKNOD")
_PLAIN = ("nosuid", "noexec", "nodev")
_MOUNTS: tuple[Body, ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": [*_PLAIN]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": [*_PLAIN]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_PLAIN, "ro"]},
)
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
INIT = "/dev/init"
"""Where the first process of a container is that asks for one."""
_SHM = 64 << 20


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of its containers. digest: of its manifest, in hex; stop: the signal that ends them;
    volumes: places whose files are a task's own."""

    digest: str
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    cwd: str = ""
    stop: str = ""
    volumes: tuple[str, ...] = ()


class Bind(msgspec.Struct, frozen=True):
    """A folder or file of the host in the container. covers: whether something is mounted within it, as cgroups
    are in /sys, which comes along and is held no less. (crun then makes no folder in it for what lies within.)
    """

    source: str
    place: str
    read_only: bool = False
    covers: bool = False


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a container is made. binds: its volumes, and the host's files that name hosts; sandbox: on the host.

    passwd, group: the image's files of users. privileged: whether it may have more than the usual capabilities.
    """

    hostname: str
    sandbox: str
    binds: tuple[Bind, ...] = ()
    passwd: str = ""
    group: str = ""
    privileged: bool = False


def config(launch: Launch, image: Image, site: Site) -> Body:
    """The whole file. DriverError for what a container of this runtime cannot have, or the cell does not allow."""
    app = launch.app
    assert app.container is not None and app.container.docker is not None
    _refuse(app)
    asked = _Asked(app, image, site)
    for parameter in app.container.docker.parameters:
        asked.apply(parameter)
    user, home = asked.identity()
    capabilities = [f"CAP_{name}" for name in sorted(asked.capabilities)]
    given = {"PATH": PATH, "HOME": home} | _pairs(image.env) | dict(launch.env) | _pairs(tuple(asked.env))
    given |= {"MESOS_SANDBOX": SANDBOX, "MESOS_DIRECTORY": SANDBOX}
    forbidden = None if asked.unconfined else profile(asked.capabilities)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": user,
            "args": [*([INIT, "init"] if asked.init else []), *asked.words(app)],
            "env": [f"{name}={value}" for name, value in sorted(given.items())],
            "cwd": asked.cwd or "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "rlimits": asked.rlimits,
            **({"noNewPrivileges": True} if asked.no_new_privileges else {}),
        },
        "root": {"path": "rootfs", "readonly": asked.read_only},
        "hostname": asked.hostname,
        "mounts": asked.mounts(),
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            **({"seccomp": forbidden} if forbidden else {}),
        },
    }


def stop_signal(app: App, image: Image) -> int:
    """What asks it to end: as the app says, else as its image does. DriverError."""
    assert app.container is not None and app.container.docker is not None
    asked = [each.value for each in app.container.docker.parameters if each.key == "stop-signal"]
    try:
        return signal_of((asked[-1] if asked else image.stop) or "SIGTERM")
    except ValueError as error:
        raise DriverError(f"Its stop signal is {(asked or [image.stop])[-1]!r}: {error}.") from error


def beside(task: Body, command: Command) -> Body:
    """What crun is told of a command in a container. task: the same of the container's own process."""
    told = task | {"args": command.argv}
    if command.terminal:
        told |= {
            "terminal": True,
            "consoleSize": {"height": command.rows, "width": command.columns},
            "env": [*task["env"], f"TERM={command.kind}"],
        }
    return told


def _refuse(app: App) -> None:
    assert app.container is not None and app.container.docker is not None
    if app.container.docker.privileged:
        raise DriverError("The oci runtime runs nothing privileged. Leave that out, or run it by docker.")
    if app.tty:
        raise DriverError("The oci runtime gives no terminal. Leave out `tty`, or run it by docker.")


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


class _Asked:
    """What the app asks for, its parameters applied one by one over what the image says."""

    def __init__(self, app: App, image: Image, site: Site) -> None:
        self.image, self.site = image, site
        self.user = app.user or image.user
        self.cwd = app.labels.get("KATO_WORKDIR") or image.cwd
        self.hostname = site.hostname
        self.entrypoint, self.default = image.entrypoint, image.cmd
        self.capabilities = set(CAPABILITIES)
        self.env: list[str] = []
        self.groups: list[str] = []
        self.rlimits: list[Body] = []
        self.scratch: list[Body] = []
        self.shm = _SHM
        self.read_only = False
        self.no_new_privileges = False
        self.init = False
        self.unconfined = False

    def apply(self, parameter: Parameter) -> None:
        """One flag of `docker run`."""
        flag = _FLAGS.get(parameter.key)
        if flag is None:
            raise DriverError(
                f"The docker parameter {parameter.key!r} is not taken by the oci runtime. These are: "
                f"{', '.join(sorted(_FLAGS))}."
            )
        try:
            flag(self, parameter.value)
        except ValueError as error:
            raise DriverError(
                f"The docker parameter {parameter.key!r} has the value {parameter.value!r}: {error}."
            ) from error

    def words(self, app: App) -> tuple[str, ...]:
        """`cmd` is run by the image's shell instead of its entrypoint, as in Mesos; `args` follow that."""
        if app.cmd is not None:
            return ("/bin/sh", "-c", app.cmd)
        words = self.entrypoint + (app.args or self.default)
        if not words:
            raise DriverError("Neither it nor its image says what to run. Give it `cmd` or `args`.")
        return words

    def identity(self) -> tuple[Body, str]:
        """Whom it runs as, and that user's home; names are the image's."""
        name, _, group = self.user.partition(":")
        users, groups = _rows(self.site.passwd, 7), _rows(self.site.group, 4)
        row = next((row for row in users if (name or "0") in (row[0], row[2])), None)
        if row is None and not name.isdecimal() and name:
            raise DriverError(f"Its image has no user {name!r}. Name one that is in its /etc/passwd, or a number.")
        uid, gid = (int(row[2]), int(row[3])) if row else (int(name or 0), 0)
        if group:
            gid = _group(group, groups)
        more = [_group(word, groups) for word in self.groups]
        if row is not None and not group:
            more += [int(each[2]) for each in groups if row[0] in each[3].split(",")]
        user: Body = {"uid": uid, "gid": gid, "additionalGids": sorted({gid, *more})}
        return user, row[5] if row else "/"

    def mounts(self) -> list[Body]:
        """The kernel's, shared memory, scratch, and then the host's."""
        shm: Body = {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*_PLAIN, "mode=1777", f"size={self.shm}"],
        }
        first = (Bind(str(KEEPER), INIT, True),) if self.init else ()
        binds = (*first, *self.site.binds, Bind(self.site.sandbox, SANDBOX))
        own = sorted((*self.scratch, *map(_bind, binds)), key=_depth)
        return [*_MOUNTS[:3], shm, *_MOUNTS[3:], *own]

    def add_capability(self, value: str) -> None:
        name = value.upper().removeprefix("CAP_")
        if name not in CAPABILITIES and not self.site.privileged:
            raise DriverError(
                f"It wants the capability {name}, with which it could leave its container. Leave that out, or "
                "start the cell with KATO_PRIVILEGED=1."
            )
        self.capabilities.add(name)

    def drop_capability(self, value: str) -> None:
        name = value.upper().removeprefix("CAP_")
        self.capabilities = set() if name == "ALL" else self.capabilities - {name}

    def limit(self, value: str) -> None:
        name, soft, hard = ulimit(value)
        self.rlimits.append({"type": f"RLIMIT_{name.upper()}", "soft": soft % 2**64, "hard": hard % 2**64})

    def add_scratch(self, value: str) -> None:
        place, _, options = value.partition(":")
        words = options.split(",") if options else []
        self.scratch.append(
            {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": [*_PLAIN, *words]}
        )

    def secure(self, value: str) -> None:
        name, _, rest = value.replace("=", ":", 1).partition(":")
        if name == "no-new-privileges":
            self.no_new_privileges = truth(rest)
        elif (name, rest) == ("seccomp", "unconfined"):
            if not self.site.privileged:
                raise DriverError(
                    "It wants no filter of system calls (seccomp). Leave that out, or start the cell with "
                    "KATO_PRIVILEGED=1."
                )
            self.unconfined = True
        else:
            raise ValueError("write no-new-privileges or seccomp=unconfined")

    def set_entrypoint(self, value: str) -> None:
        self.entrypoint, self.default = tuple(shlex.split(value)), ()


def _depth(mount: Body) -> int:
    """What lies within another is mounted after it, or it would be hidden."""
    return len(PurePosixPath(mount["destination"]).parts)


def _bind(bind: Bind) -> Body:
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if bind.read_only else "rw"]
    if bind.covers:
        options += ["rnosuid", "rnodev", *(["rro"] if bind.read_only else ())]
    return {"destination": bind.place, "type": "bind", "source": bind.source, "options": options}


def _rows(text: str, columns: int) -> list[list[str]]:
    """The rows of a passwd(5) or group(5) file that are whole."""
    rows = (line.split(":") for line in text.splitlines())
    return [row for row in rows if len(row) == columns and row[2].isdecimal()]


def _group(name: str, groups: list[list[str]]) -> int:
    if name.isdecimal():
        return int(name)
    for row in groups:
        if row[0] == name:
            return int(row[2])
    raise DriverError(f"Its image has no group {name!r}. Name one that is in its /etc/group, or a number.")


def _put(field: str, read: Callable[[str], Any] = str) -> Callable[[_Asked, str], None]:
    return lambda asked, value: setattr(asked, field, read(value))


def _nothing(_asked: _Asked, _value: str) -> None:
    """It says nothing to this runtime, and does no harm; or others read it (naming.py)."""


_FLAGS: Mapping[str, Callable[[_Asked, str], None]] = {
    "add-host": _nothing,
    "cap-add": _Asked.add_capability,
    "cap-drop": _Asked.drop_capability,
    "dns": _nothing,
    "dns-option": _nothing,
    "dns-search": _nothing,
    "entrypoint": _Asked.set_entrypoint,
    "env": lambda asked, value: asked.env.append(value),
    "group-add": lambda asked, value: asked.groups.append(value),
    "hostname": _put("hostname"),
    "init": _put("init", truth),
    "label": _nothing,
    "network-alias": _nothing,
    "no-healthcheck": _nothing,
    "pull": _nothing,
    "read-only": _put("read_only", truth),
    "security-opt": _Asked.secure,
    "shm-size": _put("shm", size),
    "stop-signal": _nothing,
    "tmpfs": _Asked.add_scratch,
    "ulimit": _Asked.limit,
    "user": _put("user"),
    "volume": _nothing,
    "workdir": _put("cwd"),
}
