"""Ranks starting points for transfer: scores of many candidates on cached features, without fine-tuning."""

import hashlib
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras import __version__, messages
from tlkeras.backend import check_single_process, start
from tlkeras.config import ExperimentConfig
from tlkeras.config.data import ALIKE_IN_TASKS
from tlkeras.config.loading import as_of_today
from tlkeras.data import check_files, load_domain
from tlkeras.data.fact_store import kept_in
from tlkeras.data.modalities import Text
from tlkeras.data.roles import Role
from tlkeras.data.splits import limited
from tlkeras.errors import UserError
from tlkeras.evaluation.domain_distances import DISTANCES
from tlkeras.evaluation.named_metrics import make_metrics
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import score_of
from tlkeras.evaluation.transfer_scores import SCORES
from tlkeras.features.cache import FeatureCache, Request
from tlkeras.methods.probe.probes import cross_validated, held_out_logits
from tlkeras.models.probabilities import softmax
from tlkeras.prepare import with_tokenizer
from tlkeras.run_dir import (
    RunDir,
    SharedWork,
    check_place,
    disk_errors,
    refuse_differences,
    write_json,
    write_text,
)
from tlkeras.studies.candidate_networks import candidate_network, head_of_weights, image_size, top_model
from tlkeras.studies.candidates import Candidate, parse_candidates
from tlkeras.studies.recommendation import draw, recommend

FEATURE_SCORES = ("logme", "h_score", "regularized_h_score", "transrate")
HEAD_SCORES = ("leep", "nce")
COLUMNS = ("candidate", "weights", "probe_accuracy", "logme", "leep", "nce", "h_score",
           "regularized_h_score", "transrate", "features", "parameters")  # fmt: skip
TABLE = "ranking.csv"
_FILE = "ranking.json"
_WEIGHT_FILES = ("best.keras", "*.h5", "*.safetensors", "*.bin")


def rank(
    config: ExperimentConfig,
    candidates: str,
    workdir: str | os.PathLike,
    *,
    rows: int = 2000,
    seconds: float | None = None,
) -> list[dict[str, Any]]:
    """Scores candidates on the training rows of a config, and writes a table, a picture and a recommendation.

    Several processes with the same workdir, on one machine or on several, divide the candidates and return
    the same rows. Scores stay in the folder, so that the same ranking, or one of other candidates on the same
    data, computes only what is missing.

    Candidates are ordered by the accuracy of a cross-validated logistic regression on the features
    (Kornblith et al. 2019), or by its metric `judged_by`, and by LogME if that is equal. LEEP and NCE need
    the source model's own head, and are empty for candidates without one. Features come from the cache that
    runs share. With `adaptation.target` or `tasks.source`, the table also holds the distances between that
    data and the config's.

    Args:
        config: Config of the target task. Its model and stages are not trained.
        candidates: Candidates as `NAME[:WEIGHTS],...`. See `parse_candidates`.
        workdir: Folder for `ranking.csv`, `ranking.png`, `recommendation.txt` and `scores/`.
        rows: Largest number of training rows to use, evenly from all classes.
        seconds: Time after which no further candidate is started. The first is always started. None means
            no limit.

    Returns:
        The rows of `ranking.csv`, best first. Failed candidates come last, with the reason in `error`.

    Raises:
        UserError: A name, data or weights do not exist, the task has no classes, or the workdir holds the
            ranking of another config.
    """
    if config.data.task not in ("multiclass", "binary"):
        raise UserError(
            f"rank scores candidates for tasks with one class per row. Received: data.task={config.data.task}"
        )
    if config.model.beside:
        raise UserError(
            "rank scores backbones for rows of one part: pictures, texts or sounds alone, or columns alone. "
            f"Received: model.beside.{', model.beside.'.join(config.model.beside)}"
        )
    check_single_process("rank")
    folder = Path(workdir).expanduser()
    as_json = {"config": config.model_dump(mode="json"), "rows": rows}
    _check(folder, as_json)
    chosen = parse_candidates(candidates, config)
    runtime = start(config.runtime, config.seed)
    scorer = _Scorer(config, runtime, rows)
    scorer.read(chosen[0])  # an error in the data would affect all candidates
    with SharedWork(folder) as shared:
        shared.once(folder / _FILE, lambda path: write_json(path, as_json))
        _check(folder, as_json)  # another ranking may have begun here at the same time
        files = {candidate: folder / "scores" / f"{scorer.key(candidate)}.json" for candidate in chosen}
        failures = _score_all(scorer, files, shared, seconds)
    table, right = [], {}
    for candidate, file in files.items():
        if file.is_file():
            scored = RunDir(folder).read_json(file)
            table.append(scored["row"])
            right[candidate.title] = np.asarray(scored["right"])
        else:
            error = failures.get(file.stem, "there was no time left for it")
            row = {"candidate": candidate.name, "weights": candidate.weights or "none", "error": error}
            table.append(row)
    if not right and len(chosen) == 1:
        raise UserError(table[0]["error"])
    if not right:
        raise UserError(f"No candidate could be scored. The last error: {table[-1]['error']}")
    metric = config.judged_by or "accuracy"
    table = _ordered(table, f"probe_{metric}")
    _write(folder, table, right, metric)
    return table


def _check(folder: Path, as_json: dict[str, Any]) -> None:
    """Checks the place without writing. Raises `UserError` if it holds the ranking of another config."""
    with disk_errors(folder):
        known_by = TABLE if (folder / TABLE).is_file() else _FILE  # an earlier version wrote only the table
    check_place(folder, known_by, "ranking")
    if not (folder / _FILE).is_file():
        return
    there = RunDir(folder).read_json(_FILE)
    there["config"] = as_of_today(there["config"])
    refuse_differences(folder, "ranking", as_json, there)


def _score_all(
    scorer: "_Scorer", files: dict[Candidate, Path], shared: SharedWork, seconds: float | None
) -> dict[str, str]:
    """Scores the candidates without a file. Returns the reasons of those that failed, by the file's name."""
    by_key = {file.stem: (candidate, file) for candidate, file in files.items()}
    began = time.monotonic()

    def score(key: str) -> str:
        candidate, file = by_key[key]
        messages.note(f"[{list(by_key).index(key) + 1}/{len(by_key)}] {candidate.title}")
        try:
            row, right = scorer.score(candidate)
        except UserError as error:
            messages.note(f"    left out: {error}")
            return str(error)
        # not `write_json`, which would write a score that is not a number as None
        write_text(
            file, json.dumps({"row": row, "right": right.tolist()}, default=lambda number: number.item())
        )
        return ""

    def is_finished(key: str) -> bool:
        late = seconds is not None and time.monotonic() - began > seconds
        if late and any(file.is_file() for file in files.values()) and not shared.taken([key]):
            return True
        return by_key[key][1].is_file()

    shared.divide(by_key, score, is_finished)
    return shared.failures(by_key)


class _Scorer:
    """Scores candidates one after another on the same rows.

    Args:
        config: Config of the target task.
        runtime: Runtime on whose devices the features are computed.
        rows: Largest number of rows of each domain.
    """

    def __init__(self, config: ExperimentConfig, runtime, rows: int):
        self.config, self.rows = config, rows
        self.cache = FeatureCache.of(config, runtime)
        self._domains: dict[Any, dict] = {}

    def key(self, candidate: Candidate) -> str:
        """Returns a name for a candidate, with a digest of everything that its scores depend on."""
        place = Path(candidate.name if candidate.is_run else candidate.weights or "none").expanduser()
        found = [place] if place.is_file() else sorted(f for p in _WEIGHT_FILES for f in place.glob(p))
        files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in found]
        data = {name: domain.fingerprint() for name, domain in next(iter(self._domains.values())).items()}
        facts = {
            "version": __version__, "candidate": candidate.title, "rows": self.rows, "data": data,
            "weights": files,
            "config": self.config.model_dump(mode="json", exclude={"runtime", "cache", "tracking"}),
            "precision": self.config.runtime.precision, "extractor": self.config.cache.extractor,
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return f"{re.sub('[^a-zA-Z0-9_]+', '-', candidate.title)[-60:]}-{digest[:16]}"

    def read(self, candidate: Candidate) -> dict:
        """Returns the domains in the form that a candidate takes.

        Raises:
            UserError: The data cannot be read, or candidates cannot be ranked on it.
        """
        domains = self._for(candidate)
        _labels(domains["source"])
        make_metrics(self.config.measured, domains["source"].task, domains["source"].num_outputs)
        return domains

    def score(self, candidate: Candidate) -> tuple[dict[str, Any], np.ndarray]:
        """Returns a candidate's table row, and the contribution of each data row to its probe's score."""
        keras.backend.clear_session()
        domains = self.read(candidate)
        network = candidate_network(candidate, self.config, domains["source"])
        outputs = {name: self._outputs(network, domain, candidate) for name, domain in domains.items()}
        features, labels = outputs["source"][:, : network.features], _labels(domains["source"])
        accuracy, right = cross_validated("logistic_regression", features, labels, self.config.seed)
        judged = {}
        if self.config.judge is not None:
            right = self._judged(features, labels, domains["source"])
            judged = {f"probe_{self.config.judged_by}": float(right.mean())}
        scores = {name: SCORES.get(name)(features, labels) for name in FEATURE_SCORES}
        probabilities = self._probabilities(candidate, network, outputs["source"])
        if probabilities is not None:
            scores |= {name: SCORES.get(name)(probabilities, labels) for name in HEAD_SCORES}
        facts = {
            "candidate": candidate.name, "weights": candidate.weights or "none",
            "probe_accuracy": accuracy, "features": network.features, "parameters": network.parameters,
        } | judged  # fmt: skip
        for other in outputs.keys() - {"source"}:
            scores |= _distances(features, outputs[other][:, : network.features])
        found = facts | scores
        return {name: found.get(name, "") for name in (*COLUMNS, *found)}, right

    def _judged(self, features: np.ndarray, labels: np.ndarray, domain) -> np.ndarray:
        """Returns the contributions of held-out rows to the metric of `judged_by`."""
        logits = held_out_logits(features, labels, max(2, domain.num_outputs), self.config.seed)
        if domain.task == "binary":
            logits = logits[:, 1:] - logits[:, :1]
        predictions = Predictions.from_logits(
            logits, task=domain.task, labels=labels, class_names=domain.class_names
        )
        return score_of(predictions, self.config.judge).rows(predictions)

    def _for(self, candidate: Candidate) -> dict:
        """Returns the domains at the image size and with the tokenizer of a candidate."""
        data = self.config.data
        if candidate.is_run:
            data = Text().config_of_run(data, candidate.name)
        else:
            update = {"backbone": candidate.name, "weights": candidate.weights}
            data = with_tokenizer(data, self.config.model.model_copy(update=update))
        return self._at(image_size(candidate, self.config), data.tokenizer)

    def _at(self, size, tokenizer: str | None = None) -> dict:
        """Returns the domains at an image size, with a limited number of training rows."""
        if (size, tokenizer) in self._domains:
            return self._domains[size, tokenizer]
        configs = {"source": self.config.data.model_copy(update={"tokenizer": tokenizer})}
        if self.config.adaptation is not None:
            configs["target"] = self.config.adaptation.target.following(configs["source"])
        elif self.config.tasks is not None:
            configs["task"] = self.config.tasks.source.following(self.config.data, ALIKE_IN_TASKS)
        found = {}
        for name, data in configs.items():
            data = data.model_copy(update={"image_size": size}) if size is not None else data
            domain = load_domain(
                data, seed=self.config.seed, default_image_size=size, name=name,
                by_hash=Role.of(name) is Role.TARGET,
                class_names=found["source"].class_names if Role.of(name) is Role.TARGET else None,
                kept_in=kept_in(self.config.cache),
            )  # fmt: skip
            if name == "task" and domain.input_shape != found["source"].input_shape:
                continue  # it needs an adapter: one network cannot take both
            domain, skipped = check_files(domain)
            if skipped and not self._domains:  # at the first size, as the files are the same at each
                file, reason = skipped[0]
                messages.note(
                    f"{name}: {len(skipped)} unreadable files are left out. The first is {file}, which "
                    f"{reason}"
                )
            train = domain.splits["train"]
            if len(train) > self.rows:
                classes = train.labels if Role.of(name) is Role.SOURCE else None
                train = train.take(limited(classes, len(train), self.rows, self.config.seed))
            found[name] = replace(domain, splits={"train": train})
        self._domains[size, tokenizer] = found
        return found

    def _outputs(self, network, domain, candidate: Candidate) -> np.ndarray:
        rows = domain.splits["train"]
        facts = {"backbone": candidate.title, "train": "rank"}
        opened = self.cache.open(network.trunk, [Request(rows, domain, "train")], title="  ", facts=facts)
        return np.asarray(opened.features[0].take(np.arange(len(rows))), np.float64)

    def _probabilities(self, candidate: Candidate, network, outputs: np.ndarray) -> np.ndarray | None:
        """Returns the probabilities `(n, classes)` of the source model's head on the target task's rows."""
        if network.head is not None:
            outputs = network.head.predict(outputs.astype(np.float32), verbose=0).astype(np.float64)
            network = replace(network, features=0)
        elif not network.classes:
            run = head_of_weights(candidate)
            network = top_model(candidate)
            if run is not None:
                domain = self._for(run)["source"]
                network = candidate_network(run, self.config, domain)
            elif network is not None:
                domain = self._at(network.trunk.input_shape[1:3])["source"]
            else:
                return None
            outputs = self._outputs(network, domain, run or candidate)
        logits = outputs[:, network.features :]
        if network.binary:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        return softmax(logits)


def _labels(domain) -> np.ndarray:
    if domain.splits["train"].labels is None:
        raise UserError("Ranking needs labels of the target task. Received: data.pretext without them")
    return np.asarray(domain.splits["train"].labels).reshape(-1).astype(int)


def _distances(source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    return {f"distance_{name}": measure(source, target) for name, measure in DISTANCES.items()}


def _ordered(table: list[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """Returns the rows, best first, all with the same columns."""
    columns = dict.fromkeys(name for row in sorted(table, key=len, reverse=True) for name in row)
    columns = [name for name in columns if name != "error"] + ["error"]
    table = [{name: row.get(name, "") for name in columns} for row in table]
    failed = [row for row in table if row["error"]]
    scored = [row for row in table if not row["error"]]
    return sorted(scored, key=lambda row: (-row[column], -row["logme"])) + failed


def _write(folder: Path, table: list[dict[str, Any]], right: dict[str, np.ndarray], metric: str) -> None:
    directory = RunDir(folder)
    directory.write_rows(TABLE, table)
    directory.write_text("recommendation.txt", recommend(table, right, metric) + "\n")
    draw(table, folder / "ranking.png")
