"""Runs an experiment from its config to its result: one run with its verdict, one run per fold, or two tasks.

Modules that need TensorFlow are imported after `start`, which sets environment variables for TensorFlow.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import models, runs, studies
from tlkeras.backend import check_single_process, import_tensorflow, start
from tlkeras.backend.remote_run import is_remote, mirrored
from tlkeras.config import ExperimentConfig, load_config, with_own_parts
from tlkeras.config.own_parts import backbone_file
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.lazy import LateModule
from tlkeras.prepare import check_names, read_domains
from tlkeras.run_dir import RunDir, check_writable
from tlkeras.settled_config import checked
from tlkeras.studies.two_task_checks import check_tasks

run = LateModule("tlkeras.run")

if TYPE_CHECKING:
    from tlkeras.studies.finished_run import FinishedRun


def run_experiment(
    config: ExperimentConfig | str | os.PathLike | Mapping[str, Any],
    workdir: str | os.PathLike | None = None,
    data: Mapping[str, tuple] | None = None,
    *,
    fresh: bool = False,
    repeats: str | os.PathLike | None = None,
    backbone: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
) -> "FinishedRun":
    """Trains, evaluates and saves the model of a config, or continues an interrupted run.

    Args:
        config: Config of the experiment, or anything that `load_config` takes: the name of a shipped
            experiment, a file or a dict.
        workdir: Run directory. None uses `runs/NAME`. For a place on Google Drive or gs:// the run works in
            a local folder, which is copied there after each checkpoint.
        data: Arrays that replace `config.data.source`, as `{"train": (x, y), "val": ..., "test": ...}`
            or with weights of the rows, and groups that stay in one split: `(x, y, weights, groups)`. `x`
            holds images, uint8 or float `(n, h, w, 3)` in 0..255 or float in 0..1, or float vectors `(n,
            d)`. `y` holds class numbers `(n,)` or one-hot rows `(n, classes)`.
        fresh: Whether to start over. The old run is kept under another name.
        repeats: Finished run of the same config. Its automatically chosen settings (the batch size if it is
            `auto`, and the feature extractors) are used again.
        backbone: Functional `keras.Model` from raw inputs to features. Its weights are used unless the config
            has `model.weights=None`. The run keeps it, so that evaluation, export and resuming need no code
            of yours.
        loss: Loss of all stages: a name of `tlkeras list losses`, or a Keras loss that takes logits (and for
            multiclass one-hot labels, unless the name of its class begins with `Sparse`).
        metrics: Metrics in addition to the usual ones: names of `tlkeras list metrics`, or Keras metrics,
            which receive labels (one-hot for multiclass, unless the name of the class begins with `Sparse`)
            and probabilities. Their values are `NAME` and `val_NAME` in the log.
        callbacks: Keras callbacks of all stages that train by gradient. Runs that this one is compared with
            do not call them. A callback with `get_state()` and `set_state(state)` resumes with its state.

    Returns:
        The finished run. For an experiment of several runs (`data.folds`, `tasks`) it holds their combined
        metrics, and its `runs` are the single runs.

    Raises:
        UserError: There is a mistake in the config, the data or the workdir. The workdir is unchanged.
        RunError: The run cannot continue. The saved state is kept.
        Interrupted: A signal stopped the run. The state is saved.
    """
    config = config if isinstance(config, ExperimentConfig) else load_config(config)
    config = with_arrays(config, data)
    check_tasks(config, data)
    passed = {"loss": loss, "metrics": metrics}  # to runs that this one is made of or compared with
    if workdir is not None and is_remote(workdir):
        check_single_process("A workdir on Google Drive or gs://")
        with mirrored(workdir, fresh=fresh) as folder:
            return run_experiment(
                config, folder, data, repeats=repeats, backbone=backbone, callbacks=callbacks, **passed
            )
    run_dir = RunDir(workdir or f"runs/{config.name}")
    if backbone is not None:
        models.backbones.keras_file.use_passed(backbone, backbone_file(run_dir.path))
    config, own = with_own_parts(config, run_dir.path, backbone=backbone, callbacks=callbacks, **passed)

    def train(
        inner: ExperimentConfig, path: Path, *, base: Path = run_dir.path, arrays=data
    ) -> "FinishedRun":
        there = None if repeats is None else Path(repeats) / Path(path).relative_to(base)
        return run_experiment(inner, path, arrays, repeats=there, **passed)

    if config.is_several_runs:
        return studies.finished_run.FinishedRun(_several_runs(config, run_dir, train, fresh=fresh).run_dir)
    config = checked(config)
    if not fresh and run_dir.check(config.model_dump(mode="json")) == "finished":
        run_dir.say_finished()
        import_tensorflow()
        finished = studies.finished_run.load_run(run_dir.path)
        if data is not None:  # a config names files, but it does not name arrays
            runs.manifest.require_same_data(finished.manifest, read_domains(config, data), run.OTHER_DATA)
        return finished
    start(config.runtime, config.seed)

    def judge(trained: ExperimentConfig, there: RunDir) -> None:
        train_twin = lambda twin, path: train(twin, path, base=there.path)  # noqa: E731
        studies.twins.judge_transfer(trained, there, train_twin, own.metrics)

    trained = run.run(config, run_dir.path, data, fresh=fresh, repeats=repeats, then=judge, own=own)
    return studies.finished_run.FinishedRun(trained.run_dir)


def _several_runs(config: ExperimentConfig, run_dir: RunDir, train, *, fresh: bool):
    check_single_process("An experiment of several runs (data.folds, tasks)")
    start(config.runtime, config.seed)
    check_names(config)  # before the first run writes anything
    if config.is_folded:
        return studies.folds.run_folds(config, run_dir.path, train, fresh=fresh)
    return studies.two_tasks.run_tasks(
        config, run_dir.path, lambda task, path: train(task, path, arrays=None), fresh=fresh
    )


def rehearse(
    config: ExperimentConfig, workdir: str | os.PathLike | None = None, *, fresh: bool = False
) -> None:
    """Does everything that `run_experiment` does before it writes, and raises the same errors.

    If an experiment has several folds, only the first is checked.

    Args:
        config: The experiment.
        workdir: Run directory. None uses `runs/NAME`.
        fresh: Whether the run would start over and keep an old run under another name.

    Raises:
        UserError: `run_experiment` would raise this error.
    """
    run_dir = RunDir(workdir or f"runs/{config.name}")
    settled = checked(config)
    if not is_remote(workdir):
        check_writable(run_dir.path)
        if not fresh:
            kept = config if config.is_several_runs else settled  # as `run_experiment` writes it
            run_dir.check(kept.model_dump(mode="json"))
    start(config.runtime, config.seed, alone=True)
    for planned in studies.two_tasks.planned_runs(settled, run_dir.path).values():
        run.rehearse_run(planned.one_fold(0) if planned.is_folded else planned, run_dir)
