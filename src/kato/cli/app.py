"""The table of commands: an argument vector goes in, its command runs, an exit code comes out."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from kato.cli.printing.terminal import speak_to
from kato.cli.signals import Interrupted
from kato.cli.words.topics import TOPICS, listed
from kato.cli.words.usage import unknown_topic, wrong_usage
from kato.config import debugging
from kato.model.errors import InvalidApp, InvalidInput, KatoError, Locked, NotRun

COMMANDS = {
    "up": ("changes.up:up", "Deploy a file, show how it comes up, and stay; Ctrl-C ends what it started."),
    "down": ("changes.down:down", "Remove what a file deployed, or everything and the cell itself."),
    "plan": ("changes.plan:plan", "Say what a file would change. Exit code: 0 nothing, 1 something, 2 error."),
    "drill": ("views.drill:drill", "Say what would happen if a task, a machine or an engine were lost."),
    "ls": ("views.listing:ls", "List apps."),
    "ps": ("views.listing:ps", "List tasks, of an app, of a project or of all."),
    "top": ("views.top:top", "Watch what tasks use of processors and memory."),
    "why": ("views.why:why", "Say why an app, a project or a task has not what was wished for."),
    "logs": ("views.logs:logs", "Print what an app's tasks, or one task, wrote."),
    "wait": ("changes.wait:wait", "Wait until apps are as wished."),
    "open": ("changes.wait:open", "Print where an app answers, and open it in a browser."),
    "inspect": ("views.inspect:inspect", "Print all that is known of an app, a task or a machine."),
    "events": ("views.events:events", "Say what happens from now on."),
    "validate": ("changes.files:validate", "Say all that is wrong with files; it needs no cell."),
    "convert": ("changes.files:convert", "Print the Marathon group that a file becomes."),
    "exec": ("changes.exec:exec", "Run a command beside a task, on a terminal too (-it)."),
    "scale": ("changes.change:scale", "Change how many tasks an app has."),
    "restart": ("changes.change:restart", "Exchange all tasks of an app or a project, as an upgrade does."),
    "rm": ("changes.change:rm", "Remove an app."),
    "rollback": ("changes.change:rollback", "Take an app back to the last version that was whole."),
    "versions": ("views.listing:versions", "List an app's versions, and where a rollback goes."),
    "secrets": ("changes.secrets:secrets", "Keep values that tasks alone are told: set, ls, rm."),
    "volumes": ("changes.volumes:volumes", "List what apps keep in named volumes, or remove some: ls, rm."),
    "nodes": ("views.listing:nodes", "List machines."),
    "backup": ("upkeep.backup:backup", "Write all that the cell knows to one file, while it runs."),
    "restore": ("upkeep.backup:restore", "Put a backup back, where no cell runs."),
    "doctor": ("upkeep.doctor:doctor", "Look whether this machine has what a cell needs."),
    "debug": ("upkeep.debug:debug", "Write what helps to see what is wrong to one archive, without secrets."),
    "certify": ("upkeep.certify:certify", "Let other machines ask the cell: a certificate and a token."),
    "service": ("upkeep.service:command", "Have systemd run the cell, also after a boot, or no more."),
    "uninstall": ("upkeep.uninstall:uninstall", "Remove the cell with all that it has made on this machine."),
    "serve": ("upkeep.serve:serve", "Run a cell in the foreground."),
    "completion": ("completion:completion", "Print what makes bash, zsh or fish complete words."),
    "version": ("upkeep.serve:version", "Print the version."),
}
"""Where in this folder each is, and its line in a list."""
PLACES = ("--api", "--ingress", "--dns", "--data", "--log", "--ship")


def application(called: str | None = None) -> App:
    """The commands; each one's module is imported when it is needed.

    called: the command that is told about in full, as its docstring has it; of others a list has their line.
    """
    app = App(
        name="kato",
        help="Káto turns machines into one computer for microservices, and says why whenever it cannot.",
        help_epilogue=listed(),
        version_flags=(),
        help_format="plaintext",
    )
    for position, (name, (where, help)) in enumerate(COMMANDS.items()):
        line = None if name == called else help
        app.command(f"kato.cli.{where}", name=name, help=line, help_epilogue="", sort_key=position)
    return app


def run(words: Sequence[str]) -> int:
    """Runs one command; its exit code."""
    speak_to(sys.stdout, sys.stderr)
    words = ["version"] if list(words) == ["--version"] else part(hoist(words))
    if words[:1] == ["help"]:
        if words[1:2] and words[1] in TOPICS:
            print(TOPICS[words[1]][1])
            return 0
        if words[1:2] and words[1] not in COMMANDS:
            complain(unknown_topic(words[1], COMMANDS, TOPICS))
            return 2
        words = [*words[1:2], "--help"]
    try:
        result = application(words[0] if words else None)(
            words, exit_on_error=False, print_error=False, result_action="return_value", backend="asyncio"
        )
        sys.stdout.flush()
    except CycloptsError as error:
        complain(wrong_usage(error, words, COMMANDS))
        return 2
    except KatoError as error:
        if debugging():
            raise
        complain(sentences(error))
        if isinstance(error, NotRun):
            return error.code
        return 2 if isinstance(error, InvalidInput) or words[:1] == ["plan"] else 1
    except (KeyboardInterrupt, Interrupted) as stop:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal wrote ^C on this line
        if isinstance(stop, Interrupted):
            complain(stop.left)
        return 130
    except BrokenPipeError:
        # Whoever read us has gone (`kato ls | head`); Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        if debugging():
            raise
        complain(refused_by_the_machine(error))
        return 2 if words[:1] == ["plan"] else 1
    except Exception as error:
        if debugging():
            raise
        complain(f"This is a fault in Káto: {type(error).__name__}: {error}. KATO_DEBUG=1 shows where.")
        return 1
    return result if isinstance(result, int) else 0


def hoist(words: Sequence[str]) -> list[str]:
    """Flags that say where the cell is may stand before the command: they are moved behind it.

    >>> hoist(["--api", "127.0.0.1:1", "ls", "-o", "json"])
    ['ls', '--api', '127.0.0.1:1', '-o', 'json']
    """
    rest, leading = list(words), []
    while rest and rest[0].partition("=")[0] in PLACES:
        count = 1 if "=" in rest[0] else 2
        leading += rest[:count]
        rest = rest[count:]
    return [*rest[:1], *leading, *rest[1:]]


def part(words: Sequence[str]) -> list[str]:
    """What stands behind the name of `exec` is the command's own, with or without `--` before it.

    >>> part(["exec", "-it", "vote", "ls", "-l"])
    ['exec', '-it', 'vote', '--', 'ls', '-l']
    """
    if words[:1] != ["exec"] or "--" in words:
        return list(words)
    place = 1
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] in PLACES else 1
    rest = words[place + 1 :]
    return list(words) if not rest or rest[0].startswith("-") else [*words[: place + 1], "--", *rest]


def sentences(error: KatoError) -> str:
    """An error as a person reads it: one sentence, or a list of all that is wrong."""
    if isinstance(error, InvalidApp) and len(error.faults) > 1:
        faults = "\n".join(f"  {fault.path}: {fault.message}" for fault in error.faults)
        return f"{len(error.faults)} things are wrong:\n{faults}"
    if isinstance(error, Locked) and "--force" not in str(error):
        return f"{error} (--force)"
    return str(error)


def refused_by_the_machine(error: OSError) -> str:
    """What the kernel would not do, as a person reads it."""
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return (
        f"The machine refuses it: {where}{error.strerror or error}. If it is about the cell's folder, "
        "choose one that this user may write to: --data, KATO_DATA."
    )


def complain(text: str) -> None:
    """One line, or a few, on stderr."""
    print(f"kato: {text}", file=sys.stderr, flush=True)
