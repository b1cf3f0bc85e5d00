"""A cell that changes between two questions goes in; a view without a contradiction comes out."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from kato.cli.changes.follow import until_settled
from kato.cli.printing.live import Row, View
from kato.cli.views.logs import logs
from kato.cli.views.why import why
from kato.cli.words.place import Address
from kato.model.errors import NotFound


class Failing:
    """A client of a cell whose only task fails just when it is asked why it waits, and is mended then."""

    failure: Any = None
    looks = 0

    async def apps(self, group: str = "") -> list[dict[str, Any]]:
        self.looks += 1
        app = {"id": "/web", "version": "v1", "wished": 1, "healthy": 0, "tasks": [], "checked": True}
        app |= {"state": "waiting", "retries": False}
        return [app | {"settled": self.looks > 2, "failure": self.failure}]

    async def why(self, app: str) -> dict[str, Any]:
        self.failure = {"task": "t1", "message": "nothing can be run."}
        return {"sentences": ["/web waits for 1 task: it backs off"], "wait": {"until": 9.0}}


class Seen(View):
    """What was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def update(self, rows: Sequence[Row], ends: Any) -> None:
        self.notes += [row.note for row in rows]


async def test_a_delay_is_shown_with_the_failure_that_it_comes_from() -> None:
    view = Seen()
    await until_settled(Failing(), ["/web"], view)  # type: ignore[arg-type]
    assert view.notes[0] == "nothing can be run; it backs off"


@dataclass(frozen=True)
class Parting(Address):
    """A cell of which some apps go between the list of them and the question about each."""

    going: frozenset[str] = frozenset()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:  # type: ignore[override]
        yield self

    async def apps(self) -> list[dict[str, Any]]:
        return [{"id": id, "tasks": []} for id in ("/book/api", "/book/db")]

    async def why(self, app: str) -> dict[str, Any]:
        if app in self.going:
            raise NotFound(f"App '{app}' does not exist")
        return {"app": app, "wished": 1, "healthy": 1, "sentences": ["1 of 1 tasks are healthy."]}


async def test_of_a_project_of_which_one_app_has_just_gone_the_others_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await why("book", place=Parting(going=frozenset({"/book/api"})))
    assert capsys.readouterr().out == "/book/db: 1 of 1 healthy.\n1 of 1 tasks are healthy.\n"
    with pytest.raises(NotFound, match="'book' has been removed meanwhile"):
        await why("book", place=Parting(going=frozenset({"/book/api", "/book/db"})))


@dataclass(frozen=True)
class Silent(Address):
    """A cell whose tasks have written nothing that can be read. notes: of its node, which runs processes alone."""

    notes: tuple[str, ...] = ()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:  # type: ignore[override]
        yield self

    async def apps(self) -> list[dict[str, Any]]:
        task = {"id": "shop_web.instance-1f0c._app.1"}
        return [
            {"id": "/shop/beside", "tasks": [], "runtime": "process"},
            {"id": "/shop/web", "tasks": [task], "runtime": "docker"},
        ]

    async def nodes(self) -> list[dict[str, Any]]:
        return [{"id": "n1", "runtimes": ["process"], "notes": self.notes}]

    async def ended(self) -> list[dict[str, Any]]:
        return []

    async def logs(self, name: str, **_: Any) -> AsyncIterator[Any]:
        nothing: tuple[Any, ...] = ()
        for piece in nothing:
            yield piece


GONE = "Its engine is silent: The Docker engine at /run/docker.sock is not there."


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("web.1", f"What /shop/web wrote cannot be read now. {GONE}"),
        ("web", f"What /shop/web wrote cannot be read now. {GONE}"),
        ("/", f"What /shop/web wrote cannot be read now. {GONE}"),
        ("beside", "Nothing is written yet."),
    ],
)
async def test_logs_say_that_the_engine_is_not_there(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await logs(name, place=Silent(notes=("process: No memory limits.", f"docker: {GONE}")))
    assert capsys.readouterr().err == f"kato: {said}\n"
