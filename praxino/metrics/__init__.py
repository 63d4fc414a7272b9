"""Metrics: pure functions on arrays, one file per family or benchmark, NumPy only."""
