"""Names and initial weights that depend only on the seed."""

import collections
import contextlib
import random
from collections.abc import Iterator

from tlkeras.backend import compat


@contextlib.contextmanager
def reproducible(seed: int, part: str) -> Iterator[None]:
    """Context in which layer numbers start from zero, and initial weights depend on `seed` and `part`.

    Keras numbers layers without a name (`conv2d_57`) over the whole process, and draws the seeds of
    initializers and dropout from Python's global generator. Both states are restored at the end, so that a
    build does not depend on earlier ones and does not change later ones.

    Args:
        seed: Seed of the run.
        part: Name of the part, e.g. `"backbone"`, so that different parts draw independent numbers.
    """
    state = random.getstate()
    random.seed(f"{seed}/{part}")
    counters = compat.name_counters(collections.defaultdict(int))
    try:
        yield
    finally:
        random.setstate(state)
        compat.restore_name_counters(counters)
