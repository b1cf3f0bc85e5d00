"""doctor: this machine flows in, looked at but not changed; a line for each thing that a cell needs flows out: ok,
warn or fault, and what to do.
"""

import ctypes
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from kato.cli.printing.show import Output, listing
from kato.cli.words.place import HERE, Place
from kato.config import RESOLVERS, Config
from kato.folder import held
from kato.model.errors import DriverError, DriverMissing, KatoError

State = Literal["ok", "warn", "fault"]
MIB = 1 << 20
LEAST_DAYS = 30
"""For which the certificate of the API should still be valid."""
KERNEL = (5, 9)
"""close_range(2) is the newest call that the keeper needs."""
ENGINE = (20, 10)
DESCRIPTORS = 4096
"""Below it a cell has few tasks: each takes two or three."""
LEAST_DISK, LITTLE_DISK = 20 * MIB, 1024 * MIB
"""Bytes: the ballast and what must be free beside it; and where it begins to matter."""
TIME_ERROR = 5
"""What adjtimex(2) says of a clock that nothing keeps right."""
FIRST_SECOND = 1_735_689_600.0
"""2025-01-01T00:00:00Z: no machine that runs this is earlier."""


class Finding(NamedTuple):
    """One thing. todo: empty where there is nothing to do."""

    check: str
    state: State
    found: str
    todo: str = ""


async def doctor(*, output: Output = "table", place: Place = HERE) -> int:
    """Look whether this machine has what a cell needs, and say what to do where it has not. It changes nothing.
    Exit code: 0 where nothing is a fault, else 1.

    Parameters
    ----------
    output
        How to print: table, json or yaml.
    """
    findings = [each async for each in examined(place)]
    columns = ["check", "state", "found", "todo"]
    listing([each._asdict() for each in findings], columns, output, empty="")
    return 1 if any(each.state == "fault" for each in findings) else 0


async def examined(place: Place) -> AsyncIterator[Finding]:
    """Every check, in the order in which a cell meets them."""
    config = place.config
    lives = False
    try:
        async with place.client() as client:
            lives = await client.ping()
            if lives:
                found = await client.cell()
                yield Finding("cell", "ok", f"{found['version']} answers at {config.api}, in {found['data']}")
    except KatoError as error:
        yield Finding("cell", "fault", str(error).partition(". ")[0], "Name another address: --api, KATO_API")
        lives = True  # whoever has the ports is told of
    if not lives:
        yield _silent(config)
        for name, address in (("api", config.api), ("ingress", config.ingress)):
            yield port(name, address)
    yield folder(config.data)
    if config.owns_names and lives:
        yield names(config)
    if config.https:
        yield certificate(config)
    yield disk(config.data)
    yield kernel(os.uname().release)
    yield keeper()
    yield await balancer()
    yield await engine(config.engine, os.geteuid() == 0)
    yield cgroups()
    yield descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield clock(time.time(), _adjtimex())


def _silent(config: Config) -> Finding:
    if held(config.data):
        said = f"one runs in {config.data} and does not answer at {config.api}"
        return Finding("cell", "fault", said, f"Name its address (--api, KATO_API), or see {config.data}/cell.log")
    return Finding("cell", "ok", f"none runs in {config.data} yet: kato up FILE starts one")


def port(name: str, address: str) -> Finding:
    """Whether it can be listened on."""
    host, _, number = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host.strip("[]"), int(number)))
            trial.listen(1)
        except OSError as error:
            todo = f"End what listens there (ss -tlnp), or choose another one: --{name}, KATO_{name.upper()}"
            return Finding(name, "fault", f"{address}: {error.strerror}", todo)
    return Finding(name, "ok", f"{address} is free")


def folder(data: Path) -> Finding:
    """Whether a cell can live there."""
    there = _standing(data)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return Finding("folder", "fault", f"{there} cannot be written to", "Choose another one: --data, KATO_DATA")
    return Finding("folder", "ok", f"{data}{'' if there == data else ' can be made'}")


def names(config: Config) -> Finding:
    """Whether this machine asks the cell for names, as it was wished."""
    from kato.drivers.dns.machine import lost

    if said := lost(RESOLVERS, config.data):
        return Finding("names", "warn", *said.split(". "))
    return Finding("names", "ok", f"this machine asks the cell for names ({RESOLVERS})")


def certificate(config: Config) -> Finding:
    """Whether the API can prove itself, and for how long yet."""
    from kato.access import CERTIFICATE, Access
    from kato.certificates import days_left

    try:
        Access.open(config)
        left = days_left(config.access / CERTIFICATE)
    except KatoError as error:
        return Finding("certificate", "fault", *_parted(error))
    if left < LEAST_DAYS:
        said = f"it is valid for {left} days" if left >= 0 else f"it is no longer valid, since {-left} days"
        return Finding("certificate", "warn" if left >= 0 else "fault", said, "Make another one: kato certify")
    return Finding("certificate", "ok", f"it is valid for {left} days")


def disk(data: Path) -> Finding:
    """Whether there is room where the cell lives."""
    usage = shutil.disk_usage(_standing(data))
    said = f"{usage.free // MIB} MiB free of {usage.total // MIB} where {data} is"
    todo = "Make room there, or choose another folder: --data, KATO_DATA"
    if usage.free < LEAST_DISK:
        return Finding("disk", "fault", said, todo)
    return Finding("disk", "warn", said, todo) if usage.free < LITTLE_DISK else Finding("disk", "ok", said)


def kernel(release: str) -> Finding:
    """Whether it has the system calls that are needed."""
    wanted = ".".join(map(str, KERNEL))
    if version(release) < KERNEL:
        return Finding("kernel", "fault", f"Linux {release}", f"Use one of {wanted} or later")
    return Finding("kernel", "ok", f"Linux {release}")


def version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version.

    >>> version("6.1.0-18-amd64"), version("20.10.24+dfsg1"), version("odd")
    ((6, 1), (20, 10), ())
    """
    numbers = text.split(".")[:2]
    return tuple(map(int, numbers)) if all(each.isdecimal() for each in numbers) else ()


def keeper() -> Finding:
    """Whether tasks can be kept as processes."""
    from kato.drivers.runtime.keepers.keeper import KEEPER

    if not os.access(KEEPER, os.X_OK, effective_ids=True):
        return Finding("processes", "fault", f"{KEEPER} is missing", "Install Káto again: its build compiles it")
    return Finding("processes", "ok", "the keeper is there")


async def balancer() -> Finding:
    """Whether there is a HAProxy, and of which version."""
    from kato.drivers.balancer import process

    try:
        program = process.binary()
        number = ".".join(map(str, (await process.build(program)).version))
    except DriverMissing as error:
        return Finding("balancer", "fault", *_parted(error))
    return Finding("balancer", "ok", f"HAProxy {number}, {program}")


async def engine(host: str | None, root: bool) -> Finding:
    """Whether containers can run, and by whose cell. A machine for processes needs none."""
    from kato.drivers.runtime.docker.engine import Engine

    asked = Engine(host)
    try:
        said = str((await asked.ask("GET", "/version"))["Version"])
    except DriverError as error:
        return Finding("containers", "warn", *_parted(error))
    finally:
        await asked.close()
    if version(said) < ENGINE:
        return Finding("containers", "warn", f"Docker Engine {said}", "Use 20.10 or later")
    told = "" if root else "; a cell of root's would tell containers the names of other projects too"
    return Finding("containers", "ok", f"Docker Engine {said}{told}")


def cgroups() -> Finding:
    """Which limits of tasks can be set: tried in a folder of its own, and taken away again."""
    from kato.drivers.runtime.resources.cgroups import Limits

    with tempfile.TemporaryDirectory(prefix="kato-doctor-") as trial, closing(Limits.open(Path(trial))) as limits:
        notes = limits.notes
    if notes:
        todo = "Run the cell as root, or by systemd with Delegate=yes" if os.geteuid() else "Mount that controller"
        return Finding("cgroups", "warn", " ".join(notes), todo)
    return Finding("cgroups", "ok", "limits of memory, CPU and processes can be set")


def descriptors(hard: int) -> Finding:
    """How many files the cell may open."""
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        todo = f"Raise it: ulimit -Hn {DESCRIPTORS}, or LimitNOFILE= of its unit"
        return Finding("limits", "warn", f"at most {hard} open files", todo)
    many = "any number of" if hard == resource.RLIM_INFINITY else f"{hard}"
    return Finding("limits", "ok", f"{many} open files")


def clock(now: float, state: int) -> Finding:
    """Whether the clock can be believed. state: what adjtimex(2) says."""
    said = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < FIRST_SECOND:
        return Finding("clock", "fault", f"it is not {said}", "Set it: date -s, or install chrony")
    if state == TIME_ERROR:
        return Finding(
            "clock", "warn", f"{said}, and nothing keeps it right", "Install chrony or systemd-timesyncd"
        )
    return Finding("clock", "ok", said)


def _adjtimex() -> int:
    """Asked and not set: a struct timex of zeros; it is smaller than this on every machine."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024)))


def _standing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def _parted(error: KatoError) -> Sequence[str]:
    found, _, todo = str(error).partition(". ")
    return found, todo
