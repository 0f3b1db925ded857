"""The story of one run: check, read, build, train, save, evaluate, report.

This module imports TensorFlow, so `tlkeras.backend.start` must have set its environment before.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import keras

from tlkeras import messages
from tlkeras.backend import from_chief, wait_for_all, watch_workers
from tlkeras.config import ExperimentConfig, OwnParts
from tlkeras.config.own_parts import BACKBONE_FILE
from tlkeras.data import kept_rows
from tlkeras.data.inspection import leak_note
from tlkeras.data.sources.arrays import SOURCE as OF_ARRAYS
from tlkeras.evaluation import calibration
from tlkeras.evaluation.domain_gap import class_shares, describe_domains
from tlkeras.evaluation.evaluate import predict_domains, write_evaluation
from tlkeras.evaluation.evidence import write_evidence
from tlkeras.evaluation.intervals import few_rows_note, score_line
from tlkeras.evaluation.prediction_files import write_skipped
from tlkeras.evaluation.unlabelled import unlabelled_note
from tlkeras.evaluation.view_pairs import pair_metrics
from tlkeras.models.weights.transfer_table import write_transfer
from tlkeras.prepare import Parts, prepare
from tlkeras.report import write_report, write_tensorboard
from tlkeras.run_dir import RunDir, copy_run, own_run_dir
from tlkeras.runs.manifest import manifest, require_same_data
from tlkeras.runs.saved_run import SavedRun, load_run
from tlkeras.tracking import Tracking
from tlkeras.training.own_callbacks import warn_of_lost_state
from tlkeras.training.trainer import Trainer

OTHER_DATA = "Choose another workdir, or start over with --fresh (fresh=True from Python)."
NOTHING_OWN = OwnParts()
_STAND_IN = 32  # replaces a batch size that only the run itself finds


def run(
    config: ExperimentConfig,
    workdir: str | os.PathLike,
    data: Mapping[str, tuple] | None = None,
    *,
    fresh: bool = False,
    repeats: str | os.PathLike | None = None,
    then: Callable[[ExperimentConfig, RunDir], None] | None = None,
    own: OwnParts = NOTHING_OWN,
) -> SavedRun:
    """Trains, evaluates and saves one run, or continues a run that an earlier process began.

    Args:
        config: Config of a single run that `checked` returned.
        workdir: Run directory.
        data: Arrays that replace the data source; see `run_experiment`.
        fresh: Whether to start over; see `run_experiment`.
        repeats: Finished run that is repeated; see `run_experiment`.
        then: Function of the config and the run directory that compares the run with others. It is called
            between evaluation and report.
        own: Backbone, loss, metrics and callbacks that the caller passed.

    Raises:
        UserError: There is a mistake in the config, the data or the workdir. The workdir is unchanged.
        RunError: The run cannot continue. The saved state remains.
        Interrupted: A signal stopped the run. The state is saved.
    """
    run_dir = RunDir(workdir)
    there = None if repeats is None else RunDir(repeats)
    batch_size = found_batch_size(*([] if fresh else [run_dir]), *([there] if there else []))
    parts = replace(prepare(config, data, batch_size), repeats=there, own=own)
    warn_of_lost_state(own.callbacks)
    if not fresh and run_dir.manifest.is_file():
        require_same_data(run_dir.read_json(run_dir.manifest), parts.domains, OTHER_DATA)
    written = own_run_dir(run_dir, parts.runtime.is_chief)
    with watch_workers(parts.runtime):
        _run(parts, run_dir, written, fresh, then)
    return load_run((run_dir if run_dir.is_run else written).path)


def _run(parts: Parts, run_dir: RunDir, own: RunDir, fresh: bool, then) -> None:
    """Does the part of a run that writes. `own` is the run directory, or in other workers a private one.

    Every worker does the same, because all take part in the training. Only the chief writes the report.
    """
    runtime, as_json = parts.runtime, parts.config.model_dump(mode="json")
    trainer = Trainer(parts, own)
    trainer.check()
    if runtime.is_chief:
        own.start(as_json, fresh=fresh)
    copy_run(run_dir, own, from_chief(runtime, len(own.ledger.records())))
    wait_for_all(runtime)
    try:
        if not runtime.is_chief:
            own.start(as_json)
        _describe(parts, own)
        with Tracking(parts.config, own if runtime.is_chief else None) as parts.tracking:
            trainer.train()
            distances = _domain_distances(trainer, parts, own) if parts.targets else {}
            _evaluate(_save(parts, own), parts, own, distances)
            if then is not None:
                then(parts.config, own)
            if runtime.is_chief:
                write_tensorboard(own.path)
                messages.note(f"Report: {write_report(own.path)}")
            parts.tracking.finish()
        own.mark_finished()
        wait_for_all(runtime)  # the chief writes longest, and would report workers that end earlier as lost
    finally:
        own.lock.release()


def _describe(parts: Parts, run_dir: RunDir) -> None:
    """Writes the manifest, and the lists of files and weights that the run could not use."""
    skipped = run_dir.evaluation / "skipped.csv"
    if count := write_skipped(parts.domains, skipped):
        messages.note(f"{count} unreadable files are left out. They are listed in {skipped}")
    if run_dir.manifest.is_file():
        return
    for note in filter(None, map(leak_note, parts.sources)):
        messages.warn(note)
    if parts.config.data.source == OF_ARRAYS.name:
        kept_rows.write_kept_rows(run_dir.path / kept_rows.FILE, parts.source)
    if parts.own.backbone is not None:
        with run_dir.replacing(run_dir.path / BACKBONE_FILE) as temporary:
            parts.own.backbone.save(temporary)
    run_dir.write_texts(parts.source.modality.files)
    run_dir.write_json(run_dir.manifest, manifest(parts))
    if line := write_transfer(run_dir, parts.model.weights_report):
        messages.note(line)


def _domain_distances(trainer: Trainer, parts: Parts, run_dir: RunDir) -> dict:
    """Returns the distances of the domains before the first stage and in the best model."""
    model, found = parts.model.to_functional(), {}
    trainer.states.load_start(0)
    found["before"] = describe_domains(run_dir, "before", model, parts.domains)
    trainer.load_best()
    found["after"] = describe_domains(run_dir, "after", model, parts.domains)
    return found


def _save(parts: Parts, run_dir: RunDir) -> keras.Model:
    """Writes and returns the best model: Keras' own layers, from raw inputs to logits."""
    with parts.runtime.scope():
        model = parts.model.to_functional()
    with run_dir.replacing(run_dir.best_model) as temporary:
        model.save(temporary)
    return model


def _evaluate(model: keras.Model, parts: Parts, run_dir: RunDir, distances: dict) -> None:
    """Predicts every split of every domain once, and writes and prints the results."""
    evaluated = predict_domains(model, parts.domains, parts.batch_size, parts.runtime)
    if distances:
        run_dir.write_json(run_dir.evaluation / "domains.json", distances | class_shares(evaluated))
    measured = pair_metrics(model, parts.domains, parts.config, parts.batch_size)
    metrics = write_evaluation(run_dir, evaluated, parts.config, measured, parts.own.metrics)
    if parts.runtime.is_chief:
        write_evidence(run_dir, model, parts.domains, evaluated, parts.config)
    messages.note(_summary(run_dir, metrics, parts.config.judged_by))


def _summary(run_dir: RunDir, metrics: dict, judged_by: str | None) -> str:
    lines = [
        f"  {score_line(domain, split, values, judged_by)}"
        for domain, splits in metrics.items()
        for split, values in splits.items()
    ]
    calibrated = calibration.calibration_note(calibration.read_calibration(run_dir))
    notes = [text for text in (calibrated, few_rows_note(metrics), unlabelled_note(metrics)) if text]
    return "\n".join(["", "Finished:", *lines, *notes, f"Everything about this run is in {run_dir.path}/"])


def found_batch_size(*runs: RunDir) -> int | None:
    """Returns the batch size of the first run that has begun, so that all runs have the same steps."""
    begun = [run for run in runs if run.manifest.is_file()]
    return begun[0].read_json(begun[0].manifest).get("batch_size") if begun else None


def rehearse_run(config: ExperimentConfig, run_dir: RunDir) -> None:
    """Does everything that a run does before it writes: data are read, weights loaded, stages compiled.

    It does not wait for other workers and does not measure a batch size.

    Raises:
        UserError: There is a mistake in the config or the data; see `run`.
    """
    if config.model.weights == str(run_dir.path / "source"):  # the source task will train these weights
        config = config.model_copy(update={"model": config.model.model_copy(update={"weights": None})})
    batch_size = _STAND_IN if config.data.batch_size == "auto" else None
    Trainer(prepare(config, batch_size=batch_size, alone=True), run_dir).check()
