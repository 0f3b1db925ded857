"""`python -m tlkeras COMMAND`, where the console script is not on the path."""

from tlkeras.cli.main import entry

entry()
