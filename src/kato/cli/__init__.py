"""The command line: words come in, requests go to a cell's API, lines and an exit code come out. No logic.

Exit codes: 0 done, 1 it failed, 2 wrong usage or bad input, 130 Ctrl-C. `KATO_DEBUG=1` shows tracebacks.
"""

import sys


def main() -> None:
    """The entry point of `kato`."""
    try:
        if sys.argv[1:2] == ["__complete"]:
            from kato.cli.complete import complete

            sys.exit(complete(sys.argv[2:]))
        from kato.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while modules are imported
        code = 130
    sys.exit(code)
