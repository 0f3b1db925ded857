"""Launches `tlkeras rank` from a checkout: python scripts/rank.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tlkeras.cli.main import main

sys.exit(main(["rank", *sys.argv[1:]]))
