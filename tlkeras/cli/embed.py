"""Writes the feature vectors of files and folders, or finds the training images nearest to them."""

import sys
from pathlib import Path

from absl import flags as absl_flags

from tlkeras.errors import UserError
from tlkeras.runtime import import_tensorflow

USAGE = "tlkeras embed RUN PATH... [--output=FILE.npz|FILE.csv] [--neighbors=K]"


def define_flags(flags: absl_flags.FlagValues) -> None:
    """Defines the command's flags."""
    absl_flags.DEFINE_string(
        "output", None, "File to write, .npz or .csv; default is CSV on the terminal.", flag_values=flags
    )
    absl_flags.DEFINE_integer(
        "neighbors", 0, "Instead of features: the K nearest training images of each file.", lower_bound=0,
        flag_values=flags,
    )  # fmt: skip


def run(flags: absl_flags.FlagValues, arguments: list[str]) -> None:
    """Runs the command."""
    if len(arguments) < 2:
        received = " ".join(arguments) or "nothing"
        raise UserError(f"Name a run directory and at least one file or folder. Received: {received}")
    suffix = Path(flags.output).suffix if flags.output else ".csv"
    allowed = (".csv",) if flags.neighbors else (".csv", ".npz")
    if suffix not in allowed:
        raise UserError(f"--output must end in {' or '.join(allowed)}. Received: output={flags.output}")
    import_tensorflow()
    from tlkeras.retrieval import embed_files
    from tlkeras.saved_run import load_run

    saved = load_run(arguments[0])
    found = embed_files(saved, arguments[1:])
    for path, reason in found.skipped:
        print(f"tlkeras: skipped {path}: {reason}", file=sys.stderr)
    if suffix == ".npz":
        _write_npz(flags.output, found)
    else:
        _write_text(
            flags.output, _neighbours(saved, found, flags.neighbors) if flags.neighbors else _table(found)
        )
    if flags.output:
        what = "their nearest training images" if flags.neighbors else "their features"
        print(f"{len(found.names)} files and {what} written to {flags.output}")


def _write_npz(path: str, found) -> None:
    import numpy as np

    from tlkeras.run_dir import replacing

    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, features=found.features, names=np.array(found.names))


def _write_text(path: str | None, text: str) -> None:
    from tlkeras.run_dir import write_text

    write_text(path, text) if path else sys.stdout.write(text)


def _table(found) -> str:
    from tlkeras.evaluation.prediction_files import csv_text

    columns = ["file", *(f"feature_{i}" for i in range(found.features.shape[1]))]
    rows = [[name, *map(float, row)] for name, row in zip(found.names, found.features, strict=True)]
    return csv_text(columns, rows)


def _neighbours(saved, found, count: int) -> str:
    from tlkeras.evaluation.prediction_files import csv_text
    from tlkeras.retrieval import nearest_training_rows

    rows = [
        [name, rank, hit["id"], hit["label"], hit["similarity"]]
        for name, hits in zip(found.names, nearest_training_rows(saved, found.features, count), strict=True)
        for rank, hit in enumerate(hits, start=1)
    ]
    return csv_text(["file", "rank", "neighbor", "label", "similarity"], rows)
