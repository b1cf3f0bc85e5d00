"""One simulated machine: what goes on when Káto dies. Launches and views flow in; ends and health flow out.

Its tasks behave as their `Behaviour` says; trouble of the machine itself comes and passes.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from kato.drivers.runtime import Exit, Launch
from kato.model.frontend import Frontends, Server

Trouble = Literal["runtime", "balancer", "drains", "checks"]
"""runtime, balancer: the driver fails. drains: the balancer takes all but drains. checks: no check is answered."""
TROUBLES: tuple[Trouble, ...] = ("runtime", "balancer", "drains", "checks")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How a task behaves. All in seconds after its start; None means never.

    boots: until it answers checks. dies: until it exits with 1. ends: until it exits with 0. hangs: from when on
    checks fail, or are not answered at all where it is silent. ignores_term: it ends only at the end of its
    grace. refused: the driver cannot start it at all.
    """

    boots: float = 0.5
    dies: float | None = None
    ends: float | None = None
    hangs: float | None = None
    silent: bool = False
    ignores_term: bool = False
    refused: bool = False


class Process:
    """A task on a machine. `over` is set when it has ended."""

    def __init__(self, launch: Launch, started: float, behaviour: Behaviour) -> None:
        self.launch = launch
        self.started = started
        self.behaviour = behaviour
        self.exit: Exit | None = None
        self.over = asyncio.Event()

    def end(self, exit: Exit) -> None:
        """It has ended, if it had not before."""
        if self.exit is None:
            self.exit = exit
            self.over.set()


class Machine:
    """What outlives a crash of Káto. folder: its disk. behave: a task → its behaviour. lingers: for how many
    seconds a task's sessions stay open when it drains.

    started: every task id ever started here, in order; twice: those that were once more, a fault of Káto.
    """

    def __init__(
        self,
        id: str,
        folder: Path,
        clock: Callable[[], float],
        behave: Callable[[Launch], Behaviour],
        lingers: Callable[[], float],
    ) -> None:
        self.id = id
        self.folder = folder
        self.clock = clock
        self.processes: dict[str, Process] = {}
        self.started: list[str] = []
        self.twice: list[str] = []
        self._behave = behave
        self._lingers = lingers
        self._view: Mapping[tuple[str, int], tuple[Server, ...]] = {}
        self._open_until: dict[str, float] = {}
        self._troubles: dict[Trouble, float] = {}

    # -- trouble ------------------------------------------------------------------------------------------------

    def trouble(self, kind: Trouble, seconds: float) -> None:
        """From now on, for so long."""
        self._troubles[kind] = self.clock() + seconds

    def troubled(self, kind: Trouble) -> bool:
        """Whether it is there now."""
        return self.clock() < self._troubles.get(kind, 0.0)

    def mend(self) -> None:
        """Ends all trouble."""
        self._troubles.clear()

    # -- tasks --------------------------------------------------------------------------------------------------

    def launch(self, launch: Launch) -> Process:
        """Starts a process, and lets it die when its behaviour says so."""
        if launch.task in self.started:
            self.twice.append(launch.task)
        self.started.append(launch.task)
        process = Process(launch, self.clock(), self._behave(launch))
        self.processes[launch.task] = process
        if process.behaviour.dies is not None:
            self._later(process.behaviour.dies, process, Exit(code=1, ended=self.clock() + process.behaviour.dies))
        if process.behaviour.ends is not None:
            self._later(process.behaviour.ends, process, Exit(code=0, ended=self.clock() + process.behaviour.ends))
        return process

    def terminate(self, task: str, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds."""
        process = self.processes[task]
        if process.behaviour.ignores_term:
            self._later(grace, process, Exit(signal=9, ended=self.clock() + grace))
        else:
            self._later(0.05, process, Exit(signal=15, ended=self.clock() + 0.05))

    def kill(self, task: str) -> None:
        """What a user's kill -9 does."""
        self.processes[task].end(Exit(signal=9, ended=self.clock()))

    def running(self) -> list[Process]:
        """The processes that have not ended."""
        return [process for process in self.processes.values() if process.exit is None]

    def answers(self, port: int) -> bool | None:
        """Whether a task with that host port passes its checks now; None where no answer comes."""
        if self.troubled("checks"):
            return None
        for process in self.running():
            if str(port) in process.launch.env.get("PORTS", "").split(","):
                age, behaviour = self.clock() - process.started, process.behaviour
                if behaviour.hangs is not None and age >= behaviour.hangs:
                    return None if behaviour.silent else False
                return age >= behaviour.boots
        return False

    @staticmethod
    def _later(delay: float, process: Process, exit: Exit) -> None:
        asyncio.get_running_loop().call_later(delay, process.end, exit)

    # -- the balancer -------------------------------------------------------------------------------------------

    def balance(self, view: Frontends) -> bool:
        """Makes a view true; whether it was taken whole. Drains that are not taken leave the server as it was. A
        server that a view is suddenly without keeps its sessions, and nobody counts them.
        """
        wanted = {(service.app, service.index): service.servers for service in view.services}
        ready = {each.task for servers in self._view.values() for each in servers if each.state == "ready"}
        self._view = wanted
        if self.troubled("drains"):
            self._view = {
                key: tuple(_ready(each) if each.task in ready else each for each in servers)
                for key, servers in wanted.items()
            }
        known, now = self._open_until, self.clock()
        left = ready.difference(self._tasks("ready"), self._tasks("drain"))
        self._open_until = {
            task: now + self._lingers() if task in ready else known.get(task, now)
            for task in dict.fromkeys((*self._tasks("drain"), *sorted(left), *self._open(now)))
        }
        return self._view == wanted

    def sessions(self) -> dict[str, int]:
        """Task → open sessions, for those that drain."""
        return {task: int(self.clock() < self._open_until[task]) for task in self._tasks("drain")}

    def serves(self, task: str) -> bool:
        """Whether traffic goes to a task still: new connections, or sessions that are open."""
        return task in self._tasks("ready") or self.clock() < self._open_until.get(task, 0.0)

    def _tasks(self, state: str) -> list[str]:
        """Those of which a server is in a state."""
        found = (server.task for servers in self._view.values() for server in servers if server.state == state)
        return list(dict.fromkeys(found))

    def _open(self, now: float) -> list[str]:
        """Those with sessions that are open."""
        return [task for task, until in self._open_until.items() if now < until]


def _ready(server: Server) -> Server:
    return msgspec.structs.replace(server, state="ready")
