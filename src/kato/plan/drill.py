"""A World and a thing that it would lose go in; what the planner would make of that comes out, in words. Pure.

It is the planner itself that decides (`course`), twice: with the loss and without. What would happen anyway is not
the loss's doing, and not told.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import msgspec

from kato.model.action import Wait
from kato.model.errors import InvalidInput, NotFound
from kato.model.ids import short_task
from kato.model.runtimes import ENGINES
from kato.model.task import Status, Task, TaskState
from kato.model.world import World
from kato.plan.course import Course, course
from kato.plan.effects import reported, without
from kato.plan.why import why

KILLED = 9
"""The signal by which a task is lost: it had no time to say anything."""

Kind = Literal["task", "node", "engine"]
Fate = Literal["replaced", "waits", "stays", "launched", "stopped"]


class Loss(msgspec.Struct, frozen=True):
    """What is lost: a task or a node, by id, or the engine of a runtime, on every node that has it."""

    kind: Kind
    id: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one lost task, or else (where `task` is None) of an app. Seconds are from the loss on.

    heir: the task that is launched in its place, on node `to`, `after` so many seconds; healthy: when that serves
    at the earliest, by what is known; None where nobody knows.
    """

    app: str
    fate: Fate
    sentence: str
    task: str | None = None
    node: str | None = None
    heir: str | None = None
    to: str | None = None
    after: float | None = None
    healthy: float | None = None


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a loss would change. seconds: until it is over, None where it is not within the horizon."""

    loss: Loss
    what: str
    lines: tuple[Line, ...]
    seconds: float | None
    end: str


def named(world: World, name: str) -> Loss:
    """What a person means: a task (`vote.3`, or its whole id), a node (its id or host name), or an engine.

    NotFound; InvalidInput where it may be several things, or is no thing that can be lost.
    """
    tasks = sorted(id for mine in world.tasks.values() for id in mine)
    found = [Loss("task", id) for id in tasks if id == name or f"_{short_task(id)}".endswith(f"_{name}")]
    found += [Loss("node", id) for id, node in sorted(world.nodes.items()) if name in (id, node.hostname)]
    if name in ENGINES and any(name in node.runtimes for node in world.nodes.values()):
        found.append(Loss("engine", name))
    if len(found) > 1:
        raise InvalidInput(
            f"{name!r} may be {' or '.join(f'{each.kind} {each.id}' for each in found)}. Write which."
        )
    if found:
        return found[0]
    raise _unknown(world, name, tasks)


def _unknown(world: World, name: str, tasks: list[str]) -> NotFound | InvalidInput:
    if name in ENGINES:
        return NotFound(f"No machine has a {name} engine that answers. See: kato nodes")
    if any(name in node.runtimes for node in world.nodes.values()):
        return InvalidInput(f"The runtime {name} needs no engine that could be lost. Lose a task or a machine.")
    apps = sorted(id for id in world.apps if id.endswith("/" + name.strip("/")))
    mine = [short_task(id) for id in tasks if world.tasks.get(apps[0], {}).get(id)] if apps else []
    if mine:
        return InvalidInput(f"{name!r} is an app. Lose one of its tasks: {', '.join(mine)}.")
    return NotFound(f"There is no task, machine or engine {name!r}. See: kato ps, kato nodes")


def drill(world: World, loss: Loss, now: float) -> Drill:
    """What would happen if that were lost at `now` (epoch seconds)."""
    gone = [task for task in _tasks(world) if _is_lost(world, task, loss)]
    return _Telling(world, loss, gone, now).drill()


def lost(world: World, loss: Loss, now: float) -> World:
    """The World in which that has just been lost. A killed task is a failure of its app; one that went with its
    engine, or whose node is no more, is not.
    """
    gone = [task for task in _tasks(world) if _is_lost(world, task, loss)]
    if loss.kind == "node":
        return replace(
            world,
            nodes=without(world.nodes, loss.id),
            borders=without(world.borders, loss.id),
            dark=world.dark - {loss.id},
        )
    if loss.kind == "engine":
        nodes = {
            id: msgspec.structs.replace(node, runtimes=tuple(each for each in node.runtimes if each != loss.id))
            for id, node in world.nodes.items()
        }
        world = replace(world, nodes=nodes)
    return reported(world, [_end(task, world.statuses.get(task.app, {}).get(task.id), loss, now) for task in gone])


def _end(task: Task, status: Status | None, loss: Loss, now: float) -> Status:
    known = status or Status(task=task.id, app=task.app, node=task.node, state=TaskState.STAGING, seq=0)
    known = msgspec.structs.replace(known, seq=known.seq + 1, ended=now, ready=False)
    if loss.kind == "task":
        words = "Command terminated with signal Killed"
        return msgspec.structs.replace(known, state=TaskState.FAILED, message=words, signal=KILLED)
    words = f"Its {loss.id} engine went away, and it with it."
    return msgspec.structs.replace(known, state=TaskState.LOST, message=words)


def _is_lost(world: World, task: Task, loss: Loss) -> bool:
    """Whether a task goes with what is lost. One that has ended cannot."""
    status = world.statuses.get(task.app, {}).get(task.id)
    if task.goal == "done" or (status is not None and status.state.ended):
        return False
    if loss.kind == "task":
        return task.id == loss.id
    if loss.kind == "node":
        return task.node == loss.id
    app = world.spec(task.app, task.version) or world.apps.get(task.app)
    return app is not None and app.runtime == loss.id


class _Telling:
    """The work on one drill: two courses, and the lines that tell their difference."""

    def __init__(self, world: World, loss: Loss, gone: list[Task], now: float) -> None:
        self.before, self.loss, self.gone, self.now = world, loss, len(gone), now
        self.anyway = course(world, now)
        self.then: Course = course(lost(world, loss, now), now)
        self.lost = _by_app(gone)
        self.fresh = _by_app(each for each in self.then.placed.values() if each.id not in self.anyway.placed)
        self.last = now

    def drill(self) -> Drill:
        lines = [line for app in self._apps() for line in self._lines(app)]
        over = self.then.rest and not any(line.fate == "waits" for line in lines)
        seconds = self.last - self.now if over else None
        return Drill(
            loss=self.loss,
            what=_what(self.before, self.loss, self.gone),
            lines=tuple(lines),
            seconds=seconds,
            end=self._close(lines, seconds),
        )

    def _apps(self) -> list[str]:
        return sorted({*self.before.tasks, *self.then.world.tasks, *self.then.plan.waits})

    def _lines(self, app: str) -> Iterator[Line]:
        gone = sorted(self.lost.get(app, ()), key=lambda task: task.attempt)
        heirs = sorted(self.fresh.get(app, ()), key=lambda task: (task.created, task.attempt))
        for number, task in enumerate(gone):
            yield self._replaced(task, heirs[number]) if number < len(heirs) else self._stays(task)
        for heir in heirs[len(gone) :]:
            yield self._launched(heir)
        yield from self._stopped(app, {task.id for task in gone})
        wait = self.then.plan.waits.get(app)
        if wait is not None and _told(wait) != _told(self.anyway.plan.waits.get(app)):
            yield Line(app=app, fate="waits", sentence=self._why(app, wait))

    def _replaced(self, task: Task, heir: Task) -> Line:
        words = f"{_who(task)} is lost; {short_task(heir.id)} replaces it on {heir.node} {self._when(heir)}."
        return self._with(heir, "replaced", words, task)

    def _launched(self, heir: Task) -> Line:
        return self._with(heir, "launched", f"{_who(heir)} is launched {self._when(heir)}.")

    def _with(
        self, heir: Task, fate: Literal["replaced", "launched"], words: str, task: Task | None = None
    ) -> Line:
        healthy = self.then.healthy.get(heir.id)
        self.last = max(self.last, heir.created, healthy or 0.0)
        return Line(
            app=heir.app,
            fate=fate,
            sentence=words,
            task=task.id if task else None,
            node=task.node if task else None,
            heir=heir.id,
            to=heir.node,
            after=_seconds(heir.created - self.now),
            healthy=None if healthy is None else _seconds(healthy - self.now),
        )

    def _stays(self, task: Task) -> Line:
        """A lost task that nothing replaces: for want of a place, or since it was its last run, or was to go."""
        kept = self.then.world.tasks.get(task.app, {}).get(task.id)
        fate: Fate = "stays"
        if kept is not None and kept.goal == "done":
            words = f"and not replaced. Run it again: kato restart {task.app.strip('/')}"
        elif task.app in self.then.plan.waits:
            fate, words = "waits", "and nothing can replace it"
        else:
            words = "and not missed: it was to go"
        sentence = f"{_who(task)} is lost, {words}."
        return Line(app=task.app, fate=fate, sentence=sentence, task=task.id, node=task.node)

    def _stopped(self, app: str, gone: set[str]) -> Iterator[Line]:
        """Tasks of others that leave for it."""
        ends, otherwise = self.then.world.tasks.get(app, {}), self.anyway.world.tasks.get(app, {})
        for id, task in sorted(self.before.tasks.get(app, {}).items()):
            if id not in gone and id not in ends and id in otherwise:
                sentence = f"{_who(task)} is stopped."
                yield Line(app=app, fate="stopped", sentence=sentence, task=id, node=task.node)

    def _why(self, app: str, wait: Wait) -> str:
        then = self.then
        said = why(then.world, then.plan, app, self.now).sentences if app in then.world.apps else (f"{wait}.",)
        return said[0]

    def _when(self, heir: Task) -> str:
        after, healthy = heir.created - self.now, self.then.healthy.get(heir.id)
        words = _in(after)
        if healthy is None:
            return f"{words}; nobody knows when it serves"
        if _seconds(healthy - self.now) == _seconds(after):
            return words
        return f"{words}, and serves {_in(healthy - self.now)} at the earliest"

    def _close(self, lines: list[Line], seconds: float | None) -> str:
        if not lines:
            return "Nothing would change."
        waiting = sorted({line.app for line in lines if line.fate == "waits"})
        if self.loss.kind == "node" and len(self.before.nodes) == 1:
            return "It is the only machine: the cell would be gone with it."
        if waiting:
            return f"{', '.join(waiting)} would not be whole."
        if seconds is None:
            return "It would not be over within an hour."
        if not any(line.heir for line in lines):
            return "Nothing would be replaced."
        return f"All that is replaced would serve {_in(seconds)}."


def _tasks(world: World) -> Iterator[Task]:
    for _, mine in sorted(world.tasks.items()):
        yield from (mine[id] for id in sorted(mine))


def _by_app(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.app, []).append(task)
    return found


def _what(world: World, loss: Loss, count: int) -> str:
    """What is lost, with what goes with it, as words."""
    if loss.kind == "task":
        return f"task {short_task(loss.id)}"
    tasks = f"{count} task{'' if count == 1 else 's'}"
    if loss.kind == "node":
        return f"machine {loss.id} with {tasks}"
    nodes = [id for id, node in sorted(world.nodes.items()) if loss.id in node.runtimes]
    return f"the {loss.id} engine of {', '.join(nodes)} with {tasks}"


def _who(task: Task) -> str:
    return f"{short_task(task.id)} on {task.node}"


def _told(wait: Wait | None) -> tuple[object, ...] | None:
    return None if wait is None else (wait.count, wait.refusals, wait.reason)


def _seconds(span: float) -> float:
    return round(max(0.0, span), 3)


def _in(span: float) -> str:
    """A span in words, to the next whole second.

    >>> _in(0.0), _in(0.97), _in(15.2)
    ('at once', 'in about 1 s', 'in about 16 s')
    """
    whole = math.ceil(round(span, 3))
    return f"in about {whole} s" if whole > 0 else "at once"
