"""The log of class shares while a stage adapts: predictions on the target and labels of the source."""

from pathlib import Path

import keras

from tlkeras.evaluation.prediction_files import csv_text
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.callbacks import StepCounter

CLASS_SHARES = "class_shares.csv"
_COLUMNS = ["epoch", "step", "class", "source_labels", "target_predictions"]


class ClassSharesLog(keras.callbacks.Callback):
    """Writes the class shares of each epoch to class_shares.csv of the stage, one line per epoch and class.

    The predictions are those of the training steps on the target rows of the epoch. The labels are those of
    the source rows of the epoch. All workers count, and only the chief writes.

    Args:
        run_dir: Run directory.
        folder: Folder of the stage.
        parts: `Parts` of the run.
        counter: `StepCounter` of the stage.

    Attributes:
        newest: Shares `{"source_labels": (k,), "target_predictions": (k,)}` of the last epoch. Empty if the
            stage does not adapt or has no classes.
    """

    def __init__(self, run_dir: RunDir, folder: Path, parts: Parts, counter: StepCounter):
        super().__init__()
        self.run_dir = run_dir
        self.path = folder / CLASS_SHARES
        self.parts = parts
        self.counter = counter
        self.newest: dict = {}
        self._lines: list[list] = []

    def on_train_begin(self, logs=None):
        done = [row for row in self.run_dir.read_rows(self.path) if int(row["epoch"]) <= self.counter.epoch]
        self._lines = [[row[column] for column in _COLUMNS] for row in done]

    def on_epoch_end(self, epoch, logs=None):
        counted = (getattr(term.own, "histogram", None) for term in self.model.terms)
        histogram = next((found for found in counted if found is not None), None)  # None if no term adapts
        if histogram is None or self.parts.source.task != "multiclass":
            return
        shares = histogram.shares()
        self.newest = {"source_labels": shares["source"], "target_predictions": shares["target"]}
        place = [epoch + 1, self.counter.step_of_run]
        columns = zip(self.parts.source.class_names, *self.newest.values(), strict=True)
        self._lines += [[*place, name, *(repr(float(share)) for share in both)] for name, *both in columns]
        if self.parts.runtime.is_chief:
            self.run_dir.write_text(self.path, csv_text(_COLUMNS, self._lines))
