"""The command line as a program: usage, exit codes, sentences on stderr, signals."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kato.agent.identity import Identity
from kato.cli.app import COMMANDS, application, hoist, part, sentences
from kato.cli.changes.source import find
from kato.cli.printing.show import document
from kato.cli.printing.terminal import speak_to
from kato.cli.signals import Interrupted, Signals, cancelled_by_signals
from kato.cli.upkeep import cell
from kato.cli.words.topics import TOPICS
from kato.cli.words.usage import ELSEWHERE, FLAGS_ELSEWHERE
from kato.client import Client
from kato.config import Config, configure
from kato.folder import held
from kato.model.errors import Fault, InvalidApp, InvalidInput, Locked, Unavailable
from machine import ROOT


@pytest.fixture
def nowhere(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which no cell answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return {**os.environ, "KATO_API": address, "KATO_DATA": str(tmp_path / "data"), "COLUMNS": "200"}


def kato(*words: str, environ: Mapping[str, str], encoding: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kato", *words],
        env=environ,
        capture_output=True,
        text=True,
        encoding=encoding,
        timeout=60,
        check=False,
    )


def test_help_names_every_command(nowhere: Mapping[str, str]) -> None:
    done = kato("--help", environ=nowhere)
    assert done.returncode == 0
    assert all(f" {name} " in done.stdout for name in COMMANDS)
    assert "\x1b" not in done.stdout


def test_a_topic_is_explained(nowhere: Mapping[str, str]) -> None:
    assert "KATO_API" in kato("help", "environment", environ=nowhere).stdout
    whole = kato("--help", environ=nowhere).stdout
    for name, (line, text) in TOPICS.items():
        assert f"{name} " in whole and line in whole
        done = kato("help", name, environ=nowhere)
        assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")
        assert max(map(len, text.splitlines())) <= 115
    assert "Usage: kato ls" in kato("help", "ls", environ=nowhere).stdout
    strange = kato("help", "nosuch", environ=nowhere)
    assert strange.returncode == 2
    assert "There is no command 'nosuch' and no such topic. Topics are names, output," in strange.stderr
    assert "Did you mean environment?" in kato("help", "environ", environ=nowhere).stderr


def test_every_variable_that_is_read_is_explained() -> None:
    read = set(re.findall(r'"(KATO_\w+)"', (ROOT / "src/kato/config.py").read_text(encoding="utf-8")))
    assert read and read <= set(re.findall(r"KATO_\w+", TOPICS["environment"][1]))


def test_no_word_of_elsewhere_hides_one_of_ours() -> None:
    assert not ELSEWHERE.keys() & set(COMMANDS)
    named = re.findall(r"kato ([a-z]+)", " ".join([*ELSEWHERE.values(), *FLAGS_ELSEWHERE.values()]))
    assert named and set(named) <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_of_its_own(command: str, nowhere: Mapping[str, str]) -> None:
    done = kato(command, "--help", environ=nowhere)
    assert done.returncode == 0, done.stderr
    assert f"Usage: kato {command}" in done.stdout
    assert "Topics (" not in done.stdout


def test_help_of_a_command_tells_all_of_it(nowhere: Mapping[str, str]) -> None:
    assert "Run again, it changes only what changed." in kato("up", "--help", environ=nowhere).stdout
    assert "source <(kato completion bash)" in kato("help", "completion", environ=nowhere).stdout
    assert "Run again" not in kato("--help", environ=nowhere).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ls"], 1, "No cell answers at http://127.0.0.1:"),
        (["lss"], 2, "There is no command 'lss'. Did you mean ls?"),
        (["frobnicate"], 2, "There are: up, down, plan,"),
        (["stop", "vote"], 2, "There is no command 'stop'. Here that is kato scale APP 0, which ends its tasks,"),
        (["stats"], 2, "Here that is kato top. See: kato --help"),
        (["up", "--build"], 2, "kato up has no flag --build. It builds what the file says, every time."),
        (
            ["logs", "--since", "soon"],
            2,
            "--since is 'soon'; it takes how long ago, as 10m, 1h30m or 2d, or when,",
        ),
        (["volumes", "rm"], 2, "Which volume? Write: kato volumes rm NAME. See: kato volumes"),
        (["volumes", "ls", "a"], 2, "'a' is too much: kato volumes ls lists all."),
        (["volume", "ls"], 2, "There is no command 'volume'. Here that is kato volumes, or kato volumes rm NAME."),
        (["drill"], 2, "kato drill needs --lose, as in: kato drill --lose vote.1."),
        (["secrets"], 2, "kato secrets needs ACT, as in: kato secrets ls."),
        (["logs", "vote", "-n", "-5"], 2, "--tail is '-5'; it takes a number of lines"),
        (["-o", "json", "ls"], 2, "A command comes first, and flags such as -o behind it"),
        (["ls", "--ouptut", "json"], 2, "kato ls has no flag --ouptut. Did you mean --output?"),
        (["ls", "--data", "/x"], 2, "kato ls has no flag --data."),
        (["ls", "--verbose"], 2, "kato ls has no flag --verbose. There are: --output, -o,"),
        (["ls", "-o", "xml"], 2, "-o is 'xml'; it takes table, json or yaml."),
        (["ls", "-o"], 2, "-o needs a value behind it; it takes table, json or yaml."),
        (["ls", "--api", "127.0.0.1:1", "--api", "127.0.0.1:2"], 2, "--api is given twice."),
        (["ls", "vote"], 2, "kato ls does not know what to do with 'vote'."),
        (["scale", "vote"], 2, "kato scale needs INSTANCES, as in: kato scale vote 3."),
        (["scale", "vote", "b"], 2, "INSTANCES is 'b'; it takes a number of tasks, from 0 to 1,000,000."),
        (["scale", "vote", "3.5"], 2, "INSTANCES is '3.5'"),
        (["scale", "vote", "-1"], 2, "INSTANCES is '-1'"),
        (["scale", "vote", "9" * 5000], 2, "INSTANCES is '999"),
        (["exec", "vote"], 2, "kato exec needs CMD, as in: kato exec -it vote -- sh."),
        (["exec", "-t", "vote", "--", "sh"], 2, "-t needs a terminal, and here is none."),
        (["exec", "vote", "--", "ls", "-l"], 1, "No cell answers at http://127.0.0.1:"),
        (["exec", "vote", "ls", "-l", "--api", "x"], 1, "No cell answers at http://127.0.0.1:"),
        (["logs", "vote", "--tail", "-5"], 2, "--tail is '-5'; it takes a number of lines"),
        (["logs", "vote", "-f=maybe"], 2, "-f is 'maybe'; it takes no value."),
        (
            ["scale", "vote", "2", "-d"],
            2,
            "kato scale returns when it is done; with --no-wait it",
        ),
        (["rm", "vote", "--timeout", "soon"], 2, "--timeout is 'soon'; it takes a number of seconds"),
        (["rm", "vote", "--timeout", "nan"], 2, "--timeout is 'nan'"),
        (["ls", "--api", "8180"], 2, "--api (or KATO_API) is '8180'"),
        (["up", "/there/is/no/such"], 2, "There is no file or folder /there/is/no/such."),
        (["plan", "/there/is/no/such"], 2, "There is no file or folder"),
        (["plan", "/dev/zero"], 2, "/dev/zero is no regular file"),
        (["serve", "--data", "/etc/passwd"], 2, "/etc/passwd cannot be the folder of a cell: it is a file."),
        (["serve", "--data", "/etc/passwd/x"], 2, "cannot be the folder of a cell: Not a directory."),
        (["plan", "/" + "x" * 300], 2, "cannot be read: File name too long."),
        (
            ["down", "--all", "--data", "~no-such-user/x"],
            2,
            "~no-such-user/x is in the home of somebody who has none",
        ),
        (["down", "--all", "--data", "/" + "x" * 300], 2, "cannot be looked into: File name too long."),
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


@pytest.mark.parametrize(("encoding", "name"), [("ascii", "Kato"), ("latin-1", "Káto"), ("utf-8", "Káto")])
def test_what_a_terminal_cannot_write_becomes_ascii(
    encoding: str, name: str, nowhere: Mapping[str, str], tmp_path: Path
) -> None:
    environ = {**nowhere, "PYTHONIOENCODING": encoding}
    assert f"{name} turns machines" in kato("--help", environ=environ, encoding=encoding).stdout
    done = kato("plan", str(tmp_path / "世"), environ=environ, encoding=encoding)
    word = "世" if encoding == "utf-8" else "\\u4e16"
    assert (done.returncode, done.stderr) == (2, f"kato: There is no file or folder {tmp_path}/{word}.\n")


def test_json_stays_what_it_says_on_every_terminal() -> None:
    plain = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    speak_to(plain)
    said = {"●": "á→世\U0001f600"}
    with contextlib.redirect_stdout(plain):
        for output in ("json", "yaml"):
            document(said, output)
    plain.seek(0)
    text = plain.read()
    assert text.isascii()
    assert json.loads(text[: text.index("}") + 1]) == said
    assert YAML(typ="safe").load(text[text.index("}") + 1 :]) == said
    print("● ○ ✗ á …", file=plain)
    plain.flush()
    assert plain.buffer.getvalue().endswith("* o x á ~\n".encode("latin-1"))


def test_help_is_a_word_too(nowhere: Mapping[str, str]) -> None:
    assert kato("help", environ=nowhere).stdout == kato("--help", environ=nowhere).stdout
    assert "Usage: kato scale" in kato("help", "scale", environ=nowhere).stdout
    for word, defaults in (
        ("ls", ["127.0.0.1:8180"]),
        ("up", ["127.0.0.1:8180", "127.0.0.1:8181", "/var/lib/kato"]),
    ):
        assert all(default in kato(word, "--help", environ=nowhere).stdout for default in defaults)


@pytest.mark.parametrize("words", [["ls"], ["up", "app.json", "-d"], ["logs", "vote"], ["down", "--all"]])
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>", b"-ERR unknown command\r\n"]
)
def test_another_program_at_the_address_is_told(
    words: list[str], answer: bytes, tmp_path: Path, nowhere: Mapping[str, str]
) -> None:
    (tmp_path / "app.json").write_text('{"id": "/a", "cmd": "sleep 9", "cpus": 0.1, "mem": 32}')
    with other_program(answer) as address:
        environ = {**nowhere, "KATO_API": address}
        done = kato(*[w.replace("app.json", str(tmp_path / "app.json")) for w in words], environ=environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"kato: What listens at {address} is not a Káto cell.")
    assert "--api or KATO_API" in done.stderr and done.stderr.count("\n") == 1
    assert not Path(nowhere["KATO_DATA"]).exists()


@contextlib.contextmanager
def other_program(answer: bytes) -> Iterator[str]:
    """A server that says the same to everyone; its host:port."""

    class Same(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Same) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_plan_needs_no_cell(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    app = tmp_path / "app.json"
    app.write_text('{"id": "/a", "cmd": "sleep 9", "cpus": 0.1, "mem": 32, "instances": 2}')
    done = kato("plan", str(app), environ=nowhere)
    assert (done.returncode, done.stdout) == (1, "create /a with 2 tasks\n")
    data = nowhere["KATO_DATA"]
    assert done.stderr == f"kato: No cell lives in {data} yet: all of it is new.\n"
    said = json.loads(kato("plan", str(app), "-o", "json", environ=nowhere).stdout)
    assert [each["kind"] for each in said["changes"]] == ["create"]
    app.write_text('{"id": "/a", "cmd": "sleep 9", "cpus": -1, "mem": 32}')
    assert kato("plan", str(app), environ=nowhere).returncode == 2
    assert not Path(data).exists()


def test_a_plan_warns_of_a_dependency_that_does_not_exist(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    app = tmp_path / "app.json"
    front = {"id": "front", "cmd": "sleep 9", "dependencies": ["store"]}
    app.write_text(json.dumps({"id": "/mnotes", "apps": [front, {"id": "store", "cmd": "sleep 9"}]}))
    done = kato("plan", str(app), environ=nowhere)
    assert done.returncode == 1
    assert (
        "kato: /mnotes/front depends on /mnotes/front/store, which does not exist: it is not waited for, and "
        "STORE_HOST is not set. Did you mean '../store'?\n"
    ) in done.stderr


def test_a_start_that_fails_quotes_its_own_lines_only(tmp_path: Path, nowhere: Mapping[str, str]) -> None:
    app = tmp_path / "app.json"
    app.write_text('{"id": "/a", "cmd": "sleep 9", "cpus": 0.1, "mem": 32}')
    data = Path(nowhere["KATO_DATA"])
    data.mkdir()
    (data / "cell.log").write_text("an old line\n")
    (data / "cell.sqlite").write_text("no store at all, however long it is looked at")
    done = kato("up", str(app), "-d", environ=nowhere)
    assert done.returncode == 1
    assert "ended at once" in done.stderr and "cell.sqlite" in done.stderr
    assert "an old line" not in done.stderr
    assert (data / "cell.log").read_text().startswith("an old line\n")


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
    assert hoist(["--dns", "x:1", "up"]) == ["up", "--dns", "x:1"]
    assert hoist([]) == []


@pytest.mark.parametrize(
    ("words", "parted"),
    [
        ("exec -it vote ls -l", "exec -it vote -- ls -l"),
        ("exec --api x -i vote sh -c ls", "exec --api x -i vote -- sh -c ls"),
        ("exec --api=x vote", "exec --api=x vote"),
        ("exec vote -it -- ls -- -l", "exec vote -it -- ls -- -l"),
        ("exec vote --help", "exec vote --help"),
        ("exec", "exec"),
        ("logs vote -f", "logs vote -f"),
    ],
)
def test_what_follows_the_name_of_exec_is_the_command_s(words: str, parted: str) -> None:
    assert part(words.split()) == parted.split()


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


async def test_a_part_of_the_work_that_signals_cancel_leaves_them_as_they_were() -> None:
    with Signals():
        taken = signal.getsignal(signal.SIGTERM)
        with cancelled_by_signals():
            assert signal.getsignal(signal.SIGTERM) is taken
        assert signal.getsignal(signal.SIGTERM) is taken is not signal.SIG_DFL
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    try:
        with cancelled_by_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


async def test_an_error_of_the_work_is_the_guards() -> None:
    async def work() -> None:
        raise InvalidInput("no")

    with Signals() as signals, pytest.raises(InvalidInput):
        await signals.guard(work())


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"api": "https://127.0.0.1:1"},
        {"api": "0.0.0.0:8180", "data": "/srv/cell"},
        {"dns": "127.0.0.1:5353", "dns_forward": True},
        {"dns_own": True},
    ],
)
def test_a_cell_that_is_started_is_told_all_that_its_starter_was(told: dict[str, Any]) -> None:
    _, _, _, command, *flags = cell.words(configure(environ={}, **told))
    assert command == "serve"
    _, bound, _ = application().parse_args(["serve", *flags], exit_on_error=False, print_error=False)
    place = bound.arguments["place"]
    again = configure(
        environ={},
        **{name: getattr(place, name) for name in ("api", "ingress", "dns", "dns_forward", "dns_own", "data")},
    )
    assert again == configure(environ={}, **told)
