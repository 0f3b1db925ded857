"""Launches `tlkeras plan` from a checkout: python scripts/plan.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tlkeras.cli.main import main

sys.exit(main(["plan", *sys.argv[1:]]))
