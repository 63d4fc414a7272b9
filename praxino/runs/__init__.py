"""A training run that is never lost: its folder, its state, its lock."""
