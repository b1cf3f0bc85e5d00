"""Tasks under keepers, whatever it is that they execute: a Launch and a way to execute it flow in, a keeper with a
record comes out; what keepers wrote flows back as Found, Exit and Output, also of an earlier life of the cell.

    FOLDER/.lock              held while the driver is open      FOLDER/.kept/<task>/   removed tasks, for a day
    FOLDER/<task>/            the record (record.py)             FOLDER/<task>/sandbox/ the task's own folder

Run by root, FOLDER and records may be passed but not read by others (0711), so that a task of another user
reaches its own sandbox (0700, that user's); run by anyone else, everything is 0700. The spec with the environment
stays in the record, closed to all but the cell, while the task is known: `execute` needs it.
"""

import asyncio
import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
import structlog

from kato.drivers.runtime import Executed, Exit, Found, Launch, Options
from kato.drivers.runtime.brought.fetched import Fetched
from kato.drivers.runtime.folders import secret_files
from kato.drivers.runtime.folders.claim import claim, translated
from kato.drivers.runtime.folders.removed import RemovedTasks
from kato.drivers.runtime.folders.sandbox import delete
from kato.drivers.runtime.folders.streams import Changes, Stream
from kato.drivers.runtime.keepers import beside, keeper
from kato.drivers.runtime.keepers.insist import OVERDUE, Insistence
from kato.drivers.runtime.keepers.leftovers import end_all, keepers
from kato.drivers.runtime.keepers.record import Record, Spec, Started, exit_of, start_time
from kato.drivers.runtime.keepers.way import Way
from kato.drivers.runtime.resources.cgroups import Limits
from kato.drivers.runtime.resources.usage import used
from kato.drivers.runtime.unrunnable import not_run
from kato.model.errors import DriverError, DriverMissing, NotFound
from kato.model.link import Output, Reached, RemovedTask, Used

ROTATE = 10 << 20
"""Bytes of a full output file."""
FULL_FILES = 2
"""How many full output files are kept beside the current one."""
LONGEST_GRACE = 1e9
"""Seconds: 30 years. The keeper reads a short line."""
UNREAD_GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL for a task whose record says nothing of it."""
_T = TypeVar("_T")
log = structlog.get_logger()


class Supervised(ABC):
    """What drivers have in common whose tasks run under keepers."""

    name: str
    powers: tuple[str, ...] = ("logs", "execute", "stats")
    passed = False
    """Whether its tasks may run as other users, who pass its folders. Containers' pass none."""

    def __init__(
        self, options: Options, limits: Limits, lock: int, *, rotate: int, program: Path, overdue: float
    ) -> None:
        """lock: the descriptor that holds the folder's lock. program: the keeper."""
        self._keeper = program
        self._options = options
        self._limits = limits
        self._kept = RemovedTasks(options.folder)
        self._fetched = Fetched(options.folder)
        self._lock = lock
        self._environ = options.environ
        self._rotate = rotate
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._threads = ThreadPoolExecutor(4, thread_name_prefix=f"{self.name}-runtime")
        self._starting: dict[str, asyncio.Task[Found]] = {}
        self._endings: dict[str, asyncio.Task[Exit]] = {}
        self._changes: Changes | None = None
        self._overdue = overdue
        self._insistence = Insistence(overdue)
        self._way, self.notes = self.way(options, limits)

    @classmethod
    @abstractmethod
    def way(cls, options: Options, limits: Limits) -> tuple[Way, tuple[str, ...]]:
        """How tasks are executed, and what cannot be done for them on this machine, as sentences."""

    @classmethod
    async def open(
        cls,
        options: Options,
        *,
        rotate: int = ROTATE,
        limits: Limits | None = None,
        program: Path = keeper.KEEPER,
        overdue: float = OVERDUE,
    ) -> Self:
        """Opens it and takes the folder. DriverMissing without a keeper; DriverError where another cell has it.

        rotate: bytes of a full output file. limits: by default what this machine permits. program: the keeper.
        overdue: seconds past its grace, or until it has written its task's start, after which a keeper is urged.
        """
        if not os.access(program, os.X_OK, effective_ids=True):
            raise DriverMissing(f"{program} is missing: it is compiled when Káto is built. Run: pip install -e .")
        lock = claim(cls.name, options, cls._mode())
        limits = limits or Limits.open(options.folder)
        return cls(options, limits, lock, rotate=rotate, program=program, overdue=overdue)

    @classmethod
    def _mode(cls) -> int:
        """Of its folder and its tasks'. What is closed to others hides what a container's root may leave there:
        a program that makes whoever runs it root."""
        return 0o711 if cls.passed and os.geteuid() == 0 else 0o700

    async def close(self) -> None:
        """Lets go. Tasks and their keepers go on."""
        self._insistence.close()
        await self._fetched.close()
        for ending in self._endings.values():
            ending.cancel()
        await asyncio.gather(*self._endings.values(), *self._starting.values(), return_exceptions=True)
        self._threads.shutdown()
        if self._changes is not None:
            self._changes.close()
        self._limits.close()
        os.close(self._lock)

    async def found(self) -> Mapping[str, Found]:
        """Every task with a record. A start that was cut off before the task ran is cleared away, and so is a task
        whose record cannot be read; what fails with one is said, and keeps none of the others."""
        await self._in_thread(self._way.check)
        with translated("The tasks on this node cannot be told"):
            with os.scandir(self._options.folder) as entries:
                names = [each.name for each in entries if each.is_dir() and not each.name.startswith(".")]
            finding = [asyncio.create_task(self._find(name)) for name in names]
            await asyncio.gather(*finding, return_exceptions=True)
            found = (each.result() for each in finding)
            return {each.task: each for each in found if each is not None}

    async def _find(self, task: str) -> Found | None:
        record = self._record(task)
        if task in self._starting:
            with contextlib.suppress(DriverError):  # whoever starts it hears that
                return await asyncio.shield(self._starting[task])
            return None
        started = await keeper.started(record, self._overdue)
        if started is None:
            await self._clear(record)
            return None
        try:
            return await self._look(record, started)
        except (OSError, DriverError) as error:
            log.warning(
                "how a task is cannot be told; whoever waits for its end asks again", task=task, why=str(error)
            )
            return Found(task=task, started=started.time, pid=started.pid)

    async def _clear(self, record: Record) -> None:
        """Ends and takes away a task of which no start can be read: nothing says whose pids are its."""
        log.warning("a task's record has no start that can be read; what is left of it is ended", task=record.task)
        try:
            if record.locked():
                with contextlib.suppress(DriverError):  # what does not hear is killed
                    await self.stop(record.task, UNREAD_GRACE)
            await self._in_thread(self._discard, record)
        except (OSError, DriverError) as error:
            log.warning("what is left of a task cannot be taken away", task=record.task, why=str(error))
        self._insistence.forget(record.task)

    async def start(self, launch: Launch) -> Found:
        """Starts the task, or finds it started before."""
        record = self._record(launch.task)
        starting = self._starting.get(launch.task)
        if starting is None:
            starting = self._starting[launch.task] = asyncio.create_task(self._begin(record, launch))
            starting.add_done_callback(lambda _: self._starting.pop(launch.task))
        return await asyncio.shield(starting)

    async def _begin(self, record: Record, launch: Launch) -> Found:
        with translated(f"Task {record.task} cannot be started"):
            if (started := await keeper.started(record, self._overdue)) is not None:
                return await self._look(record, started)
            await self._way.ready(launch.app, launch.secrets)
            async with self._fetched.files(record.task, launch.app.fetch) as files:
                started = await self._in_thread(self._start, record, launch, files)
            self._ending(record, started)  # watched from now on, whatever the task does to its record
            return Found(task=record.task, started=started.time, pid=started.pid)

    async def wait(self, task: str) -> Exit:
        """Returns once its keeper is gone, and so nothing of the task is left."""
        record = self._record(task)
        with translated(f"The end of task {task} cannot be watched"):
            started = record.started()
            if started is None and task not in self._endings:
                raise DriverError(f"{self.name}: there is no task {task} here.")
            return await asyncio.shield(self._ending(record, started) if started else self._endings[task])

    async def stop(self, task: str, grace: float) -> None:
        """Hands the wish to the keeper, which carries it out though the cell dies. No error where it has ended. A
        keeper that was kept from it is sent on, or else killed; what is left is ended then."""
        record, grace = self._record(task), min(grace, LONGEST_GRACE)
        self._insistence.expect(record, grace)
        try:
            control = os.open(record.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(control, f"stop {grace:.3f}\n".encode())
            finally:
                os.close(control)
        except OSError as error:
            # No file, or no reader: the keeper is gone, and with it the task.
            if error.errno not in (errno.ENOENT, errno.ENXIO, errno.EPIPE):
                raise DriverError(f"Task {task} cannot be stopped: {error}.") from error

    async def remove(self, task: str) -> None:
        """Forgets an ended task. Its output and sandbox are kept for a day, but no more than 20 of one app, and
        none where the disk is nine tenths full or has less than 64 MiB free."""
        record = self._record(task)
        with translated(f"Task {task} cannot be removed"):
            started = record.started()
            if started is not None and (await self._look(record, started)).exit is None:
                raise DriverError(f"{self.name}: task {task} still runs. Stop it before it is removed.")
            self._endings.pop(task, None)
            self._insistence.forget(task)
            await self._in_thread(self._discard if started is None else self._remove, record)

    async def kept(self) -> Sequence[RemovedTask]:
        """Those of the last day, 20 of one app at most, with how they ended."""
        with translated("What is kept of tasks cannot be read"):
            return await self._in_thread(self._list_kept)

    async def execute(self, task: str, argv: tuple[str, ...], timeout: float) -> Executed:
        """Runs a command with the task's user, environment, folder and limits."""
        with self.beside(task, argv) as record:
            try:
                with self._way.beside(record, argv) as words:
                    return await beside.run([str(self._keeper), "run", str(record.folder), *words], timeout)
            except TimeoutError:
                raise TimeoutError(f"{argv[0]} took longer than {timeout:g} s in task {task}.") from None

    async def stats(self, pids: Mapping[str, int]) -> Mapping[str, Used]:
        """What tasks use now (Stats): each has a cgroup that is called like it, where cgroups are permitted."""
        return await self._in_thread(used, {task: (pid, task) for task, pid in pids.items()})

    @contextlib.contextmanager
    def beside(self, task: str, argv: tuple[str, ...]) -> Iterator[Record]:
        """The record of a task beside which a command may be run; what kept it from being run is told in words."""
        record = self._record(task)
        if any("\0" in word for word in argv):
            raise DriverError(f"{self.name}: a NUL byte in a command can be given to no process. Take it out.")
        with translated(f"{argv[0]} cannot be run in task {task}"):
            if not record.locked():
                raise DriverError(f"{self.name}: task {task} does not run, so nothing can be run beside it.")
            try:
                yield record
            except keeper.Fault as fault:
                cause = fault.cause or f"exit status {keeper.NOT_ENTERED}"
                raise not_run(argv[0], task, cause) from fault

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
        record = self._record(task)
        folder = record.folder if record.exists else self._kept.of(task)
        if stream not in ("stdout", "stderr") or not folder.is_dir():
            raise NotFound(f"There is no {stream} of task {task} on this node.")
        with translated(f"The {stream} of task {task} cannot be read"), contextlib.ExitStack() as stack:
            reader = stack.enter_context(Stream(folder, stream))
            ending = changed = None
            if follow and (started := record.started()) is not None:
                self._changes = self._changes or Changes()
                changed = stack.enter_context(self._changes.of(folder))
                ending = self._ending(record, started)
                ending.add_done_callback(wake := lambda _: changed.set())
                stack.callback(ending.remove_done_callback, wake)
            offset = since.offset if since else 0 if tail is None else reader.tail(tail)
            while True:
                last = ending is None or ending.done()
                for at, when, data in reader.timed(offset):
                    yield Output(task, stream, at, data, when)
                    offset = at + len(data)
                if last or changed is None:
                    return
                await changed.wait()
                changed.clear()

    def _record(self, task: str) -> Record:
        if not task or "/" in task or "\0" in task or task.startswith("."):
            raise DriverError(f"{self.name}: {task!r} is no task id: it holds '/' or NUL, or begins with '.'.")
        return Record(self._options.folder / task)

    async def _in_thread(self, act: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, act, *arguments)

    async def _look(self, record: Record, started: Started) -> Found:
        ending = self._endings.get(record.task)
        over = (ending is not None and ending.done()) or not record.locked()
        end = await self._ending(record, started) if over else None
        return Found(task=record.task, started=started.time, pid=None if end else started.pid, exit=end)

    def _ending(self, record: Record, started: Started) -> asyncio.Task[Exit]:
        """One watch a task, however many wait. One that failed is asked again."""
        ending = self._endings.get(record.task)
        if ending is None or (ending.done() and (ending.cancelled() or ending.exception() is not None)):
            ending = asyncio.create_task(self._watch(record, started))
            self._endings[record.task] = ending
        return ending

    async def _watch(self, record: Record, started: Started) -> Exit:
        await keeper.until_gone(record, started)
        return await self._in_thread(self._conclude, record, started)

    def _conclude(self, record: Record, started: Started) -> Exit:
        """How it ended, after ending what a killed keeper left behind."""
        left: set[int] = set()
        if started.boot == self._boot and not record.clean:
            self._limits.forbid_forks(record.task)
            left = end_all(str(record.sandbox), lambda: self._members(record.task, started))
        self._way.ended(record)
        end = exit_of(started, record.ended(), self._boot)
        if left:
            words = f"{end.message} These of its processes do not die: {', '.join(map(str, sorted(left)))}."
            return msgspec.structs.replace(end, message=words)
        record.control.unlink(missing_ok=True)
        return end

    def _members(self, task: str, started: Started) -> set[int]:
        """The pids of its cgroups, and its first process: a keeper that is killed takes that along, and what is
        dying has lost its environment and its cgroup before its ports."""
        leader = {started.pid} if start_time(started.pid) == started.start else set()
        return self._limits.members(task) | leader

    def _start(self, record: Record, launch: Launch, files: Path | None) -> Started:
        """Makes record and sandbox and starts the keeper; leaves nothing behind where any of it fails."""
        try:
            self._discard(record)
            self._prepare(record, launch, files)
            return self._spawn(record, launch)
        except (OSError, ValueError, DriverError) as error:
            with contextlib.suppress(OSError, DriverError):  # what is left goes with the next look, or start
                self._discard(record)
            raise DriverError(f"Task {launch.task} cannot be started: {error}") from error

    def _prepare(self, record: Record, launch: Launch, files: Path | None) -> None:
        record.folder.mkdir()
        record.folder.chmod(self._mode())
        what = self._way.prepare(record, launch, files)
        spec = Spec(
            argv=what.argv,
            env=what.env,
            cwd=str(what.cwd),
            user=(what.who.uid, what.who.gid, what.who.groups) if what.who and os.geteuid() == 0 else None,
            cgroups=self._limits.create(record.task, launch.app),
            events=self._limits.events(record.task),
            rotate=self._rotate,
            files=FULL_FILES,
            grace=launch.app.kill_grace,
            descriptors=self._options.descriptors,
            stop=what.stop,
        )
        file = os.open(record.spec, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as stream:
            stream.write(spec.encode())

    def _spawn(self, record: Record, launch: Launch) -> Started:
        try:
            started = keeper.spawn(self._keeper, record)
        except keeper.Fault as fault:
            raise DriverError(self._way.words(fault, record, launch)) from fault
        self._way.began(record, launch)
        return started

    def _discard(self, record: Record) -> None:
        """Ends and takes away a start that did not come about, or of which nothing is known. DriverError."""
        task = record.task
        if record.exists or self._limits.members(task):
            record.await_lock(UNREAD_GRACE + self._overdue)
            self._limits.forbid_forks(task)
            folder = str(record.folder)
            if left := end_all(str(record.sandbox), lambda: self._limits.members(task) | keepers(folder)):
                pids = ", ".join(map(str, sorted(left)))
                raise DriverError(f"These processes of task {task} do not die: {pids}. See what holds them.")
        self._limits.remove(task)
        self._way.ended(record)
        if record.exists:
            delete(record.folder)

    def _list_kept(self) -> Sequence[RemovedTask]:
        return [Record(each).kept(self._boot) for each in self._kept.all()]

    def _remove(self, record: Record) -> None:
        self._limits.remove(record.task)
        self._way.clear(record)
        secret_files.clear(record.folder)
        for secret in (record.spec, record.control):
            secret.unlink(missing_ok=True)
        self._kept.take(record.folder)
