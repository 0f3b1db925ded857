"""Finds a learning rate for one stage of an experiment by a range test."""

import os
from pathlib import Path

from tlkeras.backend import check_single_process
from tlkeras.config import ExperimentConfig
from tlkeras.errors import UserError
from tlkeras.prepare import prepare
from tlkeras.run import found_batch_size
from tlkeras.run_dir import RunDir, check_writable
from tlkeras.runs.manifest import manifest
from tlkeras.settled_config import checked
from tlkeras.training.trainer import Trainer


def find_lr(
    config: ExperimentConfig, stage: int = 0, workdir: str | os.PathLike | None = None
) -> tuple[float, Path]:
    """Returns a learning rate for a stage by a range test (Smith 2017), and the file with its curve.

    Earlier stages are trained first, because a rate that suits a random head says nothing about later
    stages. The workdir is a run directory, so a second call with the same config reads the existing curve.

    Args:
        config: Config of the experiment. Only the first of several folds is used.
        stage: Index of the stage, after gradual stages are expanded.
        workdir: Folder for the earlier stages and the curve. None uses `runs/NAME.find_lr`.

    Raises:
        UserError: There is a mistake in the config, the data or the workdir, or the stage takes no steps.
    """
    check_single_process("find_lr")
    if config.is_two_runs:
        raise UserError("find_lr takes the config of one run. Received: tasks, which are several runs")
    config = checked(config.one_fold(0) if config.is_folded else config)
    run_dir = RunDir(workdir or f"runs/{config.name}.find_lr")
    check_writable(run_dir.path)
    run_dir.check(config.model_dump(mode="json"))
    parts = prepare(config, batch_size=found_batch_size(run_dir))

    trainer = Trainer(parts, run_dir)
    trainer.fit_stage(stage)
    trainer.check()
    run_dir.start(config.model_dump(mode="json"))
    try:
        run_dir.write_json(run_dir.manifest, manifest(parts))
        return trainer.find_learning_rate(stage)
    finally:
        run_dir.lock.release()
