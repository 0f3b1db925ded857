"""Launches `tlkeras sweep` from a checkout: python scripts/sweep.py --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: it has an inspect.py

from tlkeras.cli.main import entry

entry("sweep")
