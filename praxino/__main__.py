"""`python -m praxino` is the `praxino` command."""

from praxino.startup import main

main()
