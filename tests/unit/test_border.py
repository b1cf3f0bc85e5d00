"""The border role on virtual time: what it applies, says and when, with a link and a balancer in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from structlog.testing import capture_logs

from fakes import run
from kato.border import Border
from kato.drivers.balancer import Options
from kato.model.errors import DriverError, Unavailable
from kato.model.frontend import BorderAck, Frontends, Server, Service, shape_of


class Link:
    """A master that sends what a test puts in, and keeps (seconds, acknowledgement). An error breaks the link."""

    def __init__(self) -> None:
        self.views: asyncio.Queue[Frontends | Exception] = asyncio.Queue()
        self.said: list[tuple[float, BorderAck]] = []
        self.dials: list[float] = []
        self.deaf: Exception | None = None

    async def frontends(self, node: str) -> AsyncIterator[Frontends]:
        self.dials.append(now())
        while True:
            each = await self.views.get()
            if isinstance(each, Exception):
                raise each
            yield each

    async def acknowledge(self, ack: BorderAck) -> None:
        if self.deaf is not None:
            raise self.deaf
        self.said.append((now(), ack))

    @property
    def seqs(self) -> list[int]:
        return [ack.seq for _, ack in self.said]


class Fake:
    """A balancer that applies in `takes` seconds, with the sessions and problems that a test says.

    whole: the last view that it took whole; None for the one it was given.
    """

    name = "fake"

    def __init__(self) -> None:
        self.applied: list[tuple[float, int]] = []
        self.sessions: dict[str, int] = {}
        self.problems: tuple[str, ...] = ()
        self.broken: DriverError | None = None
        self.whole: int | None = None
        self.takes = 0.0
        self.attention = asyncio.Event()

    @classmethod
    async def open(cls, options: Options) -> Self:
        return cls()

    async def apply(self, view: Frontends) -> BorderAck:
        await asyncio.sleep(self.takes)
        self.applied.append((now(), view.seq))
        if self.broken is not None:
            raise self.broken
        draining = {s.task for each in view.services for s in each.servers if s.state == "drain"}
        sessions = {task: self.sessions.get(task, 0) for task in draining}
        seq = view.seq if self.whole is None else self.whole
        return BorderAck(node="n1", seq=seq, sessions=sessions, problems=self.problems)

    async def due(self) -> None:
        await self.attention.wait()
        self.attention.clear()

    async def close(self, *, stop: bool) -> None:
        return


class Stage:
    """A running border and its surroundings."""

    def __init__(self) -> None:
        self.link = Link()
        self.balancer = Fake()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Stage":
        self._running = asyncio.create_task(Border(self.link, self.balancer, "n1").run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def send(self, *views: Frontends | Exception) -> None:
        for each in views:
            self.link.views.put_nowait(each)


def now() -> float:
    return asyncio.get_running_loop().time()


def view(seq: int, *, drain: str | None = None) -> Frontends:
    servers = () if drain is None else (Server(drain, "127.0.0.1", 1, "drain"),)
    return Frontends(seq, (Service("/web", 0, 10000, servers=servers),))


SHAPE = shape_of(view(0).services)


def test_a_shape_is_of_ports_hosts_and_paths_alone() -> None:
    assert shape_of(view(1, drain="t1").services) == SHAPE
    others = [Service("/web", 0, 10001), Service("/web", 0, 10000, ("a",)), Service("/web", 0, 10000, (), "/x")]
    assert len({SHAPE, shape_of(()), *(shape_of([each]) for each in others)}) == 5


def test_a_problem_is_logged_once() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.balancer.problems = ("service port 80 of /web is in use.",)
            for seq in (1, 2, 3):
                stage.send(view(seq))
                await asyncio.sleep(1)
            assert stage.link.seqs == [1, 2, 3]

    with capture_logs() as logs:
        run(main())
    told = [each["problem"] for each in logs if each["event"] == "not all is served"]
    assert told == ["service port 80 of /web is in use."]


def test_applies_and_acknowledges_each_view() -> None:
    async def main() -> None:
        async with Stage() as stage:
            for seq in (1, 2, 3):
                stage.send(view(seq))
                await asyncio.sleep(1)
            assert stage.link.seqs == [1, 2, 3]

    run(main())


def test_of_several_waiting_views_only_the_newest_is_applied() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.balancer.takes = 1.0
            stage.send(view(1))
            await asyncio.sleep(0.5)
            stage.send(*(view(seq) for seq in range(2, 9)))
            await asyncio.sleep(5)
            assert stage.link.seqs == [1, 8]

    run(main())


def test_the_end_of_sessions_is_said_soon_and_nothing_between() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.balancer.sessions = {"t1": 3}
            stage.send(view(1, drain="t1"))
            for open in (3, 2, 1):
                stage.balancer.sessions["t1"] = open
                await asyncio.sleep(5)
            over = now()
            stage.balancer.sessions["t1"] = 0
            await asyncio.sleep(60)
            (_, first), (said, last) = stage.link.said
            assert (first.sessions, last.sessions) == ({"t1": 3}, {"t1": 0})
            assert said - over <= 0.25
            assert stage.balancer.applied[-1][0] <= said

    run(main())


def test_an_idle_border_asks_the_balancer_nothing() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.send(view(1))
            await asyncio.sleep(3600)
            assert len(stage.balancer.applied) == 1

    run(main())


def test_a_balancer_that_asks_for_it_is_looked_at_and_nothing_new_is_not_said() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.send(view(1))
            await asyncio.sleep(1)
            for _ in range(3):
                stage.balancer.attention.set()
                await asyncio.sleep(1)
            assert len(stage.balancer.applied) == 4
            assert stage.link.seqs == [1]
            stage.balancer.problems = ("service port 1 of /x is in use.",)
            stage.balancer.attention.set()
            await asyncio.sleep(1)
            assert stage.link.said[-1][1].problems == stage.balancer.problems

    run(main())


def test_a_view_that_cannot_be_applied_is_not_acknowledged_but_told() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.send(view(1))
            await asyncio.sleep(1)
            stage.balancer.broken = DriverError("HAProxy did not start.")
            stage.send(view(2))
            await asyncio.sleep(30)
            assert stage.link.seqs == [1, 1]
            assert stage.link.said[-1][1].problems == ("HAProxy did not start.",)
            stage.balancer.broken = None
            await asyncio.sleep(10)
            assert stage.link.said[-1][1] == BorderAck(node="n1", seq=2, shape=SHAPE)

    run(main())


def test_a_view_that_was_taken_in_part_is_not_acknowledged_until_it_is_whole() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.send(view(1))
            await asyncio.sleep(1)
            stage.balancer.whole, stage.balancer.problems = 1, ("HAProxy did not take 'state drain'.",)
            stage.send(view(2, drain="t1"))
            await asyncio.sleep(5)
            assert stage.link.said[-1][1].problems == stage.balancer.problems
            assert stage.link.seqs == [1, 1]
            stage.balancer.whole, stage.balancer.problems = None, ()
            stage.balancer.attention.set()
            await asyncio.sleep(1)
            assert stage.link.said[-1][1] == BorderAck(node="n1", seq=2, sessions={"t1": 0}, shape=SHAPE)

    run(main())


def test_a_lost_link_is_dialled_again_and_the_view_stays() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.balancer.sessions = {"t1": 1}
            stage.send(view(1, drain="t1"), *[Unavailable("nobody leads")] * 8)
            await asyncio.sleep(60)
            gaps = [after - before for before, after in zip(stage.link.dials, stage.link.dials[1:], strict=False)]
            assert len(gaps) == 8 and gaps == sorted(gaps) and max(gaps) <= 5.0
            assert {seq for _, seq in stage.balancer.applied} == {1}
            stage.send(view(2))
            await asyncio.sleep(1)
            assert stage.link.seqs[-1] == 2

    run(main())


def test_what_could_not_be_said_is_said_when_the_master_answers_again() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.link.deaf = Unavailable("nobody leads")
            stage.send(view(1))
            await asyncio.sleep(20)
            assert stage.link.said == [] and stage.balancer.applied
            stage.link.deaf = None
            await asyncio.sleep(10)
            assert stage.link.seqs == [1]

    run(main())


def test_a_border_without_a_view_touches_nothing() -> None:
    async def main() -> None:
        async with Stage() as stage:
            stage.balancer.attention.set()
            await asyncio.sleep(10)
            assert stage.balancer.applied == [] and stage.link.said == []

    run(main())
