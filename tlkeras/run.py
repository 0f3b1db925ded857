"""The story of one experiment: check, read, build, train, save, evaluate."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tlkeras.config import ExperimentConfig
from tlkeras.manifest import manifest
from tlkeras.prepare import Parts, checked, prepare
from tlkeras.run_dir import RunDir

if TYPE_CHECKING:
    from tlkeras.saved_run import SavedRun
    from tlkeras.training.trainer import Trainer


def run_experiment(
    config: ExperimentConfig,
    workdir: str | os.PathLike | None = None,
    data: Mapping[str, tuple] | None = None,
    *,
    fresh: bool = False,
) -> "SavedRun":
    """Trains, evaluates and saves what a config says, or goes on where an earlier process stopped.

    Args:
        config: The experiment.
        workdir: The run directory; None is `runs/NAME`.
        data: Arrays in place of `config.data.source`: `{"train": (x, y), "val": ..., "test": ...}` with
            x uint8 or float `(n, h, w, 3)` in 0..255 or float `(n, d)`, y class numbers `(n,)` or one-hot
            `(n, classes)`.
        fresh: Whether to start over; an old run in the workdir is kept under another name.

    Returns:
        The finished run.

    Raises:
        UserError: A mistake in the config, the data or the workdir; the workdir is left as it was.
        RunError: The run cannot go on; what was saved stays.
        Interrupted: A signal asked to stop; the state is saved.
    """
    run_dir = RunDir(workdir or f"runs/{config.name}")
    config = checked(config)
    as_json = config.model_dump(mode="json")
    if not fresh and run_dir.check(as_json) == "finished":
        print(f"{run_dir.path} is finished already; --fresh starts over and keeps the old run.")
        return _load(run_dir)
    parts = prepare(config, data)
    from tlkeras.training.trainer import Trainer

    trainer = Trainer(parts, run_dir)
    trainer.check()
    run_dir.start(as_json, fresh=fresh)
    try:
        train_and_evaluate(trainer, parts, run_dir)
    finally:
        run_dir.lock.release()
    return _load(run_dir)


def train_and_evaluate(trainer: "Trainer", parts: Parts, run_dir: RunDir) -> None:
    """Runs the stages, saves the best model and evaluates it."""
    from tlkeras.evaluation.evaluate import predict_domains, write_evaluation

    if not run_dir.manifest.is_file():
        run_dir.write_json(run_dir.manifest, manifest(parts))
    trainer.train()
    with run_dir.replacing(run_dir.best_model) as temporary:
        parts.model.to_functional().save(temporary)
    evaluated = predict_domains(parts.model, parts.domains, parts.batch_size, parts.runtime)
    metrics = write_evaluation(run_dir, evaluated)
    run_dir.mark_finished()
    print(_summary(run_dir, metrics))


def _load(run_dir: RunDir) -> "SavedRun":
    from tlkeras.saved_run import load_run

    return load_run(run_dir.path)


def _summary(run_dir: RunDir, metrics: dict) -> str:
    lines = []
    for domain, splits in metrics.items():
        for split, values in splits.items():
            name = "accuracy" if "accuracy" in values else "rmse"
            lines.append(f"  {domain} {split}: {name} {values[name]:.3f} on {values['rows']} rows")
    return "\n".join(["", "Finished:", *lines, f"Everything about this run is in {run_dir.path}/"])
