"""The screen of `kato top`: rows and keys flow in; what is painted over and over flows out, until a person leaves.

It is imported by nobody else: Textual takes a while to be imported.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Input, Static

from kato.cli.printing.show import COLOURS
from kato.cli.views.used import COLUMNS, FIGURES, LAPSE, in_words, ordered, rows, size
from kato.model.errors import KatoError

Json = dict[str, Any]
KEYS = "q quit  / filter  sort by: c cpu  m memory  t task  a app  n node  r restarts"
SORTS = {"c": "cpu", "m": "memory", "t": "task", "a": "app", "n": "node", "r": "restarts"}
GAP = 2
"""Characters between two columns."""


class Screen(App[None]):
    """look: asks the cell once more. before: what it said first. sort: what comes first."""

    CSS = """
    Screen { layers: base; }
    #total, #keys { height: 1; text-style: dim; }
    #filter { height: 1; border: none; padding: 0; display: none; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding("ctrl+c", "interrupt", "end", priority=True),
        ("q", "quit", "quit"),
        ("slash", "filter", "filter"),
        ("escape", "clear", "all"),
        *((key, f"sort('{name}')", name) for key, name in SORTS.items()),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, look: Callable[[], Awaitable[list[Json]]], before: list[Json], sort: str) -> None:
        super().__init__(ansi_color=True)
        self._look = look
        self._last = before
        self._rows = rows((), before)
        self._sort = sort
        self._trouble = ""
        self._columns: tuple[tuple[str, int], ...] = ()
        self._drawn = False

    def compose(self) -> ComposeResult:
        yield Static(id="total")
        yield DataTable(cursor_type="row", cell_padding=0, zebra_stripes=False)
        yield Input(id="filter", placeholder="part of a name", select_on_focus=False)
        yield Static(KEYS, id="keys")

    def on_mount(self) -> None:
        """Everything is there: it is painted, and then again and again."""
        self.query_one(DataTable).focus()
        self._drawn = True
        self._paint()
        self.set_timer(LAPSE / 4, self._begin)

    def _begin(self) -> None:
        self.run_worker(self._watch(), exclusive=True)

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            try:
                now = await self._look()
                self._rows, self._last, self._trouble = rows(self._last, now), now, ""
            except KatoError as error:  # it may be back at the next look
                self._trouble = str(error)
            self._paint()
            await asyncio.sleep(max(0.1, LAPSE + began - time.monotonic()))

    # -- keys -------------------------------------------------------------------------------------------------

    def action_sort(self, name: str) -> None:
        """What comes first from now on."""
        self._sort = name
        self._paint()

    def action_filter(self) -> None:
        """Lets a person write what names are to have."""
        self._field.display = True
        self.set_focus(self._field)  # at once: what is typed next belongs there

    def action_clear(self) -> None:
        """Shows all again."""
        self._field.value = ""
        self._leave_field()

    def action_interrupt(self) -> None:
        """Ctrl-C, as a shell tells it."""
        self.exit(return_code=130)

    def on_input_changed(self, _: Input.Changed) -> None:
        """With every letter."""
        self._paint()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """What is written stays in force."""
        self._leave_field()

    def on_resize(self) -> None:
        """Other columns may fit."""
        self._paint()

    def _leave_field(self) -> None:
        self._field.display = bool(self._field.value)
        self.query_one(DataTable).focus()
        self._paint()

    @property
    def _field(self) -> Input:
        return self.query_one("#filter", Input)

    # -- painting -----------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        if not self._drawn:
            return
        word = self._field.value.strip()
        chosen = [each for each in self._rows if word in f"{each['task']} {each['app']} {each['node']}"]
        self._paint_table(ordered(chosen, self._sort))
        cores = sum(each["cpu"] or 0.0 for each in chosen) / 100
        memory = size(sum(each["memory"] or 0 for each in chosen))
        total = f"{len(chosen)} of {len(self._rows)} tasks  {cores:.2f} cores  {memory}  by {self._sort}"
        self.query_one("#total", Static).update(Text(self._trouble or total))

    def _paint_table(self, found: Sequence[Json]) -> None:
        table: DataTable[Text] = self.query_one(DataTable)
        words = [in_words(each) for each in found]
        columns = fitting(words, self.size.width)
        at = table.cursor_row
        top = table.scroll_y
        if columns == self._columns:
            table.clear()
        else:
            table.clear(columns=True)
            for name, width in columns:
                table.add_column(
                    Text(_aligned(name, name.upper(), width), style="bold"), key=name, width=width + GAP
                )
            self._columns = columns
        for line, row in zip(words, found, strict=True):
            table.add_row(
                *(
                    Text(_aligned(name, line[name], width), style=COLOURS.get(line[name], ""))
                    for name, width in columns
                ),
                key=row["id"],
            )
        table.move_cursor(row=min(at, max(0, len(found) - 1)), animate=False, scroll=False)
        table.scroll_to(y=top, animate=False)


def fitting(words: Sequence[dict[str, str]], width: int) -> tuple[tuple[str, int], ...]:
    """The columns that fit into so many characters, each with its width; the first always."""
    found: list[tuple[str, int]] = []
    left = width
    for name in COLUMNS:
        wide = max(len(name), *(len(line[name]) for line in words), 0)
        left -= wide + GAP
        if found and left + GAP < 0:
            break
        found.append((name, wide))
    return tuple(found)


def _aligned(name: str, text: str, width: int) -> str:
    return text.rjust(width) if name in FIGURES else text.ljust(width)
