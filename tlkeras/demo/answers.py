"""What a page shows of one input: all that a finished run says about it, as JSON values."""

import tempfile
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.demo.uploads import CHECKS
from tlkeras.errors import UserError
from tlkeras.evaluation.nearest_training_rows import TrainingRows, write_neighbors
from tlkeras.evaluation.prediction_files import records
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.shown_rows import keep_rows
from tlkeras.messages import as_text
from tlkeras.report.domain_section import shown_row
from tlkeras.run_dir.atomic import plain
from tlkeras.runs.retrieval import embed_files, training_rows
from tlkeras.runs.saved_run import SavedRun

_SHOWN = 5  # classes, or as many as a conformal set has
_NEIGHBORS = 6


class Answers:
    """Asks a finished run about one input after the other.

    Args:
        run: Finished run on pictures, sounds or texts.
        coverage: Share of inputs whose true class a conformal set should contain.

    Attributes:
        kind: Name of the modality: `image`, `sound` or `text`.

    Raises:
        UserError: The run takes inputs of another kind.
    """

    def __init__(self, run: SavedRun, coverage: float = 0.9):
        self.kind = run.modality.name
        if self.kind not in CHECKS:
            raise UserError(
                f"The page takes pictures, sounds and texts. Received: {run.path}, a run on "
                f"{run.modality.plural}"
            )
        self.run, self.coverage = run, coverage

    @cached_property
    def training(self) -> TrainingRows | str:
        """The training rows with their features, or the reason why they cannot be shown."""
        try:
            return training_rows(self.run)
        except UserError as error:
            return str(error)

    def of(self, content: bytes) -> dict[str, Any]:
        """Returns the answer to one input.

        Args:
            content: Content of a picture or of a sound file, or a text in UTF-8 (a pair with a tab between).

        Returns:
            `kind`, `prediction`, `probability`, `classes` (the most probable ones, with `name`, `probability`
            and `in_set`), `set` (the names in the conformal set, or None), `interval` (the
            bounds of each value of a regression, or None), `coverage`, `unlike` (the distance
            to the training rows, above 1 if it is too large, or None), `explanation` (name of the method),
            what `shown_row` returns of the input, and `notes`.

        Raises:
            UserError: The input is not allowed or cannot be read.
        """
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")  # what Pillow says of damaged files is in the error
            notes = CHECKS[self.kind](content)
            file = Path(folder, "input")
            file.write_bytes(content)
            try:
                predictions, _ = self.run.predict_files(file)
            except UserError as error:
                raise UserError(_about_the_input(str(error), file)) from None
            shown = self._shown(file, predictions)
        return plain({"kind": self.kind, **self._answered(predictions, notes), **shown, "notes": notes})

    def _answered(self, predictions: Predictions, notes: list[str]) -> dict[str, Any]:
        record = next(records(predictions))
        members, interval = self._conformal(predictions, notes)
        classes = _classes(predictions, members)
        unlike = predictions.unlike_training
        return {
            "prediction": as_text(record["prediction"], missing="none of the classes"),
            "probability": record["probability"] if isinstance(record["probability"], float) else None,
            "classes": classes,
            "set": None if members is None else [row["name"] for row in classes if row["in_set"]],
            "interval": interval,
            "coverage": self.coverage,
            "unlike": None if unlike is None else float(unlike[0]),
        }

    def _conformal(self, predictions: Predictions, notes: list[str]) -> tuple[Any, Any]:
        """Returns the classes that the input may have, bool `(k,)`, and the intervals `(k, 2)` of values.

        One of them is None, or both, with a note if the run has too few validation rows.
        """
        try:
            if predictions.task == "regression":
                return None, self.run.conformal_intervals(predictions, self.coverage)[0]
            if predictions.task != "multilabel":
                return self.run.conformal_sets(predictions, self.coverage)[0], None
        except UserError as error:
            notes.append(f"The plausible answers are not known: {error}")
        return None, None

    def _shown(self, file: Path, predictions: Predictions) -> dict[str, Any]:
        """Returns the input as the model sees it, with its heat map and its nearest training rows."""
        run = self.run
        inputs, _, _ = next(iter(run.file_batches(file)))
        first = _first(inputs)  # of a long sound its first window
        targets = None if predictions.task in ("multilabel", "regression") else predictions.predicted
        maps, method = run.modality.explain(run.model, first, targets, run.config.model.backbone)
        (entry,) = keep_rows(file.parent, ["input"], first, run.modality, maps)
        files = {name: file.parent / entry[name] for name in ("picture", "heat", "sound") if name in entry}
        if not isinstance(self.training, str):
            features = embed_files(run, file).features
            (near,) = write_neighbors(file.parent, ["input"], features, self.training, _NEIGHBORS)
            entry |= {"neighbors": near, "folder": file.parent}
        shown = shown_row(entry | files)
        unwanted = {*files, "neighbors", "folder"}
        return {"explanation": method} | {name: v for name, v in shown.items() if name not in unwanted}


def _classes(predictions: Predictions, members: np.ndarray | None) -> list[dict[str, Any]]:
    """Returns the most probable classes, and all of a conformal set, in the order of their probability."""
    if predictions.probabilities is None:
        return []
    row = predictions.probabilities[0]
    order = np.argsort(-row, kind="stable")
    count = max(_SHOWN, 0 if members is None else int(members.sum()))
    return [
        {
            "name": predictions.class_names[i],
            "probability": float(row[i]),
            "in_set": None if members is None else bool(members[i]),
        }
        for i in order[:count]
    ]


def _first(inputs: Any) -> Any:
    """Returns the first row of inputs `(n, ...)` or of a dict of them."""
    if isinstance(inputs, dict):
        return {name: part[:1] for name, part in inputs.items()}
    return inputs[:1]


def _about_the_input(reason: str, file: Path) -> str:
    """Returns the reason why an input cannot be read without the name of the temporary file."""
    reason = reason.rpartition(f"{file}: ")[2].partition(". Received: ")[0]
    return f"The file {reason.removeprefix(str(file)).strip()}."
