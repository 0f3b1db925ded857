"""A few rows of arrays from Python, stored in the run so that an export does not need the arrays."""

import os
from typing import Any

import numpy as np

from tlkeras.data.domains import Domain
from tlkeras.data.input_shapes import by_column, columns
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.errors import UserError
from tlkeras.run_dir import replacing

FILE = "kept_rows.npz"
ROWS = 128


def write_kept_rows(path: str | os.PathLike, domain: Domain) -> None:
    """Writes inputs, labels and ids of up to 128 evenly spaced rows of each split, without conversion."""
    arrays: dict[str, Any] = {}
    for split, rows in domain.splits.items():
        rows = rows.spread(ROWS)
        inputs = rows.inputs.astype(str) if rows.kind == "files" else rows.inputs
        if rows.kind == "columns" and (files := rows.encoded) is not None:
            # NumPy would write objects as code, and the files may be gone later
            held = [contents(one) for one in files]
            arrays[f"lengths_{split}"] = np.array([len(one) for one in held])
            arrays[f"files_{split}"] = np.frombuffer(b"".join(held), np.uint8)
            inputs = rows.without_objects.inputs
        if rows.kind == "bytes":
            arrays[f"lengths_{split}"] = np.array([len(one) for one in inputs])
            inputs = np.frombuffer(b"".join(inputs), np.uint8)
        arrays[f"inputs_{split}"] = inputs
        arrays[f"ids_{split}"] = rows.ids.astype(str)
        if rows.labels is not None:
            arrays[f"labels_{split}"] = rows.labels
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_kept_rows(path: str | os.PathLike, like: Domain) -> Domain:
    """Returns the domain `like` with the rows that `write_kept_rows` wrote.

    Raises:
        UserError: There is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = dict(opened)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"The kept rows of the run cannot be read: {path} ({type(error).__name__})."
        ) from error
    splits = {}
    for name in arrays:
        kind, _, split = name.partition("_")
        if kind == "inputs":
            inputs = arrays[name].astype(object) if arrays[name].dtype.kind == "U" else arrays[name]
            if f"files_{split}" in arrays:  # pictures or sounds, which are the first part of a row
                held = _divided(arrays[f"files_{split}"], arrays[f"lengths_{split}"])
                inputs = columns({like.modality.made_of[0]: held, **by_column(inputs)})
            elif f"lengths_{split}" in arrays:
                inputs = _divided(inputs, arrays[f"lengths_{split}"])
            splits[split] = Rows(inputs, arrays.get(f"labels_{split}"), arrays[f"ids_{split}"].astype(object))
    return like.with_splits(splits)


def _divided(whole: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the contents of files that were joined, object `(n,)`."""
    ends, content = np.cumsum(lengths), whole.tobytes()
    return np.array([content[b:e] for b, e in zip([0, *ends[:-1]], ends, strict=True)], object)
