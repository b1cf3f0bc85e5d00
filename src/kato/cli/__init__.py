"""The command line: words come in, requests go to a cell's API, lines and an exit code come out. No logic.

Exit codes: 0 done, 1 it failed, 2 wrong usage or bad input, 130 Ctrl-C. `KATO_DEBUG=1` shows tracebacks.
"""

import os
import sys


def main() -> None:
    """The entry point of `kato`."""
    _open_ends()
    try:
        if sys.argv[1:2] == ["__complete"]:
            from kato.cli.complete import complete

            sys.exit(complete(sys.argv[2:]))
        from kato.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported
        code = 130
    sys.exit(code)


def _open_ends() -> None:
    """What a shell has closed (`<&-`, `>&-`) is nothing to read, or takes what is written: no command asks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
