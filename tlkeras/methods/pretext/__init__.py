"""Losses of tasks that data set by themselves, without labels."""
