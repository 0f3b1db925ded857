"""Names and first weights that depend on the seed and on nothing else that the process did."""

import collections
import contextlib
import random
from collections.abc import Iterator

from tlkeras.backend import compat


@contextlib.contextmanager
def reproducible(seed: int, part: str) -> Iterator[None]:
    """Makes layer names start from zero and initial weights follow from `seed` and `part`.

    Keras numbers layers without a name (`conv2d_57`) by what the process has built before, and draws
    the seeds of initializers and dropout from Python's global generator. Both are put aside here and
    back again, so that one build neither depends on earlier ones nor changes later ones.

    Args:
        seed: The run's seed.
        part: What is built, e.g. `"backbone"`, so that the parts draw independent numbers.
    """
    state = random.getstate()
    random.seed(f"{seed}/{part}")
    counters = compat.name_counters(collections.defaultdict(int))
    try:
        yield
    finally:
        random.setstate(state)
        compat.restore_name_counters(counters)
