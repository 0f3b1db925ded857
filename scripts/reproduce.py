"""Launches `tlkeras reproduce` from a checkout: python scripts/reproduce.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tlkeras.cli.main import main

sys.exit(main(["reproduce", *sys.argv[1:]]))
