"""scikit-learn's 1797 handwritten digits, 8x8 pixels."""

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows, row_ids
from tlkeras.data.sources.base import Source, Table
from tlkeras.errors import unknown


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Returns the digits as grey images in 0..255, or with `digits:vectors` as vectors in 0..1."""
    if argument not in ("", "images", "vectors"):
        raise unknown("form of the source digits", argument, ("images", "vectors"))
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)  # values 0..16
    if argument == "vectors":
        inputs = (x / 16).astype(np.float32)
    else:
        inputs = np.round(x.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    rows = Rows(inputs, y, row_ids(len(y)))
    return Table({"all": rows}, tuple(str(digit) for digit in range(10)))


SOURCE = Source("digits", "digits[:vectors]", "scikit-learn's 1797 digits, 8x8", load, names_splits=False)
