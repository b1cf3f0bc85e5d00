"""A cell that changes between two questions goes in; a view without a contradiction comes out."""

from collections.abc import Sequence
from typing import Any

from kato.cli.changes.follow import until_settled
from kato.cli.printing.live import Row, View


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
