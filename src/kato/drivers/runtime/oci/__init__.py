"""Tasks as containers without a daemon: a Launch flows in; its image under a folder of its own, and crun under a
keeper to run it, come out. What a keeper does with it: supervised.py.

    FOLDER/<task>/oci/     all of the container: config.json, what it wrote over its image, crun's own record
    FOLDER/.images/        images.py

The image is mounted in a mount namespace of the container's, so that no mount is ever seen outside or left behind.
crun leaves cgroups alone: the keeper joins the task's before it, and tells memory beyond its limit apart.
"""

import asyncio
import contextlib
import itertools
import os
import shlex
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from kato.drivers.runtime import Launch, Options
from kato.drivers.runtime.brought.pulled import docker_of
from kato.drivers.runtime.folders.sandbox import delete, hand
from kato.drivers.runtime.folders.secret_files import folder_of, write
from kato.drivers.runtime.keepers import conversation, keeper
from kato.drivers.runtime.keepers.record import Record
from kato.drivers.runtime.keepers.supervised import Supervised
from kato.drivers.runtime.keepers.way import Execution
from kato.drivers.runtime.oci import joining, naming, outside, tools
from kato.drivers.runtime.oci.config import Bind, Image, Site, beside, config, stop_signal
from kato.drivers.runtime.oci.images import Images, overlays
from kato.drivers.runtime.oci.networks import Endpoint, Networks
from kato.drivers.runtime.oci.volumes import binds, copy, fresh, lacks, text_in
from kato.drivers.runtime.resources.cgroups import Limits, hierarchies, unified_mount
from kato.drivers.runtime.rights import hold_volumes
from kato.drivers.runtime.unrunnable import not_run
from kato.model.app import App
from kato.model.conversation import Command, Left, Said, Size, Typing
from kato.model.errors import DriverError, DriverMissing
from kato.model.link import Pull
from kato.model.secret import Secret

CRUN = "crun --root=state --cgroup-manager=disabled"
LAY = 'mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay rootfs'
WRITTEN = ("hosts", "hostname", "resolv.conf")
"""Files of /etc that say who is where. A container has its own of them."""
COPIED = "Images are copied for each task: this kernel lays no folder over another here."
LOOK = 0.002
"""Seconds between two looks at whether a container runs. It takes about 10 ms."""
BEGINNING = 1.0
"""Seconds that a command is given until it has its terminal."""


class Inside(NamedTuple):
    """A command in a container. words: what runs it; pid: the file with its pid, once it is there."""

    words: Sequence[str]
    pid: Path


class Driver(Supervised):
    """The runtime driver `oci`: crun, with images of skopeo and umoci. It needs root."""

    name = "oci"
    powers: tuple[str, ...] = ("logs", "execute", "stats", "exec", "images")
    _way: "Containers"

    @classmethod
    def way(cls, options: Options, limits: Limits) -> tuple["Containers", tuple[str, ...]]:
        way = Containers(options, limits)
        return way, tuple(each for each in (None if way.overlaid else COPIED, way.unreached) if each)

    async def fetch(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """Has the image of an app here, pulled where it is missing (the power `images`)."""
        await self._way.ready(app, secrets)

    async def pulls(self) -> Sequence[Pull]:
        """What it pulls just now: skopeo tells nothing, so its files are looked at."""
        coming = await asyncio.to_thread(self._way.images.coming)
        return [Pull(self._options.node, image, got) for image, got in coming.items()]

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command where `execute` does, with a person at its other end. That it could not be run is known
        at its end, so nothing is said of that before."""
        left: Left | None = None
        with self.beside(task, command.argv) as record, self._way.inside(record, command) as inside:
            said = conversation.hold(
                self._keeper, record.folder, command, typing, inside.words, partial(resized, inside.pid)
            )
            async with contextlib.aclosing(said):
                async for each in said:
                    if isinstance(each, Left):
                        left = each
                    else:
                        yield each
        if left is not None:
            yield left

    async def remove(self, task: str) -> None:
        """Forgets an ended task, as every runtime does; images that nothing needs go too."""
        await super().remove(task)
        await self._way.images.tidy()

    async def clear(self) -> None:
        """Takes away what networks left on this machine that are no more."""
        await asyncio.to_thread(self._way.networks.clear)

    async def close(self) -> None:
        """Lets go. Tasks and their keepers go on, and so do their networks; names are not answered meanwhile."""
        await super().close()
        await self._way.images.close()
        await self._way.networks.close()


class Containers:
    """The way of a container: crun is between the keeper and the program."""

    def __init__(self, options: Options, limits: Limits) -> None:
        self._options = options
        self._limits = limits
        self._commands = itertools.count()
        self._path = options.environ.get("PATH") or os.environ.get("PATH", os.defpath)
        folder = options.folder / ".images"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        self.images = Images(folder, options.logins, self._digests, engine=options.engine)
        self._hidden = _hidden(Path("/proc/self/mountinfo").read_text())
        self.overlaid = os.geteuid() != 0 or overlays(folder)
        able = os.geteuid() == 0 and shutil.which("crun", path=self._path) is not None
        self.unreached = outside.note(self._path) if able else None
        self.networks = Networks(options, options.folder / ".networks", self._path)
        self._adopt()

    def _adopt(self) -> None:
        """Knows the networks again on which earlier lives' tasks are, and takes away what is left of others."""
        for file in self._options.folder.glob("*/oci/network.json"):
            if Record(file.parents[1]).locked():
                endpoints = msgspec.json.decode(file.read_bytes(), type=tuple[Endpoint, ...])
                pid_files = [file.parent / joining.pid_file(n) for n in range(len(endpoints))]
                self.networks.adopt(file.parents[1].name, endpoints, pid_files)
        self.networks.clear()

    def _digests(self) -> set[str]:
        """The images that tasks are laid over."""
        return {file.read_text() for file in self._options.folder.glob("*/oci/image")}

    def check(self) -> None:
        """Programs, root, and cgroups: without them what a container left behind could not be ended."""
        tools.check(self._path)
        if not self._limits.tell_members:
            raise DriverMissing(f"The oci runtime needs cgroups of its own. {' '.join(self._limits.notes)}")

    async def ready(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """Has its image here."""
        await self.images.have(docker_of(app), secrets)

    def prepare(self, record: Record, launch: Launch, files: Path | None) -> Execution:
        """Makes the sandbox, the volumes that are missing, and the container's own folder with its config.json."""
        image = self.images.known(launch.app.image or "")
        if image is None:
            raise DriverError(f"Its image {launch.app.image} is gone. It is pulled again by the next start.")
        if not self._options.privileged:
            hold_volumes(launch.app, self._options.own)
        folder, lower = _own(record), self.images.root(image)
        folder.mkdir(mode=0o700)
        write(record.folder, launch)
        for name in ("upper", "work", "rootfs"):
            (folder / name).mkdir(mode=0o755)
        (folder / "image").write_text(image.digest)
        endpoints = self.networks.join(record.task, launch.app)
        told = config(launch, image, self._site(record, launch, image, endpoints))
        (folder / "config.json").write_bytes(msgspec.json.encode(told))
        if files is not None:
            files.rename(record.sandbox)
            hand(record.sandbox, told["process"]["user"]["uid"], told["process"]["user"]["gid"])
        record.sandbox.mkdir(exist_ok=True)
        record.sandbox.chmod(0o777)  # whoever the image runs as may write into it
        if not self.overlaid:
            copy(lower, folder / "rootfs")
        place = told["process"]["cwd"]
        lay = [LAY] if self.overlaid else []
        make = ['mkdir -p "rootfs/$2"'] if lacks(lower, place) else []
        end, more = f"exec {CRUN} --log=log run --pid-file=init task", []
        if endpoints:
            places = [self.networks.place(endpoint) for endpoint in endpoints]
            for name, text in joining.lines(endpoints, places):
                (folder / name).write_text(text)
            rules = joining.rules(launch, endpoints, self._options.address)
            more = joining.before(str(keeper.KEEPER), str(folder), places, rules)
            end = f"exec unshare --net sh -c {shlex.quote(' && '.join((*joining.inside(places), end)))}"
        steps = [*self._hidden, *lay, *make, *more, end]
        words = ("unshare", "--mount", "sh", "-c", " && ".join(steps), "sh", os.path.relpath(lower, folder), place)
        stop = stop_signal(launch.app, image)
        return Execution(argv=words, env=self._around(record), cwd=folder, stop=stop)

    def _around(self, record: Record) -> dict[str, str]:
        """crun's own environment, not the container's. The sandbox marks it for who looks for what is left."""
        return {"PATH": self._path, "MESOS_SANDBOX": str(record.sandbox)}

    def _site(self, record: Record, launch: Launch, image: Image, endpoints: tuple[Endpoint, ...]) -> Site:
        lower, app, own = self.images.root(image), launch.app, _own(record)
        parameters = docker_of(app).parameters
        host = naming.Host(os.uname().nodename, _text(Path("/etc/hosts")), _text(Path("/etc/resolv.conf")))
        name = naming.hostname(record.task, endpoints, host, parameters)
        texts = (
            naming.hosts(name, endpoints, host, parameters),
            f"{name}\n",
            naming.resolv(endpoints, host, parameters),
        )
        for file, text in zip(WRITTEN, texts, strict=True):
            (own / file).write_text(text)
            (own / file).chmod(0o644)
        if endpoints:
            (own / "network.json").write_bytes(msgspec.json.encode(endpoints))
        written = (Bind(str(own / file), f"/etc/{file}") for file in WRITTEN)
        named = binds(app, self._options.volumes, lower, folder_of(record.folder))
        return Site(
            hostname=name,
            sandbox=str(record.sandbox),
            binds=(*written, *named, *fresh(app, image.volumes, named, lower, own / "volumes")),
            passwd=text_in(lower, "etc/passwd"),
            group=text_in(lower, "etc/group"),
            privileged=self._options.privileged,
        )

    def began(self, record: Record, launch: Launch) -> None:
        """Returns once crun has written the container's pid; it is gone without where it could not run it."""
        init = _own(record) / "init"
        while not init.exists():
            if not record.locked() and not init.exists():
                said = _text(_own(record) / "log") or _text(record.folder / "stderr.0")
                raise DriverError(tools.last_words(said) or "crun ended without a word.")
            time.sleep(LOOK)

    def words(self, fault: keeper.Fault, record: Record, launch: Launch) -> str:
        """The keeper's own."""
        return str(fault)

    @contextlib.contextmanager
    def beside(self, record: Record, argv: tuple[str, ...]) -> Iterator[Sequence[str]]:
        """crun puts the command into the container, as the task runs there."""
        with self.inside(record, Command(argv)) as inside:
            yield inside.words

    @contextlib.contextmanager
    def inside(self, record: Record, command: Command) -> Iterator[Inside]:
        """How a command is put into the container. Where it is given up, its group of processes is killed; where
        crun could not run it, DriverError."""
        folder, name = _own(record), f"command.{next(self._commands)}"
        task = msgspec.json.decode((folder / "config.json").read_bytes())["process"]
        pid, process, said = (folder / f"{name}.{kind}" for kind in ("pid", "json", "log"))
        process.write_bytes(msgspec.json.encode(beside(task, command)))
        told = f"--process={process.name} --pid-file={pid.name}"
        steps = [*self._hidden, f"exec {CRUN} --log={said.name} exec {told} task"]
        try:
            yield Inside(("unshare", "--mount", "sh", "-c", " && ".join(steps)), pid)
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                os.killpg(os.getpgid(int(pid.read_text())), signal.SIGKILL)
            raise
        else:
            if words := tools.last_words(_text(said)):
                raise not_run(command.argv[0], record.folder.name, words)
        finally:
            for file in (pid, process, said):
                file.unlink(missing_ok=True)

    def ended(self, record: Record) -> None:
        """Its places on networks."""
        self.networks.leave(record.task)

    def clear(self, record: Record) -> None:
        """All of the container but its sandbox and output."""
        if _own(record).exists():
            delete(_own(record))


async def resized(pid: Path, size: Size) -> None:
    """Gives the terminal in a container its size: crun gives it only the first. A command whose terminal is not
    found in time keeps the size that it has."""
    outside = os.stat("/dev/pts").st_dev
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BEGINNING):
            while not _resize(pid, size, outside):  # noqa: ASYNC110
                await asyncio.sleep(LOOK)


def _resize(pid: Path, size: Size, outside: int) -> bool:
    """Whether there was a terminal, other than ours, which its process holds until crun has given it that one."""
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            # It may be any file of a hostile container's: one that it has a lease on (fcntl(2)) holds up nobody.
            how = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            terminal = os.open(f"/proc/{_text(pid).strip() or 'none'}/fd/{number}", how)
            try:
                if os.isatty(terminal) and os.fstat(terminal).st_dev != outside:
                    conversation.resize(terminal, size)
                    return True
            finally:
                os.close(terminal)
    return False


def _own(record: Record) -> Path:
    return record.folder / "oci"


def _text(file: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return file.read_text(errors="replace")
    return ""


def _hidden(mountinfo: str) -> list[str]:
    """crun 1.8 refuses a machine with both versions of cgroups; where v1 has controllers, it sees that alone."""
    mount = unified_mount(mountinfo)
    both = mount is not None and any(each.version == 1 for each in hierarchies(mountinfo, "").values())
    return [f"umount {mount}"] if both else []
