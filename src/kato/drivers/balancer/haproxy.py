"""The HAProxy driver: views of frontends flow in and are made true, what HAProxy serves and still holds flows out.

Servers come, drain and go by commands at run time. Only another set of ports, hosts or paths reloads HAProxy, and
what is then left of older workers is counted until their sessions are over.
"""

import asyncio
import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
import structlog

from kato.drivers.balancer import Options, process, silence
from kato.drivers.balancer.exporter import Exporter
from kato.drivers.balancer.ports import there, why_not
from kato.drivers.balancer.render import (
    KEEP_ALIVE,
    Entrance,
    Layout,
    held_entrance,
    held_port,
    lay_out,
    render,
)
from kato.drivers.balancer.runtime_socket import (
    ANSWER,
    Processes,
    RuntimeSocket,
    Silent,
    Worker,
    changes,
    servers,
)
from kato.drivers.balancer.sessions import Place, count, draining, questions
from kato.drivers.balancer.traffic import FRESH, MOMENT, QUESTION, traffic
from kato.model.errors import DriverError
from kato.model.frontend import BorderAck, Door, Frontends, Traffic

log = structlog.get_logger()

AGAIN = 2.0
"""Seconds after which what could not be done is tried again: a port in use, a server with sessions to remove."""
RELEASE = 1.0
"""Seconds that the workers of a killed HAProxy may take to give their ports back."""
PULSE = 5.0
"""Seconds until HAProxy is asked again whether it lives."""
PARTING = 0.5
"""Seconds that a worker of before a reload has to answer; one that is just ending never does."""
SOON = 0.5
"""Seconds after which commands that HAProxy did not take are given again; until then a drain does not count."""
REFUSED = 5.0
"""Seconds until a configuration that HAProxy refused is offered to it again."""
PAUSE = 0.2
"""Seconds between two reloads, so that a burst of new apps does not leave a worker each."""


class Driver:
    """HAProxy behind the balancer port. It outlives us, and is found again by its master socket."""

    name = "haproxy"

    def __init__(self, options: Options, haproxy: Path, build: process.Build) -> None:
        self._options = options
        self._folder = options.folder
        self._haproxy = haproxy
        self._version = build.version
        self._site = process.site(options, build)
        self._exporter = Exporter(options.folder)
        self._socket = RuntimeSocket(options.folder)
        self._patience = silence.Patience(options.folder)
        self._lock = asyncio.Lock()
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._master: process.HaproxyProcess | None = None
        self._worker: Worker | None = None
        self._view = Frontends()
        self._whole = -1
        self._taken: dict[int, str] = {}
        self._doors: tuple[Door, ...] = ()
        self._shut: dict[Entrance, str] = {}
        self._laid: tuple[Door, ...] = ()
        self._layout = lay_out(self._view, self._site, self._taken)
        self._digest = render(self._layout, self._site).digest
        self._settled: tuple[Layout, int] | None = None
        self._refused: tuple[str, str] | None = None
        self._reloaded = -math.inf
        self._asking = asyncio.Lock()
        self._passed: tuple[float, Sequence[Traffic]] = (-math.inf, ())

    @classmethod
    async def open(cls, options: Options) -> Self:
        """Opens it, and adopts the HAProxy that runs in the folder if one does. DriverMissing without a binary."""
        haproxy = process.binary()
        options.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options.folder.chmod(0o700)
        driver = cls(options, haproxy, await process.build(haproxy))
        # Clients of workers that a reload left behind may still come; count from now.
        now = asyncio.get_running_loop().time()
        try:
            if await driver._processes() is not None:
                driver._reloaded = now
        except Silent as error:
            driver._reloaded = now
            driver._patience.stuck(error.seconds)
        return driver

    async def apply(self, view: Frontends) -> BorderAck:
        """Makes `view` true. DriverError where HAProxy does not start or answer; what it served goes on then."""
        async with self._lock:
            try:
                return await self._insist(view)
            except OSError as error:
                raise DriverError(f"HAProxy in {self._folder} went away ({error}); it is tried again.") from error

    async def traffic(self) -> Sequence[Traffic]:
        """What passed since the last reload, by the newest worker."""
        async with self._asking:  # however many want to know, HAProxy is asked once
            now = asyncio.get_running_loop().time()
            if now - self._passed[0] < FRESH:
                return self._passed[1]
            found: Sequence[Traffic] = ()
            with contextlib.suppress(OSError, DriverError, TimeoutError):
                async with asyncio.timeout(MOMENT):
                    workers = (await self._socket.processes()).workers
                    answer = await self._socket.ask_worker(workers[0], [QUESTION]) if workers else ""
                found = tuple(traffic(answer, self._layout.services))
            self._passed = now, found
            return found

    def admit(self, doors: Sequence[Door]) -> None:
        """Serves every service port at these doors too (Admitting)."""
        self._doors = tuple(doors)
        self._due.set()

    @property
    def exports(self) -> bool:
        """Whether it was built with its exporter."""
        return self._site.exports

    async def exported(self) -> str:
        """What HAProxy's exporter says, since the last reload."""
        return await self._exporter.figures()

    async def due(self) -> None:
        """Returns when `apply` should be called for the same view: it died, work is left over, or it is time to
        see whether it answers.
        """
        await self._due.wait()
        self._due.clear()

    async def close(self, *, stop: bool) -> None:
        """Lets go; with `stop` HAProxy ends: gracefully within a second, then at once."""
        async with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            with contextlib.suppress(Silent):
                await self._processes()
            if stop:
                if self._master is not None:
                    await self._master.end()
                await silence.end(self._folder)
            self._forget()

    async def _insist(self, view: Frontends) -> BorderAck:
        """Applies; where HAProxy is stuck, by one that is started in its place."""
        try:
            ack = await self._apply(view)
        except Silent as error:
            if not self._patience.stuck(error.seconds):
                raise
            log.warning("HAProxy is stuck; it is ended, and started anew with the last view", why=str(error))
            self._forget()
            await silence.end(self._folder)
            ack = await self._apply(view)
        self._patience.answered()
        return ack

    async def _apply(self, view: Frontends) -> BorderAck:
        processes = await self._processes()
        if processes is None and self._master is not None:
            self._forget()
        await self._lay_out(view, patient=processes is None and (self._folder / process.CONFIG).exists())
        problems = list(self._layout.problems)
        if processes is None:
            await self._start()
        elif self._worker is None or self._worker.digest != self._digest:
            problems += await self._reload()
        refused = await self._update()
        if not refused:
            self._whole = view.seq
        sessions = await self._sessions()
        again = AGAIN if problems or self._newest.leftovers else PULSE
        self._look_again(SOON if refused else again)
        return BorderAck(
            node=self._options.node,
            seq=self._whole,
            sessions=sessions,
            address=self._options.address,
            ingress=self._options.ingress if self._layout.ingress else "",
            problems=(*problems, *refused),
        )

    @property
    def _newest(self) -> Worker:
        if self._worker is None:
            raise ConnectionResetError("it has no worker")
        return self._worker

    # -- look ---------------------------------------------------------------------------------------------------

    async def _processes(self) -> Processes | None:
        """Who lives, None for nobody. Knows the master by its descriptor and the newest worker by its words."""
        try:
            found = await self._socket.processes()
            if self._master is None or self._master.pid != found.master:
                self._forget()
                self._watch(process.HaproxyProcess(found.master))
                # The same answer again: so the descriptor is of the process that answers.
                found = await self._socket.processes()
            if self._worker is None or found.workers[:1] != (self._worker.pid,):
                self._worker = await self._serving(found)
        except (ConnectionError, ProcessLookupError):
            return None
        return found

    async def _serving(self, processes: Processes) -> Worker | None:
        """The worker that takes new connections."""
        for pid in processes.workers:
            worker = await self._socket.worker(pid)
            if not worker.stopping:
                return worker
        return None

    async def _lay_out(self, view: Frontends, *, patient: bool) -> None:
        """Decides what of the view can be served, and with which configuration."""
        held = {held_port(name) for name in self._worker.frontends} if self._worker else set()
        wanted = {each.port: self._site.address for each in view.services if 0 < each.port < 65536}
        wanted[self._site.ingress_port] = self._site.ingress.rpartition(":")[0]
        taken = self._busy({port: wanted[port] for port in wanted.keys() - held})
        deadline = asyncio.get_running_loop().time() + RELEASE
        while patient and taken and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
            taken = self._busy({port: wanted[port] for port in taken})
        doors = tuple(each for each in self._doors if there(each.interface))
        shut = self._closed(view, doors)
        if view.services is not self._view.services or (taken, doors, shut) != (
            self._taken,
            self._laid,
            self._shut,
        ):
            layout = lay_out(view, self._site, taken, doors, shut)
            if layout.shape != self._layout.shape:
                self._digest = render(layout, self._site).digest
            self._layout = layout
        self._view, self._taken, self._laid, self._shut = view, taken, doors, shut

    def _closed(self, view: Frontends, doors: Sequence[Door]) -> dict[Entrance, str]:
        """The ports that cannot be had at doors, and why."""
        held = {held_entrance(name) for name in self._worker.frontends} if self._worker else set()
        asked = {(each.port, door) for each in view.services if 0 < each.port < 65536 for door in doors}
        found: dict[Entrance, str] = {}
        for port, door in sorted(asked):
            entrance = port, door.interface
            if entrance not in held and (why := why_not(door.address, *entrance)) is not None:
                found[entrance] = why
        return found

    def _busy(self, ports: Mapping[int, str]) -> dict[int, str]:
        """Those of `ports` (port → address) that cannot be had, and why."""
        found = {port: why_not(host, port) for port, host in ports.items()}
        return {port: reason for port, reason in sorted(found.items()) if reason is not None}

    # -- act ----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Files with the servers of now, so that none that came at run time is lost."""
        rendered = render(self._layout, self._site)
        process.write(self._folder, rendered.config, rendered.routes)

    async def _start(self) -> None:
        self._write()
        await process.start(self._haproxy, self._folder)
        await self._taken_over()

    async def _reload(self) -> list[str]:
        """Hands over to a new worker with the current servers. Where that fails the old one goes on: says why."""
        loop = asyncio.get_running_loop()
        if self._refused and self._refused[0] == self._digest and loop.time() < self._reloaded + REFUSED:
            return [self._refused[1]]
        await asyncio.sleep(max(0.0, self._reloaded + PAUSE - loop.time()))
        self._write()
        answer = await self._socket.ask("reload", timeout=20)
        self._reloaded = loop.time()
        if not answer.startswith("Success=0") and await self._taken_over():
            return []
        if await self._processes() is None or self._worker is None:
            raise DriverError(f"HAProxy ended over a reload: {process.last_words(self._folder)}")
        why = " ".join(answer.split()) or process.last_words(self._folder)
        said = f"HAProxy goes on with its earlier ports and hosts, since a reload failed: {why}"
        self._refused = (self._digest, said)
        return [said]

    async def _taken_over(self) -> bool:
        """Whether a worker with the wanted configuration takes over within 5 s."""
        deadline = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < deadline:
            if await self._processes() is not None and self._worker and self._worker.digest == self._digest:
                return True
            await asyncio.sleep(0.01)
        return False

    async def _update(self) -> list[str]:
        """Adds, drains and removes servers of the newest worker by commands; what it refused, as problems."""
        worker = self._newest
        if self._settled and self._settled[0] is self._layout and self._settled[1] == worker.pid:
            await self._socket.ask_worker(worker.pid, ["show info"])  # only to hear whether it answers
            return []
        wanted = self._layout.backends
        if worker.digest != self._digest:
            answer = await self._socket.ask_worker(worker.pid, ["show backend"])
            wanted = {name: each for name, each in wanted.items() if name in answer.split()}
        todo = changes(worker.servers, wanted)
        if todo:
            first = ["experimental-mode on"] if self._version < (2, 6) else []
            look = [f"show servers state {name}" for name in todo]
            answer = await self._socket.ask_worker(worker.pid, [*first, *itertools.chain(*todo.values()), *look])
            seen = servers(answer)
            fresh = {name: have for name, have in worker.servers.items() if name not in todo} | seen
            self._worker = worker = msgspec.structs.replace(worker, servers=fresh)
            again = changes(
                {name: fresh.get(name, {}) for name in todo}, {name: wanted.get(name, ()) for name in todo}
            )
            left = list(itertools.chain(*again.values()))
            if refused := [each for each in left if not each.startswith("del server ")]:
                said = answer.partition("1\n# be_id")[0]  # what comes before the first of the tables
                return [f"HAProxy did not take {refused[0]!r}: {' '.join(said.split())}"]
        if not worker.leftovers:
            self._settled = (self._layout, worker.pid)
        return []

    async def _sessions(self) -> dict[str, int]:
        """Task → open sessions over all workers and backends, for every task that drains."""
        places = draining(self._view.services)
        if not places:
            return {}
        total: Counter[Place] = Counter()
        recent = asyncio.get_running_loop().time() < self._reloaded + KEEP_ALIVE + 1
        for pid in (await self._socket.processes()).workers:
            old = pid != self._newest.pid
            try:
                answer = await self._socket.ask_worker(pid, questions(places), PARTING if old else ANSWER)
            except Silent as error:
                if pid in (await self._socket.processes()).workers:
                    if not old:
                        raise
                    # It alone is no reason to end the worker that serves.
                    raise DriverError(str(error)) from error
                continue
            total += count(answer, old=old and recent)
        return {task: sum(total[place] for place in where) for task, where in places.items()}

    # -- remember -----------------------------------------------------------------------------------------------

    def _watch(self, master: process.HaproxyProcess) -> None:
        self._master = master
        asyncio.get_running_loop().add_reader(master.fd, self._died)

    def _died(self) -> None:
        self._forget()
        self._due.set()

    def _forget(self) -> None:
        """What was known of a HAProxy that is not there any more, or is not ours to watch."""
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master.fd)
            self._master.close()
        self._master = self._worker = None

    def _look_again(self, after: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(after, self._due.set)
