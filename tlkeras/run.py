"""The story of one experiment: check, read, build, train, save, evaluate, compare with its twin."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import messages
from tlkeras.baselines import asks_for_verdict, train_twins, write_verdict
from tlkeras.config import ExperimentConfig, load_config
from tlkeras.data import kept_rows
from tlkeras.data.sources.arrays import SOURCE as OF_ARRAYS
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.errors import UserError
from tlkeras.folds import asks_for_folds, one_fold, run_folds
from tlkeras.manifest import manifest
from tlkeras.prepare import Parts, check_names, checked, prepare
from tlkeras.report import write_report, write_tensorboard
from tlkeras.run_dir import RunDir, check_writable, copy_run, is_remote, mirrored, own_run_dir
from tlkeras.runtime import (
    check_single_process,
    from_chief,
    import_tensorflow,
    start,
    wait_for_all,
    watch_workers,
)
from tlkeras.tasks import asks_for_tasks, planned_runs, run_tasks
from tlkeras.transfer.parameters import write_transfer
from tlkeras.transfer.task_checks import check_tasks

if TYPE_CHECKING:
    from tlkeras.saved_run import SavedRun
    from tlkeras.training.trainer import Trainer

# A run goes on with another number of devices and ends at the same weights.
MAY_DIFFER = ("runtime.strategy", "runtime.devices")
_STAND_IN = 32  # for a batch size that only the run itself finds


def run_experiment(
    config: ExperimentConfig | str | os.PathLike | Mapping[str, Any],
    workdir: str | os.PathLike | None = None,
    data: Mapping[str, tuple] | None = None,
    *,
    fresh: bool = False,
    repeats: str | os.PathLike | None = None,
) -> "SavedRun":
    """Trains, evaluates and saves what a config says, or goes on where an earlier process stopped.

    Args:
        config: The experiment, or what `load_config` takes: the name of a shipped one, a file, a dict.
        workdir: The run directory; None is `runs/NAME`. On Google Drive or gs:// the run works in a local
            folder, and is copied there after each checkpoint.
        data: Arrays in place of `config.data.source`: `{"train": (x, y), "val": ..., "test": ...}` with
            x uint8 or float `(n, h, w, 3)` in 0..255, float in 0..1, or float `(n, d)`, y class numbers
            `(n,)` or one-hot `(n, classes)`.
        fresh: Whether to start over; an old run in the workdir is kept under another name.
        repeats: A finished run of the same config: what it found out for itself, the batch size where that is
            `auto` and the extractors of features, is taken from there and not found out again.

    Returns:
        The finished run.

    Raises:
        UserError: A mistake in the config, the data or the workdir; the workdir is left as it was.
        RunError: The run cannot go on; what was saved stays.
        Interrupted: A signal asked to stop; the state is saved.
    """
    config = config if isinstance(config, ExperimentConfig) else load_config(config)
    config = with_arrays(config, data)
    check_tasks(config, data)
    if is_remote(workdir):
        check_single_process("A workdir on Google Drive or gs://")
        with mirrored(workdir, fresh=fresh) as folder:
            return run_experiment(config, folder, data, repeats=repeats)
    run_dir = RunDir(workdir or f"runs/{config.name}")

    def train(inner: ExperimentConfig, path: Path, arrays=data, base: Path = run_dir.path) -> "SavedRun":
        there = None if repeats is None else Path(repeats) / Path(path).relative_to(base)
        return run_experiment(inner, path, arrays, repeats=there)

    if asks_for_folds(config) or asks_for_tasks(config):
        check_single_process("An experiment of several runs (data.folds, tasks)")
        start(config.runtime, config.seed)
        check_names(config)  # before the first of them writes
    if asks_for_folds(config):
        return run_folds(config, run_dir.path, train, fresh=fresh)
    if asks_for_tasks(config):
        return run_tasks(config, run_dir.path, lambda task, path: train(task, path, None), fresh=fresh)
    config = checked(config)
    as_json = config.model_dump(mode="json")
    if not fresh and run_dir.check(as_json, ignore=MAY_DIFFER) == "finished":
        messages.note(f"{run_dir.path} is finished already; --fresh starts over and keeps the old run.")
        return _load(run_dir)
    there = None if repeats is None else RunDir(repeats)
    batch_size = _found_batch_size(*([] if fresh else [run_dir]), *([there] if there else []))
    parts = replace(prepare(config, data, batch_size), repeats=there)
    own = own_run_dir(run_dir, parts.runtime.is_chief)
    with watch_workers(parts.runtime):
        _run(parts, run_dir, own, as_json, fresh, lambda twin, path: train(twin, path, base=own.path))
    return _load(run_dir if run_dir.is_run else own)


def rehearse(
    config: ExperimentConfig, workdir: str | os.PathLike | None = None, *, fresh: bool = False
) -> None:
    """Does all that `run_experiment` does before it writes, so that what it would refuse is refused now.

    Data are read and checked, weights fetched and loaded, stages compiled. Of the folds of an experiment the
    first stands for all. Other workers are not waited for, and no batch size is measured.

    Args:
        config: The experiment.
        workdir: The run directory; None is `runs/NAME`.
        fresh: Whether an old run in the workdir would be set aside.

    Raises:
        UserError: As `run_experiment`.
    """
    from tlkeras.training.trainer import Trainer

    several = asks_for_folds(config) or asks_for_tasks(config)
    config = config if several else checked(config)
    run_dir = RunDir(workdir or f"runs/{config.name}")
    if not is_remote(workdir):
        check_writable(run_dir.path)
        if not fresh:
            run_dir.check(config.model_dump(mode="json"), ignore=MAY_DIFFER)
    for run in planned_runs(config, run_dir.path).values():
        run = one_fold(run, 0) if asks_for_folds(run) else run
        if run.model.weights == str(run_dir.path / "source"):  # that the source task is still to train
            run = run.model_copy(update={"model": run.model.model_copy(update={"weights": None})})
        batch_size = _STAND_IN if run.data.batch_size == "auto" else None
        Trainer(prepare(run, batch_size=batch_size, alone=True), run_dir).check()


def _run(parts: Parts, run_dir: RunDir, own: RunDir, as_json: dict, fresh: bool, train_twin) -> None:
    """Does all that writes: in `own`, which is the run directory, or for other workers than the chief theirs.

    Every worker does the same, so that all take part in what they do together; the report is the chief's.
    """
    from tlkeras.training.trainer import Trainer

    runtime, config = parts.runtime, parts.config
    trainer = Trainer(parts, own)
    trainer.check()
    if runtime.is_chief:
        own.start(as_json, fresh=fresh, ignore=MAY_DIFFER)
    copy_run(run_dir, own, from_chief(runtime, len(own.ledger.records())))
    wait_for_all(runtime)
    try:
        if not runtime.is_chief:
            own.start(as_json, ignore=MAY_DIFFER)
        train_and_evaluate(trainer, parts, own)
        if asks_for_verdict(config):
            train_twins(config, own, train_twin)
            messages.note(write_verdict(config, own))
        if runtime.is_chief:
            write_tensorboard(own.path)
            messages.note(f"Report: {write_report(own.path)}")
        own.mark_finished()
        wait_for_all(runtime)  # the chief writes longest, and would take the others' end for a loss
    finally:
        own.lock.release()


def find_lr(
    config: ExperimentConfig, stage: int = 0, workdir: str | os.PathLike | None = None
) -> tuple[float, Path]:
    """Returns a learning rate for a stage by a range test (Smith 2017), and the file with its curve.

    The stages before it are trained first: what suits a random head says nothing about the stage after it.
    The workdir is a run directory, so that a second call with the same config reads the curve that is there.

    Args:
        config: The experiment; of several folds the first is taken.
        stage: Index of the stage, gradual stages expanded.
        workdir: Where the stages before and the curve are kept; None is `runs/NAME.find_lr`.

    Raises:
        UserError: A mistake in the config, the data or the workdir, or a stage that takes no steps.
    """
    check_single_process("find_lr")
    if asks_for_tasks(config):
        raise UserError("find_lr takes the config of one run. Received: tasks, which are several runs")
    config = checked(one_fold(config, 0) if asks_for_folds(config) else config)
    run_dir = RunDir(workdir or f"runs/{config.name}.find_lr")
    check_writable(run_dir.path)
    as_json = config.model_dump(mode="json")
    run_dir.check(as_json, ignore=MAY_DIFFER)
    parts = prepare(config, batch_size=_found_batch_size(run_dir))
    from tlkeras.training.stages import check_takes_steps
    from tlkeras.training.trainer import Trainer

    trainer = Trainer(parts, run_dir)
    check_takes_steps(trainer.stages, stage)
    trainer.check()
    run_dir.start(as_json, ignore=MAY_DIFFER)
    try:
        run_dir.write_json(run_dir.manifest, manifest(parts))
        return trainer.find_learning_rate(stage)
    finally:
        run_dir.lock.release()


def train_and_evaluate(trainer: "Trainer", parts: Parts, run_dir: RunDir) -> None:
    """Runs the stages, saves the best model and evaluates it."""
    from tlkeras.evaluation.domains import class_shares
    from tlkeras.evaluation.evaluate import predict_domains, write_evaluation
    from tlkeras.evaluation.evidence import write_evidence
    from tlkeras.evaluation.pairs import pair_metrics
    from tlkeras.evaluation.prediction_files import write_skipped

    skipped = run_dir.evaluation / "skipped.csv"
    if count := write_skipped(parts.domains, skipped):
        messages.note(f"{count} unreadable files are left out, listed in {skipped}")
    if not run_dir.manifest.is_file():
        if parts.config.data.source == OF_ARRAYS.name:
            kept_rows.write_kept_rows(run_dir.path / kept_rows.FILE, parts.source)
        run_dir.write_json(run_dir.manifest, manifest(parts))
        if line := write_transfer(run_dir, parts.model.weights_report):
            messages.note(line)
    trainer.train()
    domains = _describe_domains(trainer, parts, run_dir) if parts.targets else {}
    with parts.runtime.scope():
        model = parts.model.to_functional()
    with run_dir.replacing(run_dir.best_model) as temporary:
        model.save(temporary)
    evaluated = predict_domains(model, parts.domains, parts.batch_size, parts.runtime)
    if domains:
        run_dir.write_json(run_dir.evaluation / "domains.json", domains | class_shares(evaluated))
    measured = pair_metrics(model, parts.domains, parts.config, parts.batch_size)
    metrics = write_evaluation(run_dir, evaluated, measured)
    if parts.runtime.is_chief:
        write_evidence(run_dir, model, parts.domains, evaluated, parts.config)
    messages.note(_summary(run_dir, metrics))


def _describe_domains(trainer: "Trainer", parts: Parts, run_dir: RunDir) -> dict:
    """Returns how far apart the domains lay before the first stage, and lie in the best model."""
    from tlkeras.evaluation.domains import describe_domains

    model, found = parts.model.to_functional(), {}
    trainer.states.load_start(0)
    found["before"] = describe_domains(run_dir, "before", model, parts.domains)
    trainer.load_best()
    found["after"] = describe_domains(run_dir, "after", model, parts.domains)
    return found


def _found_batch_size(*runs: RunDir) -> int | None:
    """Returns the batch size of the first run that has begun, so that the steps are the same."""
    begun = [run for run in runs if run.manifest.is_file()]
    return begun[0].read_json(begun[0].manifest).get("batch_size") if begun else None


def _load(run_dir: RunDir) -> "SavedRun":
    import_tensorflow()  # a run that is finished already has not started a runtime
    from tlkeras.saved_run import load_run

    return load_run(run_dir.path)


def _summary(run_dir: RunDir, metrics: dict) -> str:
    from tlkeras.evaluation.intervals import few_rows_note, score_line
    from tlkeras.evaluation.unlabelled import unlabelled_note

    lines = [f"  {score_line(name, *item)}" for name, splits in metrics.items() for item in splits.items()]
    notes = [text for note in (few_rows_note, unlabelled_note) if (text := note(metrics))]
    return "\n".join(["", "Finished:", *lines, *notes, f"Everything about this run is in {run_dir.path}/"])
