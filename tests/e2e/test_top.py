"""`kato top` as a person uses it, on a terminal of its own: what is drawn, sorted, filtered; how it is left."""

import json
import termios
from collections.abc import Iterator

import pytest

from machine import Machine, running
from terminal import Terminal

COMPOSE = """
name: shop
services:
  busy:
    command: sh -c "while :; do :; done"
    deploy: {resources: {limits: {memory: 64M}}}
  idle:
    command: sleep 1000
    deploy: {replicas: 2}
"""
TASKS = ["shop_busy.1", "shop_idle.1", "shop_idle.2"]
LEFT = b"\x1b[?1049l"
"""What gives back what was on the terminal before (xterm)."""


@pytest.fixture(scope="module", name="cell")
def _cell() -> Iterator[Machine]:
    with running(COMPOSE) as machine:
        yield machine


def screen(cell: Machine, rows: int = 20, columns: int = 100, *words: str) -> Terminal:
    return Terminal(cell, "top", *words, rows=rows, columns=columns, kind="xterm")


def shows(terminal: Terminal, *words: str) -> None:
    """Waits until these have been drawn since the last look."""
    terminal.said = b""
    for word in words:
        terminal.hears(word)


def test_one_table_says_who_uses_what(cell: Machine) -> None:
    """The busy one first; as data, with what it may use at most."""
    lines = cell.kato("top", "--once").splitlines()
    assert lines[0].split() == ["TASK", "CPU", "MEMORY", "STATE", "HEALTH", "NODE", "APP", "RESTARTS"]
    assert sorted(line.split()[0] for line in lines[1:]) == TASKS and lines[1].startswith("shop_busy.1 ")
    found = {row["task"]: row for row in json.loads(cell.kato("top", "-o", "json", "--sort", "task"))}
    assert list(found) == TASKS
    assert 0.0 < found["shop_busy.1"]["cpu"] <= 130.0 and found["shop_idle.1"]["cpu"] < 1.0
    assert all(row["memory"] > 0 and row["state"] == "running" for row in found.values())


def test_it_is_drawn_sorted_filtered_and_left_with_q(cell: Machine) -> None:
    with screen(cell) as terminal:
        terminal.hears("3 of 3 tasks")
        terminal.hears("by cpu")
        for task in TASKS:
            terminal.hears(task)
        terminal.type("t")
        terminal.hears("by task")
        terminal.type("/")
        terminal.hears("part of a name")
        terminal.type("idle.2\r")
        terminal.hears("1 of 3 tasks")
        terminal.type("\x1b")
        shows(terminal, "3 of 3 tasks")
        terminal.type("q")
        assert terminal.leaves() == 0
        assert LEFT in terminal.said
        assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_ctrl_c_leaves_it_too_and_a_small_terminal_has_the_first_columns(cell: Machine) -> None:
    with screen(cell, 6, 30) as terminal:
        for words in ("shop_busy.1", "TASK", "CPU"):
            terminal.hears(words)
        assert b"RESTARTS" not in terminal.said
        terminal.resize(20, 100)
        terminal.hears("RESTARTS")
        terminal.type("/")
        terminal.hears("part of a name")
        terminal.type("\x03")
        assert terminal.leaves() == 130
        assert LEFT in terminal.said
        assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_a_cell_that_goes_and_comes_back_is_shown(cell: Machine) -> None:
    with screen(cell) as terminal:
        terminal.hears("3 of 3 tasks")
        cell.ask("POST", "/v1/stop")
        terminal.hears("No cell answers")
        cell.start()
        shows(terminal, "3 of 3 tasks")
        terminal.type("q")
        assert terminal.leaves() == 0


def test_without_a_terminal_it_says_what_to_do(cell: Machine) -> None:
    assert "One table: kato top --once; as data: kato top -o json." in cell.kato("top", code=2)
