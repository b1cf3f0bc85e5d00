"""Pages of the documentation, typed as they stand: every command that a page shows runs, and every line that it
shows is said.

Numbers, ids, times and the space between columns may be others. `…` in a page stands for what is left out: as a
line for any lines, at a line's end for the rest of it. A block of YAML that begins with a comment of its name is a
file, which lies there before the first command.
"""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from load import free_ports
from machine import Machine

READS = re.compile(r"kato (ls|ps|why|logs)\b|curl -s http\S+$|dig ")
"""Commands that change nothing: what they show may take a moment to come true."""
PATIENCE = 60.0
PKILL = """
pkill() {  # those of this cell only, the oldest first; nothing else on this machine
  for each in $(pgrep "${@: -2}"); do
    grep -qszF -- "$KATO_DATA" "/proc/$each/environ" || continue
    kill -9 "$each"
    [[ "$2" != -o ]] || return 0
  done
}
"""
OTHERWISE = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[\w-]+-[0-9a-f]{6}\b"), "NODE"),
    (re.compile(r"/[\w/.-]+/(?=[\w.]+\.(py|yaml)\b)"), "FOLDER/"),
    (re.compile(r"\d+"), "0"),
    (re.compile(r"\s+"), " "),
)


class Step(NamedTuple):
    """A command, and the lines that it is shown to print."""

    command: str
    shown: tuple[str, ...]


def blocks(page: str, language: str) -> list[str]:
    """What stands between the fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def files(page: str) -> Iterator[tuple[str, str]]:
    """The files that a page shows whole: name and text."""
    for block in blocks(page, "yaml"):
        if name := re.match(r"# ([\w./-]+\.yaml)\n", block):
            yield name[1], block


def steps(page: str) -> Iterator[Step]:
    """The commands that a page shows, in their order."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.splitlines()
            yield Step(command, tuple(line for line in shown if line.strip() not in ("", "…")))


def typed(machine: Machine, page: str) -> None:
    """Types a page from its first command to its last; what is shown and not said is an AssertionError."""
    own = words(machine)
    for name, text in files(page):
        path = machine.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(here(text, own))
    for step in steps(page):
        deadline = time.monotonic() + PATIENCE
        missing = unsaid(machine, step, own)
        while missing and READS.match(step.command) and time.monotonic() < deadline:
            time.sleep(0.1)  # a poll of another process, with a deadline
            missing = unsaid(machine, step, own)
        assert not missing, f"$ {step.command}\ndid not say\n{missing}\n{machine.log()}"


def unsaid(machine: Machine, step: Step, own: Mapping[str, str]) -> str:
    """The first line that is shown and not said, with all that is said; empty where there is none."""
    done = subprocess.run(
        ["bash", "-c", PKILL + here(step.command, own)],
        env=machine.env,
        cwd=machine.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    said = [plain(line) for line in done.stdout.splitlines()]
    for line in step.shown:
        wanted = plain(here(line, own))
        if not any(is_said(wanted, each) for each in said):
            return f"{wanted}\nbut\n{done.stdout}"
    return ""


def words(machine: Machine) -> dict[str, str]:
    """What a page calls the places of a cell, and what they are for this one."""
    api, ingress = (address.rpartition(":")[2] for address in (machine.api, machine.ingress))
    dns, service = free_ports(2)
    return {
        "/var/lib/kato": str(machine.data),
        "127.0.0.1:8180": machine.api,
        "localhost:8180": f"localhost:{api}",
        ":8181": f":{ingress}",
        "5353": str(dns),
        "9000": str(service),
    }


def here(text: str, own: Mapping[str, str]) -> str:
    """A page's words for the cell of this test."""
    for default, mine in own.items():
        text = text.replace(default, mine)
    return text


def plain(line: str) -> str:
    """A line without what is another in every run."""
    for pattern, word in OTHERWISE:
        line = pattern.sub(word, line)
    return line.strip()


def is_said(wanted: str, said: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("…") else said == wanted
