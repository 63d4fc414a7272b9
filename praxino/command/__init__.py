"""The `praxino` command: how it begins, what it takes, what it prints, how it ends."""
