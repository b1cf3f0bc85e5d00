"""The command line as a program: usage, exit codes, sentences on stderr, signals."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kato.agent.identity import Identity
from kato.cli import cell
from kato.cli.app import COMMANDS, hoist, sentences
from kato.cli.cell import held
from kato.cli.signals import Interrupted, Signals
from kato.cli.source import find
from kato.client import Client
from kato.config import Config
from kato.model.errors import Fault, InvalidApp, InvalidInput, Locked, Unavailable


@pytest.fixture
def nowhere(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which no cell answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return {**os.environ, "KATO_API": address, "KATO_DATA": str(tmp_path / "data"), "COLUMNS": "200"}


def kato(*words: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kato", *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command(nowhere: Mapping[str, str]) -> None:
    done = kato("--help", environ=nowhere)
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(command: str, nowhere: Mapping[str, str]) -> None:
    done = kato(command, "--help", environ=nowhere)
    assert done.returncode == 0, done.stderr
    assert f"Usage: kato {command}" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ls"], 1, "No cell answers at http://127.0.0.1:"),
        (["lss"], 2, "lss"),
        (["ls", "--colour"], 2, "--colour"),
        (["ls", "-o", "xml"], 2, "xml"),
        (["scale", "vote"], 2, "INSTANCES"),
        (["scale", "vote", "many"], 2, "many"),
        (["ls", "--api", "8180"], 2, "--api (or KATO_API) is '8180'"),
        (["up", "/there/is/no/such"], 2, "There is no file or folder /there/is/no/such."),
        (["plan", "/there/is/no/such"], 2, "There is no file or folder"),
        (["plan", "/dev/zero"], 2, "/dev/zero is no regular file"),
        (["serve", "--data", "/etc/passwd"], 2, "/etc/passwd cannot be the folder of a cell: it is a file."),
        (["serve", "--data", "/etc/passwd/x"], 2, "cannot be the folder of a cell: Not a directory."),
        (["serve", "--data", "/proc/x"], 2, "cannot be the folder of a cell: No such file or directory."),
        (["serve", "--api", "127.0.0.1:99", "--ingress", "127.0.0.1:99"], 2, "cannot both listen on 127.0.0.1:99"),
    ],
)
def test_what_goes_wrong_is_one_line_on_stderr(
    words: list[str], code: int, said: str, nowhere: Mapping[str, str]
) -> None:
    done = kato(*words, environ=nowhere)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("kato: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_file_is_read_up_to_a_bound(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    endless = tmp_path / "compose.yaml"
    with endless.open("wb") as file:
        file.truncate(1 << 40)  # a hole
    done = kato("plan", str(endless), environ=nowhere)
    assert (done.returncode, done.stderr) == (
        2,
        f"kato: {endless} is larger than 8 MiB. Is it the file that you mean?\n",
    )


def test_ctrl_c_while_modules_are_imported_is_silent() -> None:
    code = (
        "import sys\n"
        "class Ctrl_C:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'kato.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Ctrl_C())\n"
        "import runpy; runpy.run_module('kato', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_who_holds_a_folder_is_seen_without_being_in_the_way(tmp_path: Path) -> None:
    assert not held(tmp_path)
    with contextlib.closing(Identity.claim(tmp_path)):
        assert held(tmp_path)
    assert not held(tmp_path)


async def test_a_cell_of_another_process_that_is_slow_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours has lost the folder to it and ended; as long as it holds the folder it is about to answer."""
    monkeypatch.setattr(cell, "WINNER", 0.0)
    answers = iter([False] * 5 + [True])

    class Slow(Client):
        async def ping(self) -> bool:
            return next(answers)

    with contextlib.closing(Identity.claim(tmp_path)):
        await cell.until_answering(Slow("127.0.0.1:1"), Config(data=tmp_path), ended("true"))
    answers = iter([False] * 5)
    with pytest.raises(Unavailable, match=r"ended at once \(exit code 1\)"):
        await cell.until_answering(Slow("127.0.0.1:1"), Config(data=tmp_path), ended("false"))


def ended(program: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([program])
    process.wait()
    return process


def test_flags_for_the_place_may_stand_in_front(nowhere: Mapping[str, str]) -> None:
    done = kato("--api=127.0.0.1:1", "ls", environ=nowhere)
    assert done.returncode == 1
    assert "http://127.0.0.1:1 " in done.stderr
    assert hoist(["--data", "x", "--api=y", "ls", "-o", "json"]) == ["ls", "--data", "x", "--api=y", "-o", "json"]
    assert hoist([]) == []


def test_down_where_nothing_ever_was_is_no_failure(nowhere: Mapping[str, str]) -> None:
    done = kato("down", "--all", environ=nowhere)
    assert done.returncode == 0
    assert "nothing to remove" in done.stdout
    assert not Path(nowhere["KATO_DATA"]).exists()


def test_every_fault_is_listed() -> None:
    error = InvalidApp([Fault("/apps/0/cpus", "must not be negative"), Fault("/apps/0/id", "is missing")])
    assert (
        sentences(error) == "2 things are wrong:\n  /apps/0/cpus: must not be negative\n  /apps/0/id: is missing"
    )
    assert sentences(InvalidApp(error.faults[:1])) == "/apps/0/cpus: must not be negative"
    assert "--force" in sentences(Locked("/voting/vote", ["d1"]))


def test_a_folder_means_the_file_in_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has none of compose\.yaml"):
        find(tmp_path)
    (tmp_path / "marathon.json").touch()
    assert find(tmp_path) == tmp_path / "marathon.json"
    (tmp_path / "docker-compose.yml").touch()
    assert find(tmp_path) == tmp_path / "docker-compose.yml"
    (tmp_path / "compose.yaml").touch()
    assert find(tmp_path) == tmp_path / "compose.yaml"
    assert find(tmp_path / "marathon.json") == tmp_path / "marathon.json"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_work_and_not_what_comes_after(number: signal.Signals) -> None:
    cleaned: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned.append("work")

    async def clean() -> None:
        cleaned.append("after")

    with Signals() as signals:
        with pytest.raises(Interrupted) as caught:
            await signals.guard(work())
        await signals.guard(clean())
    assert caught.value.exit_code == 128 + number
    assert cleaned == ["work", "after"]


async def test_an_error_of_the_work_is_the_guards() -> None:
    async def work() -> None:
        raise InvalidInput("no")

    with Signals() as signals, pytest.raises(InvalidInput):
        await signals.guard(work())
