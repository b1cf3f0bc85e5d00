"""A cell's command line and environment go in; the text of its systemd unit comes out, and from such a text the
folder of its cell. Pure.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@[]~")
_FOLDER = "X-Folder="
"""A line that systemd passes over, as all that begin with X- (systemd.syntax(7))."""


def unit(command: Sequence[str], environ: Mapping[str, str], folder: Path, *, user: bool) -> str:
    """The unit. user: of a user's own manager rather than the machine's.

    KillMode=process: keepers and balancer stay in the unit's cgroup and outlive the cell. Delegate=yes: systemd
    hands out the controllers of memory, cpu and processes, and leaves alone what is below. No limit to its starts:
    a cell whose store is refused, or whose port is taken, goes on by itself once that is mended.
    """
    words = [_word(command[0]), *(_word(each).replace("$", "$$") for each in command[1:])]
    variables = "\n".join(f"Environment={_word(f'{name}={value}')}" for name, value in sorted(environ.items()))
    return f"""# Written by `kato service install`; `kato service uninstall` takes it away.
[Unit]
Description=Káto, the cell in {_specifier(str(folder))}
After=network.target docker.service
StartLimitIntervalSec=0
{_FOLDER}{os.fsencode(folder).hex()}

[Service]
Type=notify
ExecStart={" ".join(words)}
{variables}
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
TasksMax=infinity
OOMPolicy=continue

[Install]
WantedBy={"default" if user else "multi-user"}.target
"""


def folder_of(text: str) -> Path | None:
    """The folder of the cell that a unit runs; None where the unit is not ours."""
    for line in text.splitlines():
        if line.startswith(_FOLDER):
            try:
                return Path(os.fsdecode(bytes.fromhex(line.removeprefix(_FOLDER))))
            except ValueError:
                return None
    return None


def _word(text: str) -> str:
    """A word as systemd.syntax(7) and systemd.service(5) have it.

    >>> _word("--data"), _word("/srv/100% mine"), _word('a"b')
    ('--data', '"/srv/100%% mine"', '"a\\\\"b"')
    """
    if text and _PLAIN.issuperset(text):
        return text
    return '"' + "".join(map(_letter, _specifier(text, plain=True))) + '"'


def _letter(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def _specifier(text: str, *, plain: bool = False) -> str:
    """`%` begins a specifier in a unit. plain: other letters as they are."""
    doubled = text.replace("%", "%%")
    return doubled if plain else "".join(each if each.isprintable() else "?" for each in doubled)
