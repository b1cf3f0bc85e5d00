"""Tasks as containers of the Docker engine: a Launch flows in, a container with Káto's labels comes out; what the
engine says of it flows back as Found, Exit and Output, also when an earlier life of the cell made it.

A container is called `kato-<node>-<task>`. A container without this node's label is never touched.

    FOLDER/<task>/sandbox/    its own folder             FOLDER/.kept/<task>/   removed tasks, for a day
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from kato.drivers.runtime import LAST, Executed, Exit, Found, Launch, Options
from kato.drivers.runtime.brought.fetched import Fetched
from kato.drivers.runtime.brought.pulled import docker_of, policy
from kato.drivers.runtime.docker.archive import Archive
from kato.drivers.runtime.docker.conversation import end_command, hold
from kato.drivers.runtime.docker.ends import Ends
from kato.drivers.runtime.docker.engine import (
    CONFLICT,
    MAKING,
    NOT_FOUND,
    Engine,
    about,
    filters,
    unless,
)
from kato.drivers.runtime.docker.furnished import SANDBOX, furnish
from kato.drivers.runtime.docker.held import hold_back
from kato.drivers.runtime.docker.images import Images
from kato.drivers.runtime.docker.logs import written
from kato.drivers.runtime.docker.payload import UNCHECKED, Site, body, endpoint, named_networks
from kato.drivers.runtime.docker.state import exit_of, found_of, kept_of, used_of
from kato.drivers.runtime.docker.stops import Stops
from kato.drivers.runtime.docker.supplies import Supplies
from kato.drivers.runtime.folders.sandbox import delete
from kato.drivers.runtime.folders.secret_files import clear, folder_of
from kato.drivers.runtime.resources.usage import used
from kato.model.app import App
from kato.model.conversation import Command, Said, Typing
from kato.model.errors import DriverError, NotFound
from kato.model.link import Output, Pull, Reached, RemovedTask, Used
from kato.model.secret import Secret

STREAMS = ("stdout", "stderr")
AT_ONCE = 12
"""Containers that an engine makes or starts at one time: more of them only wait for each other in it."""
PARTING = 10.0
"""Seconds that a removal may go on when the cell ends; what is not done then is done by the next cell."""
log = structlog.get_logger()


class Driver:
    """The runtime driver `docker`, for Docker Engine 20.10 and later."""

    name = "docker"
    powers: tuple[str, ...] = ("logs", "execute", "stats", "exec", "images")
    notes: tuple[str, ...] = ()

    def __init__(self, options: Options, engine: Engine) -> None:
        self._options = options
        self._engine = engine
        self._mine = f"kato.node={options.node}"
        self._prefix = f"kato-{options.node}-"
        self._archive = Archive(options.folder)
        self._fetched = Fetched(options.folder)
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._starting: dict[str, asyncio.Task[Found]] = {}
        self._removing: dict[str, asyncio.Task[None]] = {}
        self._stops = Stops(engine)
        ends = filters(type="container", event="die", label=self._mine)
        self._images = Images(engine, options.folder / ".images", options.logins)
        self._supplies = Supplies(engine, options.node, options.volumes, options.doors)
        self._ends = Ends(engine, ends, lambda seen: exit_of(seen, self._boot))

    @classmethod
    async def open(cls, options: Options, engine: Engine | None = None) -> "Driver":
        """Opens it, whether or not the engine is there: it may come later."""
        for folder in (options.folder, options.folder / ".kept", options.volumes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.folder.chmod(0o700)  # a container's root may leave programs there that make others root
        return cls(options, engine or Engine(options.engine))

    async def close(self) -> None:
        """Lets go. Containers go on; those that are being removed are waited for, if the engine does not hang."""
        await self._fetched.close()
        if removing := [*self._removing.values()]:
            await asyncio.wait(removing, timeout=PARTING)
        background = [*removing, *self._starting.values()]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._stops.close()
        await self._ends.close()
        await self._engine.close()

    @property
    def silence(self) -> str | None:
        """Why the engine does not answer now (Carried)."""
        return self._ends.silence

    def hear(self, changed: Callable[[], None]) -> None:
        """Has it told when the engine falls silent, and when it answers again (Carried)."""
        self._ends.changed = changed

    # -- what there is ----------------------------------------------------------------------------------------

    async def found(self) -> Mapping[str, Found]:
        """Every container of this node. One that never started is removed."""
        with about("The containers on this node cannot be listed"):
            listed = await self._engine.ask("GET", "/containers/json", all=1, filters=filters(label=self._mine))
            await self._supplies.meet()
        self._ends.begin()
        looked = await asyncio.gather(*(self._find(task) for each in listed if (task := self._task(each))))
        return {each.task: each for each in looked if each is not None}

    def _task(self, listed: Mapping[str, Any]) -> str:
        """The task that a container is; none, where our labels are on one that is not called as ours are: anybody
        may write them.
        """
        task = str(listed["Labels"].get("kato.task", ""))
        return task if f"/{self._name(task)}" in (listed["Names"] or ()) else ""

    async def _find(self, task: str) -> Found | None:
        if (starting := self._starting.get(task)) is not None:
            with contextlib.suppress(DriverError):  # whoever starts it hears that
                return await asyncio.shield(starting)
            return None
        with about(f"Task {task} cannot be told"):
            seen = await self._look(self._name(task))
            if seen is None or seen["State"]["Status"] != "created":
                return None if seen is None else await self._found(seen)
            await self._delete(self._name(task))
            return None

    async def _found(self, seen: Mapping[str, Any]) -> Found:
        check = None if UNCHECKED in seen["Config"]["Labels"] else await self._images.check(seen["Image"])
        found = found_of(seen, self._boot, check)
        if found.pid:
            self._ends.know(self._name(found.task), found.pid, seen["Id"])
        return found

    def _name(self, task: str) -> str:
        return self._prefix + task

    def _folder(self, task: str) -> Path:
        return self._options.folder / task

    async def _look(self, name: str) -> dict[str, Any] | None:
        with unless(NOT_FOUND):
            seen: dict[str, Any] = await self._engine.ask("GET", f"/containers/{name}/json")
            return seen
        return None

    async def _delete(self, name: str) -> None:
        with unless(NOT_FOUND, CONFLICT):  # conflict: its removal is under way
            await self._engine.ask("DELETE", f"/containers/{name}", force=1, v=1)

    # -- start and end ----------------------------------------------------------------------------------------

    async def fetch(self, app: App, secrets: Mapping[str, Secret]) -> None:
        """Has the image of an app here, pulled where it is missing (the power `images`)."""
        await self._images.have(docker_of(app), secrets)

    async def pulls(self) -> Sequence[Pull]:
        """What it pulls just now, by the engine's word."""
        coming = self._images.coming.items()
        return [Pull(self._options.node, image, progress.got, progress.whole) for image, progress in coming]

    async def start(self, launch: Launch) -> Found:
        """Starts the task, or finds it started before."""
        starting = self._starting.get(launch.task)
        if starting is None:
            starting = self._starting[launch.task] = asyncio.create_task(self._begin(launch))
            starting.add_done_callback(lambda _: self._starting.pop(launch.task))
        return await asyncio.shield(starting)

    async def _begin(self, launch: Launch) -> Found:
        name = self._name(launch.task)
        with about(f"Task {launch.task} cannot be started"):
            known = await self._look(name) if launch.app.fetch else None  # files go to no container that is there
            if known is not None or not await self._made(name, launch):
                seen = known or await self._look(name)
                if seen is not None and (seen["Config"]["Labels"] or {}).get("kato.node") != self._options.node:
                    raise DriverError(f"a container {name} of somebody else is there. Rename it: docker rename")
                if seen is not None and seen["State"]["Status"] != "created":
                    return await self._found(seen)
                await self._delete(name)
                await self._made(name, launch)
            self._ends.expect(name)
            try:
                async with self._gate:
                    await self._engine.ask("POST", f"/containers/{name}/start", within=MAKING)
            except DriverError as error:
                await self._discard(name, launch.task)
                raise self._supplies.explained(error) from error
            return await self._found(await self._engine.ask("GET", f"/containers/{name}/json"))

    async def _made(self, name: str, launch: Launch) -> bool:
        """Makes the container; False where there is one of that name."""
        try:
            with unless(CONFLICT):
                await self._make(name, launch)
                return True
        except DriverError:
            await self._discard(name, launch.task)
            raise
        return False

    async def _make(self, name: str, launch: Launch) -> None:
        app, folder = launch.app, self._folder(launch.task)
        networks = await self._supplies.networks(app)
        site = Site(
            node=self._options.node,
            boot=self._boot,
            address=self._options.address,
            sandbox=str(folder / SANDBOX),
            networks=networks,
            servers=self._supplies.servers(networks.values()),
            volumes=await self._supplies.volumes(app),
            secrets=str(folder_of(folder)),
        )
        asked = body(launch, site)
        if not self._options.privileged:
            await asyncio.to_thread(hold_back, app, asked["HostConfig"], self._options.own)
        try:
            async with self._fetched.files(launch.task, app.fetch) as files:
                await asyncio.to_thread(furnish, folder, files, launch)
        except OSError as error:
            raise DriverError(f"its sandbox cannot be made: {error}.") from error
        await self._create(name, launch, asked)
        for network in named_networks(app, site)[1:]:
            join = {"Container": name, "EndpointConfig": endpoint(app)}
            await self._engine.ask("POST", f"/networks/{network}/connect", join)

    async def _create(self, name: str, launch: Launch, asked: Mapping[str, Any]) -> None:
        """The engine says itself where the image is missing: it is not asked for every start."""
        docker = docker_of(launch.app)
        if policy(docker) != "always":
            with unless(NOT_FOUND):
                async with self._gate:
                    await self._engine.ask("POST", "/containers/create", asked, within=MAKING, name=name)
                await self._images.use(docker)
                return
        await self._images.have(docker, launch.secrets)
        async with self._gate:
            await self._engine.ask("POST", "/containers/create", asked, within=MAKING, name=name)

    async def _discard(self, name: str, task: str) -> None:
        """Takes away all of a start that did not come about."""
        self._ends.forget(name)
        await self._delete(name)
        if self._folder(task).exists():
            await asyncio.to_thread(delete, self._folder(task))

    async def wait(self, task: str) -> Exit:
        """Returns once it has ended, by the engine's word."""
        with about(f"The end of task {task} cannot be watched"):
            return await self._ends.of(self._name(task))

    async def stop(self, task: str, grace: float) -> None:
        """Asks the engine until it hears; returns at once."""
        self._stops.ask(self._name(task), grace)

    async def remove(self, task: str) -> None:
        """Forgets an ended task. Its output is kept for a day, but no more than 20 of one app."""
        removing = self._removing.get(task)
        if removing is None:
            removing = self._removing[task] = asyncio.create_task(self._remove(task))
            removing.add_done_callback(lambda _: self._removing.pop(task))
        await asyncio.shield(removing)

    async def _remove(self, task: str) -> None:
        name = self._name(task)
        with about(f"Task {task} cannot be removed"):
            seen = await self._look(name)
            if seen is None:
                return
            if seen["State"]["Running"]:
                raise DriverError(f"docker: task {task} still runs. Stop it before it is removed.")
            self._stops.forget(name)
            self._ends.forget(name)
            output = {stream: await self._whole(seen, stream) for stream in STREAMS}
            folder = self._folder(task)
            await asyncio.to_thread(folder.mkdir, exist_ok=True)
            await asyncio.to_thread(clear, folder)
            await asyncio.to_thread(self._archive.add, folder, kept_of(seen, self._boot), output)
            await self._delete(name)
            if all(other.done() for each, other in self._removing.items() if each != task):
                await self._supplies.tidy()
                await self._images.tidy()

    async def _whole(self, seen: Mapping[str, Any], stream: str) -> bytes:
        async with contextlib.aclosing(written(self._engine, seen, stream)) as pieces:
            return b"".join([data async for _, data in pieces])

    async def clear(self) -> None:
        """Takes away the networks, the names of volumes and the images that this node brought and nobody uses."""
        with about("What this node brought to the engine cannot be removed"):
            await self._supplies.tidy()
            await self._images.clear()

    async def let_go(self, volume: str) -> None:
        """Has the engine forget a named volume (Holds)."""
        with about(f"Whether the engine holds the volume {volume} is not known"):
            await self._supplies.let_go(volume)

    async def kept(self) -> Sequence[RemovedTask]:
        """The removed tasks whose output is still kept."""
        return await asyncio.to_thread(self._archive.all)

    # -- beside a task ----------------------------------------------------------------------------------------

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> Executed:
        """Runs a command in the container. TimeoutError."""
        asked = {"Cmd": argv, "AttachStdout": True, "AttachStderr": True}
        last = bytearray()
        with about(f"{argv[0]} cannot be run in task {task}"):
            made = await self._engine.ask("POST", f"/containers/{self._name(task)}/exec", asked)
            path = f"/exec/{made['Id']}"
            try:
                async with asyncio.timeout(timeout):
                    async for data in self._engine.output("POST", f"{path}/start", body={}, tty=False):
                        last = (last + data)[-LAST:]
            except TimeoutError:
                await end_command(self._engine, path)
                raise TimeoutError(f"{argv[0]} took longer than {timeout:g} s in task {task}.") from None
            code = (await self._engine.ask("GET", f"{path}/json"))["ExitCode"]
        return Executed(code, bytes(last))

    async def exec(self, task: str, command: Command, typing: Typing) -> AsyncGenerator[Said, None]:
        """Runs a command in the container, with a person at its other end."""
        with about(f"{command.argv[0]} cannot be run in task {task}"):
            async with contextlib.aclosing(hold(self._engine, self._name(task), task, command, typing)) as said:
                async for each in said:
                    yield each

    async def stats(self, pids: Mapping[str, int]) -> Mapping[str, Used]:
        """What tasks use now (Stats): by their cgroups, which are called like their containers; by the engine
        where those cannot be seen from here.
        """
        first = {task: found for task in pids if (found := self._ends.first(self._name(task))) is not None}
        known = await asyncio.to_thread(used, first)
        with about("What containers use cannot be told"):
            others = [task for task in pids if task not in first]
            return known | {task: told for task in others if (told := await self._counted(task)) is not None}

    async def _counted(self, task: str) -> Used | None:
        path = f"/containers/{self._name(task)}/stats?stream=false&one-shot=true"
        with unless(NOT_FOUND, CONFLICT):
            return used_of(await self._engine.ask("GET", path))
        return None

    async def output(
        self,
        task: str,
        stream: str,
        *,
        tail: int | None = None,
        follow: bool = False,
        since: Reached | None = None,
    ) -> AsyncIterator[Output]:
        """Pieces of `stdout` or `stderr`, also of a task removed lately. NotFound where there is none of it."""
        with about(f"The {stream} of task {task} cannot be read"):
            seen = await self._look(self._name(task))
            kept = None if seen else await asyncio.to_thread(self._archive.output, task, stream, tail, since)
            for piece in kept or ():
                yield piece
            if kept is None and (seen is None or stream not in STREAMS):
                raise NotFound(f"There is no {stream} of task {task} on this node.")
            if seen is None:
                return
            offset = since.offset if since else 0
            async with contextlib.aclosing(written(self._engine, seen, stream, tail, follow, since)) as pieces:
                async for when, data in pieces:
                    yield Output(task, stream, offset, data, when)
                    offset += len(data)
