"""`python -m praxino` is the `praxino` command."""

from praxino.command.startup import main

main()
