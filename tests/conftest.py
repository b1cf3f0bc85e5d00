"""What every test may use, and the check that each promise of docs/promises.md names a test that ran."""

import re
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from engine import Dockerd, Room
    from shop import Shop


ROOT = Path(__file__).resolve().parent.parent
PROMISED = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")


@pytest.fixture(scope="session")
def engine() -> "Iterator[Dockerd]":
    """The Docker engine of this worker, started by the first test that asks for it."""
    from engine import dockerd, needs_root

    needs_root()
    with dockerd() as engine:
        yield engine


@pytest.fixture
def own_network() -> "Iterator[Room]":
    """A network namespace, in which the test and all that it starts are."""
    from engine import own_room

    with own_room() as room:
        yield room


@pytest.fixture
async def shop() -> "AsyncIterator[Shop]":
    """A server of files to fetch."""
    from shop import Shop

    shop = Shop()
    await shop.open()
    yield shop
    await shop.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--promises",
        action="store_true",
        help="fail unless every test that docs/promises.md names ran and passed in this session",
    )
    parser.addoption(
        "--rootless",
        action="store_true",
        help="with --promises: tests that were skipped, as those that need root, are told and do not fail the run",
    )


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # run in the background, as by `make test &`
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else nothing started here could be interrupted
    if config.getoption("--promises") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Promises(), "promises")


class Promises:
    """Collects the tests that passed, and compares them with those that the promises name."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.skipped: set[str] = set()
        self.broken: list[str] = []
        self.unseen: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        if report.when == "call" and report.passed:
            self.passed.add(test)
        elif report.skipped:
            self.skipped.add(test)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        promises = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
        named = sorted(set(PROMISED.findall(promises)))
        missing = [test for test in named if test not in self.passed]
        if session.config.getoption("--rootless"):
            self.unseen = [test for test in missing if test in self.skipped]
        self.broken = [test for test in missing if test not in self.unseen]
        if self.broken or not named:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for test in self.broken:
            terminalreporter.write_line(f"A promise names a test that did not run and pass: {test}", red=True)
        if self.unseen:
            terminalreporter.write_line(
                f"{len(self.unseen)} of the tests that promises name were skipped. Run as root to see them all.",
                yellow=True,
            )
