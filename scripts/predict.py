"""Launches `tlkeras predict` from a checkout: python scripts/predict.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tlkeras.cli.main import main

sys.exit(main(["predict", *sys.argv[1:]]))
