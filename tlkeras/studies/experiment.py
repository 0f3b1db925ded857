"""An experiment from its config to its answer: one run with its verdict, one run per fold, or two tasks.

What comes with TensorFlow is imported after `start`, which sets the environment that TensorFlow reads.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkeras import messages
from tlkeras.backend import check_single_process, import_tensorflow, start
from tlkeras.backend.remote_run import is_remote, mirrored
from tlkeras.config import ExperimentConfig, load_config
from tlkeras.data.sources.arrays import with_arrays
from tlkeras.prepare import check_names, checked
from tlkeras.run_dir import RunDir, check_writable
from tlkeras.studies.two_task_checks import check_tasks

if TYPE_CHECKING:
    from tlkeras.runs.saved_run import SavedRun


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
        The finished run. Of an experiment of several runs (`data.folds`, `tasks`) it has the numbers of all
        together, and `runs` holds each of them.

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

    def train(inner: ExperimentConfig, path: Path, *, base: Path = run_dir.path, arrays=data) -> "SavedRun":
        there = None if repeats is None else Path(repeats) / Path(path).relative_to(base)
        return run_experiment(inner, path, arrays, repeats=there)

    if config.is_several_runs:
        return _several_runs(config, run_dir, train, fresh=fresh)
    config = checked(config)
    if not fresh and run_dir.check(config.model_dump(mode="json")) == "finished":
        messages.note(f"{run_dir.path} is finished already; --fresh starts over and keeps the old run.")
        import_tensorflow()
        from tlkeras.runs.saved_run import load_run

        return load_run(run_dir.path)
    start(config.runtime, config.seed)
    from tlkeras.run import run
    from tlkeras.studies.twins import judge_transfer

    def judge(trained: ExperimentConfig, own: RunDir) -> None:
        judge_transfer(trained, own, lambda twin, path: train(twin, path, base=own.path))

    return run(config, run_dir.path, data, fresh=fresh, repeats=repeats, then=judge)


def _several_runs(config: ExperimentConfig, run_dir: RunDir, train, *, fresh: bool) -> "SavedRun":
    check_single_process("An experiment of several runs (data.folds, tasks)")
    start(config.runtime, config.seed)
    check_names(config)  # before the first of them writes
    if config.is_folded:
        from tlkeras.studies.folds import run_folds

        return run_folds(config, run_dir.path, train, fresh=fresh)
    from tlkeras.studies.two_tasks import run_tasks

    return run_tasks(config, run_dir.path, lambda task, path: train(task, path, arrays=None), fresh=fresh)


def rehearse(
    config: ExperimentConfig, workdir: str | os.PathLike | None = None, *, fresh: bool = False
) -> None:
    """Does all that `run_experiment` does before it writes, so that what it would refuse is refused now.

    Of the folds of an experiment the first stands for all.

    Args:
        config: The experiment.
        workdir: The run directory; None is `runs/NAME`.
        fresh: Whether an old run in the workdir would be set aside.

    Raises:
        UserError: As `run_experiment`.
    """
    run_dir = RunDir(workdir or f"runs/{config.name}")
    config = config if config.is_several_runs else checked(config)
    if not is_remote(workdir):
        check_writable(run_dir.path)
        if not fresh:
            run_dir.check(config.model_dump(mode="json"))
    start(config.runtime, config.seed, alone=True)
    from tlkeras.run import rehearse_run
    from tlkeras.studies.two_tasks import planned_runs

    for planned in planned_runs(config, run_dir.path).values():
        rehearse_run(planned.one_fold(0) if planned.is_folded else planned, run_dir)
