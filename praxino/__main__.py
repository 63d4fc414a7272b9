"""`python -m praxino` is the `praxino` command."""

from praxino.cli import main

main()
