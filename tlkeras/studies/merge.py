"""Merges finished runs on the same data into one model: by averaged weights or by averaged predictions.

Sources: Wortsman et al. 2022a, "Model soups" (uniform soup; greedy soup, algorithm 1). Wortsman et al. 2022b,
"Robust fine-tuning of zero-shot models" (WiSE-FT: the line between the weights of two models).
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras import messages
from tlkeras.data import Domain
from tlkeras.data.roles import judged_first
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError, unknown
from tlkeras.evaluation.evaluate import Evaluated, predict_domains, write_evaluation
from tlkeras.evaluation.judged_runs import judge_runs, verdict_texts
from tlkeras.evaluation.predictions import Predictions, shown_split
from tlkeras.evaluation.score import registered, score_of
from tlkeras.prepare import read_domains
from tlkeras.report import write_report
from tlkeras.run_dir import RunDir
from tlkeras.runs.manifest import require_same_data
from tlkeras.runs.saved_run import SavedRun, load_run

Weights = list[np.ndarray]
LINE = tuple(round(i / 10, 1) for i in range(11))


@dataclass(frozen=True)
class Merged:
    """A model that was made from several runs.

    Attributes:
        model: Model from raw inputs to logits.
        evaluated: Predictions of the model by domain and split.
        facts: Facts about the choice, ready for JSON: the `members`, or the `curve` along the line.
    """

    model: keras.Model
    evaluated: Evaluated
    facts: dict[str, Any]


class Members:
    """The runs to merge, their common data, and their predictions.

    Args:
        runs: At least two finished runs with the same architecture and the same data.

    Raises:
        UserError: A run has another architecture or other data than the first one.
    """

    def __init__(self, runs: Sequence[SavedRun]):
        self.runs = runs
        self.first = runs[0]
        self.domains: dict[str, Domain] = read_domains(self.first.data_config)
        require_same_data(
            self.first.manifest, self.domains, f"A merge reads the data of {self.first.path} again."
        )
        for run in runs[1:]:
            self._require_same_rows(run)
            self._require_same_weights(run)
        if not len(self.domains["source"].splits.get("val", ())):
            raise UserError(
                f"Merging needs validation rows to choose by. Received: no val split in {self.first.path}"
            )
        self.weights = [run.model.get_weights() for run in runs]
        self.evaluated = [self.predict(run.model) for run in runs]
        self.judge = registered(self.first.config.judge)
        self.scores = [self.validation_score(evaluated) for evaluated in self.evaluated]
        self.best = int(np.argmax(self.scores))

    def _require_same_rows(self, run: SavedRun) -> None:
        if run.manifest["data_fingerprint"] != self.first.manifest["data_fingerprint"]:
            raise UserError(
                "Only runs on the same data and splits can be merged. Otherwise training rows of one run "
                f"would be test rows of another. Received: {run.path}, which differs from {self.first.path}"
            )

    def _require_same_weights(self, run: SavedRun) -> None:
        pairs = zip(_shapes(self.first.model), _shapes(run.model), strict=False)
        other = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if other or len(run.model.weights) != len(self.first.model.weights):
            shown = f"{other[1]} instead of {other[0]}" if other else f"{len(run.model.weights)} weights"
            raise UserError(
                f"Only runs with the same architecture can be merged. Received: {run.path} with {shown}"
            )

    def predict(self, model: keras.Model, domains: dict[str, Domain] | None = None) -> Evaluated:
        """Returns the predictions of a model on the common data, or on a part of them."""
        return predict_domains(model, domains or self.domains, self.first.manifest["batch_size"])

    def with_weights(self, weights: Weights) -> keras.Model:
        """Returns a model that has the common architecture and these weights."""
        model = keras.models.clone_model(self.first.model)
        model.set_weights(weights)
        return model

    def score(self, predictions: Predictions) -> float:
        """Returns the score of labelled predictions, with a minus if lower is better."""
        score = score_of(predictions, self.judge)
        return score.sign * float(score.rows(predictions).mean())

    def validation_score(self, evaluated: Evaluated) -> float:
        """Returns the score on the validation rows of the source, by which a merged model is chosen."""
        return self.score(evaluated["source"]["val"])

    @cached_property
    def judged(self) -> dict[str, Domain]:
        """The domains, with only those splits by which a candidate is chosen and shown."""
        return {name: replace(domain, splits=_judged(domain.splits)) for name, domain in self.domains.items()}


def _judged(splits: dict[str, Rows]) -> dict[str, Rows]:
    """Returns the splits other than `train` that have rows. If there are none, returns all splits."""
    return {name: rows for name, rows in splits.items() if name != "train" and len(rows)} or splits


def merge_runs(
    runs: Sequence[str | os.PathLike], workdir: str | os.PathLike, how: str = "greedy"
) -> SavedRun:
    """Merges finished runs into a new run directory and compares the result with the best single run.

    The runs must have the same architecture, the same data and the same splits. Examples are the runs of a
    sweep over settings, and runs with several seeds if the source has its own splits. All choices are made on
    validation rows. The verdict uses the rows that the report shows: the test rows if there are any.

    Args:
        runs: Paths of at least two finished runs.
        workdir: Directory of the new run. It must be empty or not exist.
        how: Way to merge. `uniform` averages the weights of all runs. `greedy` adds a run to the average if
            the validation score does not fall. `line` takes the best of eleven points on the line between the
            weights of two runs, from the first (0) to the second (1). `ensemble` makes a model that holds all
            runs and averages their probabilities before calibration, or their values in a regression.

    Returns:
        The new run. Its `merge.json` describes how the model was found.

    Raises:
        UserError: The runs cannot be merged, or the workdir is in use.
    """
    if how not in WAYS:
        raise unknown("way to merge", how, WAYS)
    if len(runs) < 2 or (how == "line" and len(runs) != 2):
        raise UserError(
            f"{how} needs {'two' if how == 'line' else 'at least two'} runs. Received: {len(runs)}"
        )
    members = Members([load_run(path) for path in runs])
    run_dir = RunDir(workdir)
    config = members.first.config.model_copy(update={"name": f"{members.first.config.name}_merged"})
    if run_dir.is_run:
        raise UserError(
            f"A merged run needs a new workdir, and this one holds a run. Received: workdir={str(workdir)!r}"
        )
    run_dir.check(config.model_dump(mode="json"))
    merged = WAYS[how](members)
    run_dir.start(config.model_dump(mode="json"))
    try:
        _write(run_dir, members, merged, how)
    finally:
        run_dir.lock.release()
    return load_run(run_dir.path)


def _write(run_dir: RunDir, members: Members, merged: Merged, how: str) -> None:
    paths = _names(members.runs)
    facts = {"how": how, "runs": paths, **merged.facts}
    changed = {"created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "merged": facts}
    run_dir.write_json(run_dir.manifest, members.first.manifest | changed)
    run_dir.write_texts(members.domains["source"].modality.files)
    with run_dir.replacing(run_dir.best_model) as temporary:
        merged.model.save(temporary)
    write_evaluation(run_dir, merged.evaluated, members.first.config)
    run_dir.write_json("merge.json", facts)
    verdict = _verdict(run_dir, members, merged)
    run_dir.write_json(run_dir.evaluation / "verdict.json", verdict)
    said = "\n".join(verdict_texts(verdict))
    messages.note(f"Against the best single run, {paths[members.best]}: {said}")
    messages.note(f"Report: {write_report(run_dir.path)}")
    run_dir.mark_finished()


def _verdict(run_dir: RunDir, members: Members, merged: Merged) -> dict[str, Any]:
    """Returns the verdict on the target if its rows have labels, else on the source."""
    ours, theirs = merged.evaluated, members.evaluated[members.best]
    run_dirs = [(run_dir, members.runs[members.best].run_dir)]
    for domain in judged_first(ours):
        split = shown_split(ours[domain])
        if split is not None and ours[domain][split].labels is not None:
            sides = [ours[domain][split]], [theirs[domain][split]]
            words = {"twin_name": "best single run", "metric": members.judge}
            return judge_runs(*sides, run_dirs, domain, **words).to_json()
    raise UserError("Merging needs labelled rows. Received: rows without labels")


def mean_weights(weights: Sequence[Weights], shares: Sequence[float] | None = None) -> Weights:
    """Returns the weighted mean of floating-point weights. Other weights are copied from the first model.

    Args:
        weights: Weights of each model, in the same order.
        shares: Shares of the models, with a sum of 1. None gives all models the same share.
    """
    each = np.full(len(weights), 1 / len(weights)) if shares is None else np.asarray(shares)
    found = []
    for same in zip(*weights, strict=True):
        if np.issubdtype(same[0].dtype, np.floating):
            mean = sum(share * one.astype(np.float64) for share, one in zip(each, same, strict=True))
            found.append(np.asarray(mean).astype(same[0].dtype))
        else:
            found.append(same[0])
    return found


def _uniform(members: Members) -> Merged:
    model = members.with_weights(mean_weights(members.weights))
    return Merged(model, members.predict(model), {"members": _names(members.runs)})


def _greedy(members: Members) -> Merged:
    """Returns the greedy soup (Wortsman et al. 2022a, algorithm 1)."""
    order = sorted(range(len(members.runs)), key=lambda i: -members.scores[i])
    chosen, model, best = [order[0]], members.runs[order[0]].model, members.scores[order[0]]
    for i in order[1:]:
        tried = members.with_weights(mean_weights([members.weights[j] for j in (*chosen, i)]))
        found = members.validation_score(members.predict(tried, members.judged))
        if found >= best:
            chosen, model, best = [*chosen, i], tried, found
    names = _names([members.runs[i] for i in chosen])
    return Merged(model, members.predict(model), {"members": names})


def _line(members: Members) -> Merged:
    """Returns the best point between two runs, and the scores along the line (Wortsman et al. 2022b)."""
    curve = []
    for share in LINE:
        model = members.with_weights(mean_weights(members.weights, (1 - share, share)))
        evaluated = members.predict(model, members.judged)
        scores = {"val": members.validation_score(evaluated)} | _shown_scores(members, evaluated)
        curve.append({"share": share} | scores)
    share = max(curve, key=lambda point: point["val"])["share"]
    model = members.with_weights(mean_weights(members.weights, (1 - share, share)))
    return Merged(model, members.predict(model), {"share": share, "curve": curve})


def _shown_scores(members: Members, evaluated: Evaluated) -> dict[str, float]:
    """Returns the score on the shown split of each domain, such as `{"source test": 0.9}`."""
    shown = {domain: shown_split(splits) for domain, splits in evaluated.items()}
    return {
        f"{domain} {split}": members.score(evaluated[domain][split])
        for domain, split in shown.items()
        if split is not None and split != "val" and evaluated[domain][split].labels is not None
    }


def _ensemble(members: Members) -> Merged:
    """Returns a model whose probabilities are the mean of the probabilities of all runs."""
    task = members.first.manifest["task"]
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name), members.first.model.input
    )
    logits = []
    for number, run in enumerate(members.runs):
        run.model.name = f"member_{number}"
        logits.append(run.model(inputs))
    model = keras.Model(inputs, _mean_answer(ops.stack(logits), task), name="ensemble")
    return Merged(model, members.predict(model), {"members": _names(members.runs)})


def _mean_answer(logits, task: str):
    """Returns logits `(rows, outputs)` of the mean probabilities.

    Args:
        logits: Logits `(members, rows, outputs)`.
        task: Task of the runs.
    """
    if task == "regression":
        return ops.mean(logits, axis=0)
    if task == "multiclass":
        return ops.logsumexp(ops.log_softmax(logits, axis=-1), axis=0) - float(np.log(logits.shape[0]))
    yes, no = (ops.logsumexp(-ops.softplus(sign * logits), axis=0) for sign in (-1.0, 1.0))
    return yes - no


def _names(runs: Sequence[SavedRun]) -> list[str]:
    return [str(run.path) for run in runs]


def _shapes(model: keras.Model) -> list[str]:
    return [f"{weight.path} {tuple(weight.shape)}" for weight in model.weights]


WAYS: dict[str, Callable[[Members], Merged]] = {
    "greedy": _greedy,
    "uniform": _uniform,
    "line": _line,
    "ensemble": _ensemble,
}
