"""A finished run on disk: its model, its metrics, and predictions with it."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from tlkeras.backend import set_determinism
from tlkeras.config import DataConfig, ExperimentConfig, apply_overrides, assignments, load_config
from tlkeras.data import Domain, check_files, load_domain
from tlkeras.data.array_form import ArrayForm
from tlkeras.data.array_parts import inputs_like_training
from tlkeras.data.fact_store import kept_in
from tlkeras.data.files import FILES_AT_ONCE, require_readable
from tlkeras.data.input_shapes import Shape, shape_from_json
from tlkeras.data.list_files import batches_in_order, list_batches, lists_in
from tlkeras.data.modalities import MODALITIES, Modality
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions, calibration, conformal, unlike_training
from tlkeras.evaluation.evaluate import Answering, measure, predict_domains, with_features, write_evaluation
from tlkeras.evaluation.nearest_training_rows import trained_on
from tlkeras.evaluation.view_pairs import pair_metrics
from tlkeras.models.weights.hub import run_on_hub
from tlkeras.prepare import read_domains
from tlkeras.run_dir import RunDir
from tlkeras.runs.manifest import require_same_data
from tlkeras.runs.model_file import load_model


def load_run(path: str | os.PathLike) -> "SavedRun":
    """Opens the run in a directory that `tlkeras train` wrote.

    Args:
        path: Path of the directory, or `hf://USER/NAME` for a run that `tlkeras push` published.

    Returns:
        The run.

    Raises:
        UserError: The path is not a run directory, the run has no model yet, or there is no such run on the
            Hub.
    """
    path = run_on_hub(path) if isinstance(path, str) and path.startswith("hf://") else path
    run_dir = RunDir(path).require_run().require_one_run()
    if not run_dir.best_model.is_file():
        raise UserError(
            f"The run in {run_dir.path} has no best.keras yet: start `tlkeras train` again to finish it."
        )
    return SavedRun(run_dir)


class SavedRun:
    """A finished run.

    Args:
        run_dir: Run directory.

    Attributes:
        path: Path of the run directory.
    """

    def __init__(self, run_dir: RunDir):
        self.run_dir = run_dir
        self.path = run_dir.path

    @cached_property
    def config(self) -> ExperimentConfig:
        """The config with all defaults filled in."""
        return load_config(str(self.run_dir.config))

    @property
    def data_config(self) -> ExperimentConfig:
        """The config for reading the data again, with the files that the run keeps, e.g. a tokenizer."""
        data = self.modality.config_of_run(self.config.data, self.path)
        return self.config.model_copy(update={"data": data})

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest: versions, devices, classes, data fingerprints and more."""
        return self.run_dir.read_json("manifest.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of `evaluation/metrics.json`: `{domain: {split: {...}}}`."""
        return self.run_dir.read_json("evaluation/metrics.json")

    @cached_property
    def model(self) -> keras.Model:
        """The trained model, from raw inputs to logits."""
        return load_model(self.run_dir.best_model)

    @property
    def modality(self) -> Modality:
        """The kind of input that the model takes, such as images."""
        return MODALITIES.get(self.manifest["modality"]).of_run(self.path)

    def file_batches(self, paths: str | os.PathLike | Iterable[str | os.PathLike]) -> Iterator[tuple]:
        """Yields batches of the inputs of files and folders.

        Args:
            paths: Files and folders. Folders are searched for files of the kind that the model reads.

        Yields:
            Inputs `(b, ...)` with b of at most 32, their names, and `(name, reason)` of unreadable files.

        Raises:
            UserError: A path does not exist or holds no readable file, or the model takes no files.
        """
        if lists := lists_in(paths):
            return list_batches(lists, self._reading, self.modality, batch_size=FILES_AT_ONCE)
        return self.modality.file_batches(paths, self._reading, batch_size=FILES_AT_ONCE)

    @property
    def runs(self) -> dict[str, "SavedRun"]:
        """The runs inside this one, by relative path: `fold_0`, `source`, `twin`, `seeds/1`, ..."""
        folders = ("*", "twins/*", "baselines/*", "seeds/*")  # `baselines` in runs of version 0.1
        places = sorted(place for folder in folders for place in self.path.glob(folder))
        inside = [RunDir(place) for place in places if RunDir(place).is_run]
        return {inner.path.relative_to(self.path).as_posix(): type(self)(inner) for inner in inside}

    @cached_property
    def before_and_after(self) -> dict[str, Any]:
        """Metrics before and after the target trains: `{task: {"before": {split: {...}}, "after": ...}}`."""
        return self.run_dir.read_json("evaluation/tasks.json")

    def adaptation_target(self, target: DataConfig) -> Domain:
        """Returns a target domain that is read like the data of the run, without reading the latter.

        Args:
            target: Config of the target. It may have no labels.

        Returns:
            Domain with the splits of the target and the classes of the run.

        Raises:
            UserError: The rows or the labels do not fit the run.
        """
        data = self.modality.resolved(self.data_config.data, self.input_shape)
        found = load_domain(
            target.following(data), seed=self.config.seed, name="target", by_hash=True,
            class_names=self.class_names, kept_in=kept_in(self.config.cache),
        )  # fmt: skip
        self.modality.check_kind("target", found.modality)
        self.modality.check_domain("target", found.input_shape, self.input_shape)
        return check_files(found)[0]

    def domains(self, config: ExperimentConfig | None = None) -> dict[str, Domain]:
        """Reads the data of the run again.

        Args:
            config: Config with other data, or None for the data of the run.

        Returns:
            Domains by name: `source` and `target`, or only one of them.

        Raises:
            UserError: The data cannot be read.
        """
        config = config or self.data_config
        if "adapted" in self.manifest:
            return {"target": self.adaptation_target(config.adaptation.target)}
        return read_domains(config)

    @property
    def temperature(self) -> float:
        """The temperature by which `predict` and exports divide the logits of `best.keras`; 1 without one.

        It was fitted on validation rows. `export.calibrate=false` leaves it out.
        """
        return calibration.temperature_of(self.run_dir)

    @cached_property
    def unlike_training(self) -> unlike_training.UnlikeTraining | None:
        """The score of rows that are unlike the training rows. None if `evaluate` must measure it first."""
        file = self.run_dir.evaluation / unlike_training.FILE
        return unlike_training.UnlikeTraining.load(file) if file.is_file() else None

    @property
    def input_shape(self) -> Shape:
        """The shape of one input of the model; of several inputs a dict of shapes."""
        return shape_from_json(self.manifest["input_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.manifest["class_names"])

    def predict(self, x: np.ndarray, batch_size: int = 32) -> Predictions:
        """Predicts raw inputs.

        The logits are those of `best.keras` divided by `temperature`, so the probabilities are calibrated.
        `unlike_training` of the predictions is set if the run has measured it.

        Args:
            x: Raw inputs. For a run on arrays, they have the form of the training arrays, and are scaled
                and resized in the same way. Otherwise they are images `(n, height, width, 3)` in 0..255 at
                the model's size, or vectors `(n, d)`, or a list of texts, or what else the run's modality
                takes. Several inputs are a dict or a DataFrame with the names of the training data. A
                long sound in a file is answered by the mean over its windows.
            batch_size: Number of rows per step.

        Returns:
            Predictions of the `n` rows, without labels.

        Raises:
            UserError: `x` is not a batch, its rows have another size, or its values are in another range.
        """
        form = ArrayForm.read(self.manifest.get("arrays"))
        inputs = inputs_like_training(x, self._reading, self.modality, form, self.input_shape)
        rows = Rows(inputs, None, np.arange(len(inputs)), scan=self.modality.scan(self._reading))
        batches = batches_in_order(rows, self._reading, self.modality, batch_size)
        answers, owners = zip(*((self._answers(batch), places) for batch, places in batches), strict=True)
        owners = np.concatenate(owners).tolist()
        return self._predictions(self.modality.combined(np.concatenate(answers), owners)[0])

    @property
    def validation(self) -> Predictions:
        """The predictions on the validation rows, as `predict` gives them.

        Raises:
            UserError: The run has no validation rows.
        """
        file = self.run_dir.evaluation / "predictions_val.npz"
        if not file.is_file():
            raise UserError(
                "A coverage needs validation rows with labels. Received: the run "
                f"{self.path}, which has no validation rows"
            )
        return Predictions.load(file).at_temperature(self.temperature)

    def predict_files(
        self, paths: str | os.PathLike | Iterable[str | os.PathLike]
    ) -> tuple[Predictions, list[tuple[str, str]]]:
        """Predicts files, all files in folders, or the rows of lists.

        Args:
            paths: Files and folders. Folders are searched for files of the kind that the model reads. A list
                (CSV, JSON lines, Parquet) has the columns of the training data; labels are not needed.

        Returns:
            Predictions with the names of the files as `ids`, and `(name, reason)` of each file that cannot be
            read.

        Raises:
            UserError: A path does not exist, no file can be read, or the model takes vectors.
        """
        answers, names, skipped = self.outputs_for_files(self._answers, paths)
        return self._predictions(answers, ids=names), skipped

    def conformal_sets(
        self, predictions: Predictions, coverage: float = 0.9, kind: str = "threshold"
    ) -> np.ndarray:
        """Returns the classes that each row may have; see `evaluation.conformal`.

        Args:
            predictions: Predictions of this run, as `predict` returns them.
            coverage: Share of rows whose set holds the true class, between 0 and 1.
            kind: Kind of the sets: `threshold`, `adaptive` or `regularized`.

        Returns:
            Whether each class is in the set of each row, bool `(n, k)`.

        Raises:
            UserError: The task has other answers than one class per row, or the run has too few validation
                rows.
        """
        return conformal.conformal_sets(self.validation, predictions, coverage, kind)

    def conformal_intervals(self, predictions: Predictions, coverage: float = 0.9) -> np.ndarray:
        """Returns an interval for each value of a regression.

        Args:
            predictions: Predictions of this run, as `predict` returns them.
            coverage: Share of rows whose true value is in the interval, between 0 and 1.

        Returns:
            Lower and upper bound of each value, float64 `(n, k, 2)`.

        Raises:
            UserError: The task is not a regression, or the run has too few validation rows.
        """
        return conformal.conformal_intervals(self.validation, predictions, coverage)

    def outputs_for_files(
        self, answer: Callable[[Any], np.ndarray], paths: str | os.PathLike | Iterable[str | os.PathLike]
    ) -> tuple[np.ndarray, list[str], list[tuple[str, str]]]:
        """Returns what a function of the run's inputs puts out for files and folders.

        Args:
            answer: Function from a batch of inputs `(b, ...)` to a float array `(b, ...)`, such as
                `predict_on_batch` of the model or of a part of it.
            paths: Paths of files and folders, or a single path.

        Returns:
            Outputs `(n, ...)`, the names of their files, and `(name, reason)` of those that cannot be read.

        Raises:
            UserError: A path does not exist, no file can be read, or the model takes no files.
        """
        outputs, readable, skipped = [], [], []
        for inputs, names, unreadable in self.file_batches(paths):
            skipped += unreadable
            if names:
                outputs.append(answer(inputs))
                readable += names
        require_readable(readable, skipped)
        return *self.modality.combined(np.concatenate(outputs), readable), skipped

    def evaluate(self, overrides: str | Iterable[str] = ()) -> dict[str, Any]:
        """Evaluates the run on its data, or on other data if `overrides` change the config.

        Without overrides, `evaluation/` is replaced. With the versions and devices of the run, the metrics
        are the same as before. Splits without labels have no metrics.

        Args:
            overrides: Changes of the config, each `path=value`, e.g. `data.source=folder:OTHER`.

        Returns:
            Metrics by domain and split, as in `metrics`: `{"source": {"test": {"accuracy": ..., ...}}}`.

        Raises:
            UserError: The classes of the data are not those of the run, or without overrides, the data have
                changed since the run.
        """
        set_determinism(self.config.runtime)
        overrides = assignments(overrides)
        config = apply_overrides(self.data_config, overrides)
        domains = self.domains(config)
        names = next(iter(domains.values())).class_names
        if names != self.class_names:
            raise UserError(
                f"The data must have the classes of the run: {', '.join(self.class_names)}. "
                f"Received: {', '.join(names)}"
            )
        if not overrides:
            advice = (
                "Name other data with --set data.source=... This does not change the evaluation of the run."
            )
            require_same_data(self.manifest, domains, advice)
        evaluated = predict_domains(self.model, domains, self.manifest["batch_size"])
        measured = pair_metrics(self.model, domains, config, self.manifest["batch_size"])
        if overrides:
            return measure(evaluated, config) | measured
        unlike = self.run_dir.evaluation / unlike_training.FILE
        if not unlike.is_file():  # runs of earlier versions have none
            training = trained_on(self.model, domains, evaluated, config)
            unlike_training.write_unlike_training(unlike, training.values(), evaluated)
            for fact in ("unlike_training", "_answering"):
                self.__dict__.pop(fact, None)
        return write_evaluation(self.run_dir, evaluated, config, measured)

    @property
    def _reading(self) -> DataConfig:
        """The data config for reading inputs, with the actual image size."""
        return self.modality.resolved(self.config.data, self.input_shape)

    def _answers(self, inputs: Any) -> np.ndarray:
        """Returns logits `(b, k)`. If the run has a score of unlike rows, it is one more column."""
        outputs = self._answering.predict_on_batch(inputs)
        if self.unlike_training is None:
            return outputs
        logits, features = (outputs[name].reshape(len(outputs[name]), -1) for name in ("logits", "features"))
        return np.column_stack([logits, self.unlike_training.score(features)])

    @cached_property
    def _answering(self) -> Answering:
        return Answering(self.model if self.unlike_training is None else with_features(self.model))

    def _predictions(self, answers: np.ndarray, ids=None) -> Predictions:
        found = Predictions.from_logits(
            answers if self.unlike_training is None else answers[:, :-1],
            task=self.manifest["task"],
            ids=ids,
            class_names=self.class_names,
        )
        unlike = None if self.unlike_training is None else answers[:, -1]
        return replace(found, unlike_training=unlike).at_temperature(self.temperature)


def predict(run: str | os.PathLike, paths: str | os.PathLike | Iterable[str | os.PathLike]) -> Predictions:
    """Opens a run and predicts files, all files in folders, or the rows of lists.

    Args:
        run: Path of a run directory.
        paths: Paths of files and folders, or a single path. Files that cannot be read are left out.
            `SavedRun.predict_files` also returns their names.

    Returns:
        Predictions with the names of the files as `ids`.

    Raises:
        UserError: The path is not a run directory, a path does not exist, or no file can be read.
    """
    return load_run(run).predict_files(paths)[0]
