"""Measures a network in tlkeras for benchmarks/peers/steps.py: `python steps.py NETWORK`."""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from made_up_images import make_folder
from measured_steps import BATCH, SIZE, answer

from tlkeras.backend.tracing import traced
from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.models.cuts.folding import Folded
from tlkeras.prepare import checked, prepare
from tlkeras.run_dir import RunDir
from tlkeras.training.trainer import Trainer


def main(network: str) -> None:
    """Measures until the standard input ends."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = make_folder(Path(folder) / "pictures", 2 * BATCH, SIZE)
        data = DataConfig(
            source=f"folder:{pictures}", image_size=SIZE, batch_size=BATCH, val_fraction=0, test_fraction=0
        )
        config = ExperimentConfig(
            data=data,
            model=ModelConfig(backbone=network, weights=None),
            stages=[StageConfig(name="all", train="all", epochs=1)],
            cache={"dir": f"{folder}/cache"},
        )
        answer(_runs(prepare(checked(config)), Path(folder) / "run"))


def _runs(parts, folder: Path) -> dict:
    stage = Trainer(parts, RunDir(folder)).fit_stage(0)
    stage.select()
    steps = replace(stage.steps, total=10_000)
    with parts.runtime.scope():
        trainee = stage.compile(stage.config, steps)
    batch = next(iter(stage.training_data(stage.config, steps, 0, trainee)))
    saved, backbone = traced(parts.model.to_functional()), traced(Folded(parts.model.backbone))
    pixels = batch[0]
    scaled = parts.model.preprocess(pixels)
    return {
        "step": lambda: trainee.train_on_batch(*batch),
        "predict": lambda: np.asarray(saved(pixels)),
        "extract": lambda: np.asarray(backbone(scaled)),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
