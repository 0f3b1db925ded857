"""One of several processes that embed files: `python embedding_worker.py NAMES SECONDS LOG WORDS...`.

Its name is the first of NAMES, and it begins when all of them are there. It waits SECONDS before it writes a
part of a shard, and notes the shards that it has written in LOG/NAME.
"""

import sys
import time
from pathlib import Path

from tlkeras.cli.main import entry
from tlkeras.features import unfinished

BLOCK_ROWS = 32


def slow_and_noted(names: list[str], seconds: float, log: Path):
    """Makes shards small, and their writing slow and noted."""
    unfinished.BLOCK_ROWS = BLOCK_ROWS
    append, name = unfinished.LockedShard.append, names[0]

    def noted(self, rows):
        (log / f"{name}.ready").touch()
        while not all((log / f"{other}.ready").exists() for other in names):
            time.sleep(0.01)
        time.sleep(seconds)
        done = append(self, rows)
        if done:
            with open(log / name, "a") as file:
                print(self.number, file=file)
        return done

    unfinished.LockedShard.append = noted


if __name__ == "__main__":
    slow_and_noted(sys.argv[1].split(","), float(sys.argv[2]), Path(sys.argv[3]))
    sys.argv[1:] = sys.argv[4:]
    entry("embed")
