"""Launches `tlkeras auto` from a checkout: python scripts/auto.py --help."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its inspect.py is not the library's

from tlkeras.cli.main import main

sys.exit(main(["auto", *sys.argv[1:]]))
