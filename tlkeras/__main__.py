"""Runs `python -m tlkeras COMMAND`, for systems where the console script is not on the path."""

from tlkeras.cli.main import entry

entry()
