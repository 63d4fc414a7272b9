"""Weights: published ones found and checked, foreign ones converted, ours saved and loaded."""
