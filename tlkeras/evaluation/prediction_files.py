"""Predictions as CSV files, which are safe to open in a spreadsheet, and as JSON lines."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data import Domain
from tlkeras.evaluation.predictions import Predictions
from tlkeras.run_dir import write_text

# A spreadsheet treats a cell with one of these first characters as a formula. The last four are full-width.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def escape_cell(value: Any) -> Any:
    """Returns `value`. Text that a spreadsheet would run as a formula gets a leading apostrophe.

    Numbers are not changed, because a negative number is not a formula. See OWASP, "CSV Injection".
    """
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def one_line(text: str) -> str:
    """Returns a text as one line of valid UTF-8 that is not empty, for a tag or a cell of a table."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split()) or "-"


def csv_text(columns: list[str], rows: list[list[Any]]) -> str:
    """Returns a CSV with escaped cells and line feeds between lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([escape_cell(cell) for cell in row] for row in (columns, *rows))
    return text.getvalue()


def write_skipped(domains: Mapping[str, Domain], path: str | os.PathLike) -> int:
    """Writes a list of the files that `data.on_error=skip` left out, with domain and reason.

    Nothing is written if there are none.

    Returns:
        Number of these files.
    """
    rows = [[name, str(row), reason] for name, domain in domains.items() for row, reason in domain.skipped]
    if rows:
        write_text(path, csv_text(["domain", "file", "reason"], rows))
    return len(rows)


def predictions_text(
    predictions: Predictions,
    format: str = "csv",
    *,
    with_label: bool = False,
    covered: np.ndarray | None = None,
) -> str:
    """Returns predictions as text with file (or id), label (if known), prediction and probability.

    In CSV, several labels of a row and their probabilities are joined by `|`. `probability` is that of the
    predicted class. It is empty for regression. The last column is `unlike_training`, if it was measured.

    Args:
        predictions: Predictions to write.
        format: Format of the text: `csv`, or `jsonl` with one JSON object per row and the probabilities of
            all classes.
        with_label: Whether a CSV has an empty column of labels if the labels are not known.
        covered: Conformal sets, bool `(n, k)`, for a column `set`; or for regression conformal intervals
            `(n, k, 2)`, for the columns `low` and `high`; or None.
    """
    if format == "jsonl":
        return "".join(json_lines(predictions, covered))
    name = id_column(predictions)
    columns = [name, *(["label"] if with_label or predictions.labels is not None else [])]
    columns += ["prediction", "probability"]
    if covered is not None:
        columns += ["set"] if covered.ndim == 2 else ["low", "high"]
    if predictions.unlike_training is not None:
        columns += ["unlike_training"]
    rows = [[_cell(record.get(column)) for column in columns] for record in records(predictions, covered)]
    return csv_text(columns, rows)


def write_csv(predictions: Predictions, path: str | os.PathLike, *, with_label: bool = False) -> None:
    """Writes `predictions.csv`; see `predictions_text`."""
    write_text(path, predictions_text(predictions, with_label=with_label))


def write_json_lines(predictions: Predictions, path: str | os.PathLike) -> None:
    """Writes one JSON object per row; see `predictions_text`."""
    write_text(path, predictions_text(predictions, "jsonl"))


def json_lines(predictions: Predictions, covered: np.ndarray | None = None) -> Iterator[str]:
    """Yields one line of JSON per row; see `predictions_text`."""
    for record, row in zip(records(predictions, covered), _probability_rows(predictions), strict=True):
        if row is not None:
            record["probabilities"] = {
                name: _finite(value) for name, value in zip(predictions.class_names, row, strict=True)
            }
        yield json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def records(predictions: Predictions, covered: np.ndarray | None = None) -> Iterator[dict[str, Any]]:
    """Yields a dict per row with the columns of `predictions_text`."""
    name = id_column(predictions)
    predicted = predictions.predicted
    for row in range(len(predictions)):
        record: dict[str, Any] = {name: predictions.ids[row]}
        if predictions.labels is not None:
            record["label"] = _answer(predictions, predictions.labels[row])
        record["prediction"] = _answer(predictions, predicted[row])
        record["probability"] = _probability(predictions, row, predicted[row])
        if covered is not None and covered.ndim == 2:
            record["set"] = [predictions.class_names[index] for index in np.flatnonzero(covered[row])]
        elif covered is not None:
            record["low"], record["high"] = (_answer(predictions, bound) for bound in covered[row].T)
        if predictions.unlike_training is not None:
            record["unlike_training"] = _finite(predictions.unlike_training[row])
        yield record


def id_column(predictions: Predictions) -> str:
    """Returns `"file"` if the names of the rows look like files, else `"id"`."""
    first = predictions.ids[0] if len(predictions) else ""
    return "file" if "/" in first or Path(first).suffix else "id"


def _answer(predictions: Predictions, value: Any) -> Any:
    if predictions.task == "regression":
        values = [_finite(v) for v in np.atleast_1d(value)]
        return values[0] if len(values) == 1 else values
    names = predictions.class_names
    if predictions.task == "multilabel":
        return [names[index] for index in np.flatnonzero(value)]
    return names[value]


def _probability(predictions: Predictions, row: int, predicted: Any) -> Any:
    if predictions.probabilities is None:
        return None
    if predictions.task == "multilabel":
        return [_finite(value) for value in predictions.probabilities[row][predicted]]
    return _finite(predictions.probabilities[row, predicted])


def _probability_rows(predictions: Predictions):
    if predictions.probabilities is None:
        return [None] * len(predictions)
    return predictions.probabilities


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _cell(value: Any) -> Any:
    return "|".join(map(str, value)) if isinstance(value, list) else value
