"""Ends a process without Python's searches for garbage, as `tlkeras.cli.main.entry` does.

They take about a second after TensorFlow was imported. A script that tests start imports this module. A
program for `python -c` begins with `AT_ONCE`.
"""

import atexit
import gc

AT_ONCE = "import atexit, gc; atexit.register(gc.freeze)\n"
atexit.register(gc.freeze)
