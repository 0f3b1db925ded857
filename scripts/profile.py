"""Launches `tlkeras profile` from a checkout: python scripts/profile.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tlkeras.cli.main import main

sys.exit(main(["profile", *sys.argv[1:]]))
