"""Which extractor a stage takes: measured once per trunk and machine, and only where it can repay."""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkeras import messages
from tlkeras.config import CacheConfig
from tlkeras.errors import RunError, UserError
from tlkeras.features.extractors import EXTRACTORS, Trunk, relative_difference, seconds_per_row, usable
from tlkeras.run_dir.atomic import write_json

# What is expected of an extractor that was never tried on a trunk of this kind: seconds until it is ready,
# and how many times faster than exact it then is. A trial starts only where this would repay.
EXPECTED = {"folded": (1.0, 1.05), "tflite": (1.5, 1.5)}
# Share of exact's time below which another extractor is worth that its outputs are rounded differently,
# which training on small data magnifies to points of accuracy: a run is repeated with exact.
WORTH = 0.9


@dataclass(frozen=True)
class Chosen:
    """An extractor that may be trusted.

    Attributes:
        name: Its name in `EXTRACTORS`.
        extract: `(batch, ...)` raw inputs to `(batch, ...)` outputs.
        seconds_per_row: What it takes; None where that was not measured.
    """

    name: str
    extract: object
    seconds_per_row: float | None = None


class Measurements:
    """What extractors took, by trunk and machine; kept in the cache directory.

    Args:
        path: `extractors.json`.
        trunk_digest: Digest of the trunk's config.
        batch_size: Rows per call.
        threads: Threads of the machine.
    """

    def __init__(self, path: Path, trunk_digest: str, batch_size: int, threads: int):
        self.path = path
        facts = (trunk_digest, batch_size, threads, tf.__version__, _device())
        self.key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]

    def load(self) -> dict[str, dict]:
        """Returns `{extractor: {"setup": seconds, "row": seconds, "difference": relative}}`."""
        return self._all().get(self.key, {})

    def note(self, name: str, setup: float, row: float, difference: float) -> None:
        """Keeps what one extractor took. A folder that cannot be written is no error."""
        everything = self._all()
        everything.setdefault(self.key, {})[name] = {"setup": setup, "row": row, "difference": difference}
        with contextlib.suppress(UserError, RunError):
            write_json(self.path, everything)

    def _all(self) -> dict:
        try:
            return dict(json.loads(self.path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return {}


def choose(
    config: CacheConfig,
    trunk: Trunk,
    first_batch: Callable[[], np.ndarray],
    rows: Callable[[str], int],
    known: Measurements,
) -> Chosen:
    """Returns the extractor to use.

    Args:
        config: `extractor` names one or says `auto`; `tolerance` is what may differ from exact.
        trunk: The trunk.
        first_batch: Returns a real batch of raw inputs, on which others are compared with exact.
        rows: Returns how many rows the extractor of a name would have to compute; others are kept already.
        known: Measurements of earlier runs; new ones are added.
    """
    if config.extractor == "exact":
        return Chosen("exact", EXTRACTORS.get("exact")(trunk))
    batch = first_batch()
    if config.extractor != "auto":
        return _checked(config.extractor, trunk, batch, config.tolerance, known) or Chosen(
            "exact", EXTRACTORS.get("exact")(trunk)
        )
    best = _exact(trunk, batch, known)
    for name in sorted(set(usable(trunk)) - {"exact"}, key=lambda n: EXPECTED[n][0]):
        if _promises(name, rows, best, known.load(), config.tolerance):
            tried = _checked(name, trunk, batch, config.tolerance, known)
            if tried is not None and tried.seconds_per_row < WORTH * best.seconds_per_row:
                best = tried
    return best


def _promises(name: str, rows: Callable[[str], int], best: Chosen, known: dict, tolerance: float) -> bool:
    """Whether getting an extractor ready and using it would be faster than going on with the best so far."""
    exact_row = known["exact"]["row"] if "exact" in known else best.seconds_per_row
    if name in known:
        if known[name]["difference"] > tolerance:
            return False
        ratio = known[name]["row"] / exact_row
        setup = known[name]["setup"]
    else:
        setup, speedup = EXPECTED[name]
        ratio = 1 / speedup
    expected_row = ratio * exact_row
    return setup + rows(name) * expected_row < WORTH * rows(best.name) * best.seconds_per_row


def _exact(trunk: Trunk, batch: np.ndarray, known: Measurements) -> Chosen:
    began = time.perf_counter()
    extract = EXTRACTORS.get("exact")(trunk)
    extract(batch)
    setup = time.perf_counter() - began
    noted = known.load().get("exact")
    if noted is not None:
        return Chosen("exact", extract, noted["row"])
    row = seconds_per_row(extract, batch)
    known.note("exact", setup, row, 0.0)
    return Chosen("exact", extract, row)


def _checked(
    name: str, trunk: Trunk, batch: np.ndarray, tolerance: float, known: Measurements
) -> Chosen | None:
    """Returns an extractor that agrees with exact on the batch; None, with a notice, otherwise."""
    expected = EXTRACTORS.get("exact")(trunk)(batch)
    began = time.perf_counter()
    try:
        extract = EXTRACTORS.get(name)(trunk)
        difference = relative_difference(extract(batch), expected)
    except Exception as error:  # a converter may fail in any way on a model it does not know
        messages.note(f"The extractor {name} cannot take this backbone: {str(error).splitlines()[0][:200]}")
        known.note(name, 0.0, 1e9, 1e9)
        return None
    setup = time.perf_counter() - began
    row = seconds_per_row(extract, batch)
    known.note(name, setup, row, min(difference, 1e9))
    if difference <= tolerance:
        return Chosen(name, extract, row)
    messages.note(
        f"The extractor {name} differs from exact by {difference:.2g} of the features' spread, more than "
        f"cache.tolerance={tolerance:g}: exact is used."
    )
    return None


def _device() -> str:
    devices = [d.device_type for d in tf.config.list_logical_devices()]
    return f"{platform.machine()} {platform.processor()} {os.cpu_count()} {devices}"
