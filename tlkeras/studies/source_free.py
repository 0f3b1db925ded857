"""Adapts a finished run to unlabelled target rows, without the data of its source."""

import os
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend import set_determinism
from tlkeras.config import AdaptationConfig, DataConfig, ExperimentConfig
from tlkeras.data import Domain, evaluation_batches, random_streams, training_batches
from tlkeras.data.orders import rows_of_step
from tlkeras.data.pipeline import filling_a_batch
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.domain_gap import shares_of
from tlkeras.evaluation.embedding import write_embedding
from tlkeras.evaluation.evaluate import predict_domains, write_evaluation
from tlkeras.evaluation.evidence import data_health
from tlkeras.evaluation.judged_runs import judge_runs, verdict_texts
from tlkeras.evaluation.predictions import shown_split, two_sided
from tlkeras.evaluation.unlabelled import unlabelled_verdict
from tlkeras.methods.adapt.source_free import WAYS, SourceFree, TargetRows
from tlkeras.methods.adapt.validators import information_maximization
from tlkeras.report import write_report
from tlkeras.run_dir import RunDir
from tlkeras.runs.saved_run import SavedRun
from tlkeras.studies.finished_run import FinishedRun, load_run

_RESULT = "adapted.json"


def adapt(
    run: str | os.PathLike,
    target: str | DataConfig,
    method: str = "adabn",
    workdir: str | os.PathLike | None = None,
    **options: Any,
) -> FinishedRun:
    """Adapts a finished run to target rows without labels, and judges the result by the unadapted run.

    The training rows of the target adapt a copy of the model, and its test rows judge it. Target labels are
    only used for the verdict. The data of the source are not read. The result is a run of its own with the
    target as its only domain, and the given run is not changed. If the process is killed, the same call
    starts the adaptation again and ends with the same weights.

    Args:
        run: Path of the finished run.
        target: Data source of the target, such as `folder:DIR`, or its config.
        method: Way to adapt: `adabn`, `tent` or `shot`; see `tlkeras.methods.adapt.source_free`.
        workdir: Directory of the new run. None uses the path of the run with the method appended.
        **options: Options of the method, e.g. `epochs=5`.

    Returns:
        The new run. Its `adapted.json` describes the adaptation.

    Raises:
        UserError: The method does not fit the run, the target does not fit its classes, or the workdir is in
            use.
    """
    way, saved = _way(method, options), load_run(run)
    _check(way, method, saved)
    wanted: DataConfig = DataConfig(source=target) if isinstance(target, str) else target
    run_dir = RunDir(workdir or saved.path.with_name(f"{saved.path.name}_{method}"))
    config = _config(saved, wanted, method).model_dump(mode="json")
    facts = {"method": method, "run": str(saved.path), "target": wanted.source, **vars(way)}
    if _state(run_dir, config, facts) == "finished":
        run_dir.say_finished()
        return load_run(run_dir.path)
    domain = saved.adaptation_target(wanted)
    run_dir.start(config)
    try:
        _adapt(run_dir, saved, way, domain, facts)
    finally:
        run_dir.lock.release()
    return load_run(run_dir.path)


def _way(method: str, options: Mapping[str, Any]) -> SourceFree:
    try:
        return WAYS.get(method)(**options)
    except TypeError as error:
        raise UserError(
            f"{method} refuses its options: {str(error).rpartition('__init__() ')[2]}. "
            f"Received: {', '.join(f'{name}={value}' for name, value in options.items())}"
        ) from error


def _check(way: SourceFree, method: str, saved: SavedRun) -> None:
    """Raises `UserError` if the method cannot adapt the run."""
    task = saved.manifest["task"]
    if way.needs_classes and task not in ("multiclass", "binary"):
        raise UserError(
            f"{method} needs one class per row. Allowed: adabn, or a run with data.task=multiclass or binary"
            f". Received: data.task={task}"
        )
    way.check(saved.model)


def _config(saved: SavedRun, target: DataConfig, method: str) -> ExperimentConfig:
    """Returns the config of the new run: that of the given run with the target, which trains nothing."""
    adaptation = AdaptationConfig(method="none", target=target, twin=False)
    name = f"{saved.config.name[:45]}_{method}"
    return saved.config.model_copy(update={"name": name, "adaptation": adaptation})


def _state(run_dir: RunDir, config: dict, facts: dict) -> str:
    """Returns `new`, `resume` or `finished`. Raises `UserError` if the workdir holds another adaptation."""
    state = run_dir.check(config)
    if state != "new" and run_dir.manifest.is_file():
        there = run_dir.read_json(run_dir.manifest).get("adapted")
        if there != facts:
            raise UserError(
                f"The workdir {run_dir.path} holds another adaptation: choose another --workdir. "
                f"Received: {facts}. There: {there}"
            )
    return state


def _adapt(run_dir: RunDir, saved: FinishedRun, way: SourceFree, domain: Domain, facts: dict) -> None:
    """Adapts the model and writes the new run. `best.keras` and the evaluation appear only when complete."""
    set_determinism(saved.config.runtime)
    run_dir.write_json(run_dir.manifest, _manifest(saved, domain, facts))
    run_dir.write_texts(domain.modality.files)
    size = saved.manifest["batch_size"]
    before = predict_domains(saved.model, {"target": domain}, size)["target"]
    model, losses = saved.model, []

    def log(epoch: int, loss: float) -> None:
        losses.append(float(loss))
        messages.note(f"{facts['method']}: epoch {epoch + 1}/{way.epochs}, loss {loss:.4f}")

    way.adapt(model, _rows(domain, size, saved.config.seed), log)
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise UserError(
            f"{facts['method']} ended with weights that are not finite: use a smaller learning rate. "
            f"Received: learning_rate={way.learning_rate:g}"
        )
    after = predict_domains(model, {"target": domain}, size)["target"]
    with run_dir.replacing(run_dir.best_model) as temporary:
        model.save(temporary)
    write_evaluation(run_dir, {"target": after}, saved.config)
    _write_evidence(run_dir, saved, model, domain, before, after, facts | {"losses": losses})
    messages.note(f"Report: {write_report(run_dir.path)}")
    run_dir.mark_finished()


def _manifest(saved: SavedRun, domain: Domain, facts: dict) -> dict[str, Any]:
    """Returns the manifest of the given run, with the target as the only data."""
    return saved.manifest | {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "rows": {"target": {split: len(rows) for split, rows in domain.splits.items()}},
        "data_fingerprint": {"target": domain.fingerprint()},
        "adapted": facts,
    }


def _rows(domain: Domain, batch_size: int, seed: int) -> TargetRows:
    """Returns the training rows of the target as batches without labels. Their order depends on the seed."""
    domain = filling_a_batch(domain, batch_size)
    rows, seed = domain.splits["train"], seed + random_streams.TARGET
    steps = len(rows) // batch_size

    def in_order():
        return (x for x, _, _ in evaluation_batches(rows, domain, batch_size=batch_size))

    def shuffled(epoch: int):
        begin, end = epoch * steps, (epoch + 1) * steps
        batches = training_batches(
            rows, domain, batch_size=batch_size, seed=seed, start_step=begin, steps=end, with_labels=False
        )
        for step, x in zip(range(begin, end), batches, strict=True):
            yield x, rows_of_step(rows, seed, step, batch_size)[1]

    return TargetRows(in_order, shuffled, steps)


def _write_evidence(
    run_dir: RunDir,
    saved: SavedRun,
    model: keras.Model,
    domain: Domain,
    before: dict[str, Predictions],
    after: dict[str, Predictions],
    facts: dict[str, Any],
) -> None:
    """Writes the verdict against the unadapted run, and what is known without labels."""
    split = shown_split(after)
    words: dict[str, Any] = {"twin_name": "unadapted run"}
    if after[split].task in ("multiclass", "binary"):
        scores = tuple(information_maximization(two_sided(found[split])) for found in (after, before))
        words["information_maximization"] = scores
    if after[split].labels is None:
        found = unlabelled_verdict([after[split]], judged_by=saved.config.judged_by, **words)
    else:
        run_dirs = [(run_dir, saved.run_dir)]
        words["metric"] = saved.config.judge
        found = judge_runs([after[split]], [before[split]], run_dirs, "target", **words)
    verdict = found.to_json()
    run_dir.write_json(run_dir.evaluation / "verdict.json", verdict)
    run_dir.write_json(_RESULT, facts | _label_free(before[split], after[split]))
    run_dir.write_json(run_dir.evaluation / "data_health.json", {"target": data_health(domain)})
    known = {"target": {name: rows.features for name, rows in after.items()}}
    place = run_dir.evaluation / "embedding_after.npz"
    write_embedding(place, model, {"target": domain}, seed=saved.config.seed, known=known)
    messages.note("\n".join(verdict_texts(verdict)))


def _label_free(before: Predictions, after: Predictions) -> dict[str, Any]:
    """Returns the shares of predicted classes before and after, and the share of changed answers."""
    if after.task not in ("multiclass", "binary"):
        return {}
    shares = {
        when: shares_of(found.predicted, found.class_names)
        for when, found in (("before", before), ("after", after))
    }
    return {"class_shares": shares, "changed_answers": float(np.mean(before.predicted != after.predicted))}
