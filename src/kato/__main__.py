"""`python -m kato`: the command line."""

from kato.cli import main

main()
