"""Reads a run directory for the report. Missing files give empty values."""

import contextlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tlkeras.config import MetricConfig
from tlkeras.config.loading import as_of_today
from tlkeras.evaluation import calibration
from tlkeras.evaluation.embedding_file import read_embedding
from tlkeras.evaluation.predictions import Predictions
from tlkeras.maybe import MaybeNone
from tlkeras.run_dir import CheckpointStore, RunDir


@dataclass(frozen=True)
class StageRecord:
    """The record of one stage.

    Attributes:
        name: Name of the stage in the config.
        epochs: One dict per epoch, with `epoch`, `step` (over all stages) and the metrics.
        facts: Ledger event of the stage's end. It is empty if the stage has not ended.
    """

    name: str
    epochs: list[dict[str, float]]
    facts: dict[str, Any]


class RunRecord:
    """All information in a run directory.

    Args:
        run_dir: Directory of the run.
    """

    def __init__(self, run_dir: RunDir):
        self.run_dir = run_dir
        self.path = run_dir.path
        self.config: dict[str, Any] = as_of_today(run_dir.read_json(run_dir.config))
        self.name: str = self.config.get("name", self.path.name)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, devices, classes and data. Empty if the run ended before the manifest was written."""
        return self._json(self.run_dir.manifest) or {}

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """All events of the ledger."""
        return self.run_dir.ledger.records()

    @cached_property
    def stages(self) -> list[StageRecord]:
        """The stages that have started, in order."""
        ends = {event["stage"]: event for event in self.events if event["event"] == "completed"}
        folders = sorted((self.path / "stages").glob("[0-9][0-9]*_*"))
        names = [folder.name.partition("_")[2] for folder in folders]
        return [
            StageRecord(name, [_numbers(row) for row in self.run_dir.read_rows(folder / "metrics.csv")],
                        ends.get(name, {}))
            for name, folder in zip(names, folders, strict=True)
        ]  # fmt: skip

    @cached_property
    def chosen(self) -> dict[str, Any] | None:
        """The epoch whose weights were kept: `stage`, `epoch`, `step`, and `monitor` with its `value`.

        It is None if no epoch was chosen (yet); the model then has the weights of the last epoch.
        """
        with contextlib.suppress(ValueError, KeyError):  # a damaged file is reported when the run is resumed
            state = CheckpointStore(self.path / "stages" / "best").state()
            if state is not None and state["stage"] < len(self.stages):
                stage = self.stages[state["stage"]]
                steps = {row["epoch"]: row["step"] for row in stage.epochs}
                keys = ("epoch", "monitor", "value")
                return {"stage": stage.name, "step": steps.get(state["epoch"])} | {k: state[k] for k in keys}
        return None

    @cached_property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The metrics, `{domain: {split: {...}}}`. Empty if nothing was evaluated yet."""
        return self._json(self.run_dir.evaluation / "metrics.json") or {}

    @cached_property
    def temperature(self) -> float:
        """The temperature by which `predict` and exports divide the logits. 1 if there is none."""
        return calibration.temperature_of(self.run_dir)

    def calibrated_error(self, domain: str) -> float | None:
        """Returns the expected calibration error of `predict` on the shown split, or None without one."""
        split = self.shown_split(domain)
        error = self.metrics[domain].get(split, {}).get("expected_calibration_error")
        if error is None or self.temperature == 1 or (found := self.predictions(domain, split)) is None:
            return error
        calibrated = found.at_temperature(self.temperature)
        return calibration.expected_calibration_error(*calibration.confidence_and_hits(calibrated))

    @cached_property
    def verdict(self) -> dict[str, Any] | None:
        """The verdict against the first twin, or None."""
        return self._json(self.run_dir.evaluation / "verdict.json")

    @cached_property
    def health(self) -> dict[str, dict[str, Any]]:
        """The findings of the data check, by domain."""
        return self._json(self.run_dir.evaluation / "data_health.json") or {}

    @property
    def distances(self) -> dict[str, dict[str, float]]:
        """The distances between the domains `before` and `after` training."""
        return {when: self._domains[when] for when in ("before", "after") if when in self._domains}

    @property
    def class_shares(self) -> list[tuple[str, float, float | None]]:
        """Each class, its share of the source labels, and its share of the predictions on the target."""
        labels = self._domains.get("source_labels") or {}
        predicted = self._domains.get("target_predictions") or {}
        return [(name, share, predicted.get(name)) for name, share in labels.items()]

    @property
    def class_shares_while_training(self) -> tuple[list[int], dict[str, list[float]]]:
        """First, middle and last epoch of the last adapting stage, and the shares of each class in them."""
        files = sorted((self.path / "stages").glob("[0-9][0-9]*_*/class_shares.csv"))
        rows = self.run_dir.read_rows(files[-1]) if files else []
        epochs = sorted({int(row["epoch"]) for row in rows})
        epochs = sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]}) if epochs else []
        shares: dict[str, list[float]] = {}
        for row in rows:
            if int(row["epoch"]) in epochs:
                shares.setdefault(row["class"], []).append(float(row["target_predictions"]))
        return epochs, shares

    @cached_property
    def _domains(self) -> dict[str, dict[str, float]]:
        return self._json(self.run_dir.evaluation / "domains.json") or {}

    @property
    def is_complete(self) -> bool:
        """Whether the run was evaluated and all stages that it has have ended."""
        return bool(self.metrics) and all(stage.facts for stage in self.stages)

    @property
    def training_seconds(self) -> float:
        """Seconds that the stages took, including feature extraction."""
        keys = ("training_seconds", "extraction_seconds")
        return float(sum(stage.facts.get(key) or 0.0 for stage in self.stages for key in keys))

    @property
    def task(self) -> str:
        """The task in the config of the data, such as `multiclass`."""
        return self.config.get("data", {}).get("task", "multiclass")

    @property
    def judged_by(self) -> str | None:
        """The metric that the config names, or None."""
        return self.config.get("judged_by")

    @property
    def judge(self) -> MetricConfig | None:
        """The metric of `judged_by` with its options, or None."""
        listed = {metric["name"]: metric for metric in self.config.get("metrics", [])}
        name = self.judged_by
        return None if name is None else MetricConfig(**listed.get(name, {"name": name}))

    def folder(self, domain: str) -> Path:
        """Returns the folder with the evaluation of a domain."""
        return self.run_dir.evaluation_of(domain)

    def shown_split(self, domain: str) -> str | MaybeNone:
        """Returns the split that the report shows for a domain: test, else val, else train."""
        found = self.metrics.get(domain, {})
        return next((split for split in ("test", "val", "train") if found.get(split, {}).get("rows")), None)

    def predictions(self, domain: str, split: str) -> Predictions | MaybeNone:
        """Returns the predictions of a split, or None if they were not kept."""
        path = self.folder(domain) / f"predictions_{split}.npz"
        return Predictions.load(path) if path.is_file() else None

    def gallery(self, domain: str) -> list[dict[str, Any]]:
        """Returns the index of the stored rows of a domain, with `picture` and `heat` as paths.

        Entries with missing files are left out. Texts have `words` and `weights` instead of files.
        """
        folder = self.folder(domain) / "gallery"
        found = []
        for entry in self._json(folder / "index.json") or []:
            files = {name: folder / entry[name] for name in ("picture", "heat", "sound") if name in entry}
            if all(path.is_file() for path in files.values()):
                found.append(entry | {"folder": folder} | files)
        return found

    def embedding(self, when: str) -> dict[str, Any] | None:
        """Returns the embedding `before` or `after` training."""
        path = self.run_dir.evaluation / f"embedding_{when}.npz"
        return read_embedding(path) if path.is_file() else None

    def _json(self, path: Path) -> Any:
        return self.run_dir.read_json(path) if path.is_file() else None


def read_run(path: str | os.PathLike) -> RunRecord:
    """Returns the record of a run directory.

    Raises:
        UserError: The path is not a run directory, or a file in it is damaged.
    """
    return RunRecord(RunDir(path).require_run())


def as_json(value: Any) -> str:
    """Returns a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _numbers(row: dict[str, str]) -> dict[str, float]:
    numbers = {}
    for name, text in row.items():
        try:
            numbers[name] = float(text)
        except (TypeError, ValueError):
            continue  # an empty cell: not measured in this epoch
    return numbers
