"""Losses of pretext tasks, which need no labels."""
